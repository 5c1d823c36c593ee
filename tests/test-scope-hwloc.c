/* SPDX-License-Identifier: MIT
 *
 * core/scope against hwloc, which knows more machines than anybody has: machines that hwloc makes up are
 * written down as the part of /sys that scope looks at, and for sets of processors, within domains and across
 * them, both must say the same. And both of this machine.
 */
#include <errno.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <hwloc.h>

#include "plain.h"
#include "scope.h"

#define SETS 300u /* of each machine */

static const hwloc_obj_type_t type_of[] = {
    [SHMCORE_SCOPE_SOCKET] = HWLOC_OBJ_PACKAGE, [SHMCORE_SCOPE_NUMA] = HWLOC_OBJ_NUMANODE};

/* ---------------------------------------------------------------- hwloc's word */

/* -1: the processors are in several domains, or in none. */
static long domain_by_hwloc(hwloc_topology_t topology, enum shmcore_scope scope, hwloc_const_cpuset_t set)
{
    long found = -1;
    hwloc_obj_t object = NULL;
    while ((object = hwloc_get_next_obj_by_type(topology, type_of[scope], object)) != NULL) {
        if (!hwloc_bitmap_intersects(object->cpuset, set))
            continue;
        if (found >= 0)
            return -1;
        found = (long)object->os_index;
    }
    return found;
}

/* ---------------------------------------------------------------- a machine of files */

static char machine[64];

static void make_directory(const char *format, unsigned processor)
{
    char path[192];
    const int length = snprintf(path, sizeof path, "%s", machine);
    snprintf(path + length, sizeof path - (size_t)length, format, processor);
    assert_int_equal(mkdir(path, 0700), 0);
}

static void write_processor(unsigned processor, long socket, long node)
{
    char path[192];
    make_directory("/cpu/cpu%u", processor);
    make_directory("/cpu/cpu%u/topology", processor);
    snprintf(path, sizeof path, "%s/cpu/cpu%u/topology/physical_package_id", machine, processor);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    fprintf(file, "%ld\n", socket);
    assert_int_equal(fclose(file), 0);
    snprintf(path, sizeof path, "%s/cpu/cpu%u/node%ld", machine, processor, node);
    assert_int_equal(symlink("../../node", path), 0);
}

static void write_machine(hwloc_topology_t topology)
{
    hwloc_obj_t unit = NULL;
    snprintf(machine, sizeof machine, "/tmp/test-hwloc-XXXXXX");
    assert_non_null(mkdtemp(machine));
    make_directory("/cpu", 0);
    while ((unit = hwloc_get_next_obj_by_type(topology, HWLOC_OBJ_PU, unit)) != NULL)
        write_processor(unit->os_index, domain_by_hwloc(topology, SHMCORE_SCOPE_SOCKET, unit->cpuset),
                        domain_by_hwloc(topology, SHMCORE_SCOPE_NUMA, unit->cpuset));
}

static void remove_machine(void)
{
    char line[96];
    snprintf(line, sizeof line, "rm -r '%s'", machine);
    assert_int_equal(system(line), 0);
}

/* ---------------------------------------------------------------- sets of processors */

/* Some of the processors of `of`, at least one. */
static void some_of(hwloc_bitmap_t set, hwloc_const_bitmap_t of, unsigned *seed)
{
    hwloc_bitmap_zero(set);
    while (hwloc_bitmap_iszero(set))
        for (int processor = hwloc_bitmap_first(of); processor >= 0;
             processor = hwloc_bitmap_next(of, processor))
            if (rand_r(seed) % 3 == 0)
                hwloc_bitmap_set(set, (unsigned)processor);
}

/* In turns: of a socket, of a NUMA domain, of all. */
static void any_set(hwloc_bitmap_t set, hwloc_topology_t topology, unsigned round, unsigned *seed)
{
    static const hwloc_obj_type_t types[] = {HWLOC_OBJ_PACKAGE, HWLOC_OBJ_NUMANODE, HWLOC_OBJ_MACHINE};
    const hwloc_obj_type_t type = types[round % COUNT_OF(types)];
    const unsigned count = (unsigned)hwloc_get_nbobjs_by_type(topology, type);
    some_of(set, hwloc_get_obj_by_type(topology, type, (unsigned)rand_r(seed) % count)->cpuset, seed);
}

static long domain_by_us(enum shmcore_scope scope, hwloc_const_bitmap_t set)
{
    struct scope_processors processors = {{0}};
    uint32_t domain;
    for (int processor = hwloc_bitmap_first(set); processor >= 0;
         processor = hwloc_bitmap_next(set, processor))
        processors.bits[processor / 64] |= UINT64_C(1) << processor % 64;
    if (scope_domain(scope, &processors, machine, &domain) == 0)
        return (long)domain;
    assert_int_equal(errno, EINVAL);
    return -1;
}

static void compare(hwloc_topology_t topology, unsigned seed)
{
    hwloc_bitmap_t set = hwloc_bitmap_alloc();
    unsigned within[2] = {0};
    for (unsigned round = 0; round < SETS; round++) {
        any_set(set, topology, round, &seed);
        for (unsigned scope = SHMCORE_SCOPE_SOCKET; scope <= SHMCORE_SCOPE_NUMA; scope++) {
            const long wanted = domain_by_hwloc(topology, (enum shmcore_scope)scope, set);
            assert_int_equal(domain_by_us((enum shmcore_scope)scope, set), wanted);
            within[scope - SHMCORE_SCOPE_SOCKET] += wanted >= 0;
        }
    }
    assert_true(within[0] >= SETS / 3 && within[1] >= SETS / 3); /* so not all were refused */
    hwloc_bitmap_free(set);
}

/* ---------------------------------------------------------------- tests */

static void machines_made_up(void **state)
{
    (void)state;
    static const char *const machines[] = {
        "pack:2 [numa] core:4 pu:2",                  /* a domain a socket */
        "pack:2 [numa] core:8 pu:1(indexes=2*8:1*2)", /* processors numbered in turns */
        "pack:2 group:4 [numa] core:4 pu:2",          /* four domains a socket, as some AMD have */
        "numa:4 pack:2 core:2 pu:1",                  /* two sockets in a domain */
        "pack:8 [numa] core:32 pu:2",                 /* 512 processors */
        "pack:1 [numa] core:1 pu:1",
    };
    for (unsigned i = 0; i < COUNT_OF(machines); i++) {
        hwloc_topology_t topology;
        assert_int_equal(hwloc_topology_init(&topology), 0);
        assert_int_equal(hwloc_topology_set_synthetic(topology, machines[i]), 0);
        assert_int_equal(hwloc_topology_load(topology), 0);
        write_machine(topology);
        compare(topology, i);
        remove_machine();
        hwloc_topology_destroy(topology);
    }
}

static void this_machine(void **state)
{
    (void)state;
    static const char *const words[] = {[SHMCORE_SCOPE_SOCKET] = "socket", [SHMCORE_SCOPE_NUMA] = "numa"};
    hwloc_topology_t topology;
    cpu_set_t before;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    assert_int_equal(hwloc_topology_init(&topology), 0);
    assert_int_equal(hwloc_topology_load(topology), 0);
    for (size_t processor = 0; processor < CPU_SETSIZE; processor++) {
        const hwloc_obj_t unit = hwloc_get_pu_obj_by_os_index(topology, (unsigned)processor);
        if (!CPU_ISSET(processor, &before) || unit == NULL)
            continue;
        cpu_set_t one;
        CPU_ZERO(&one);
        CPU_SET(processor, &one);
        assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
        for (unsigned scope = SHMCORE_SCOPE_SOCKET; scope <= SHMCORE_SCOPE_NUMA; scope++) {
            char name[SEGMENT_NAME_BYTES], wanted[SEGMENT_NAME_BYTES];
            const long domain = domain_by_hwloc(topology, (enum shmcore_scope)scope, unit->cpuset);
            if (domain < 0)
                continue; /* hwloc knows of no such domain here */
            snprintf(wanted, sizeof wanted, "SHARED@%s%ld", words[scope], domain);
            assert_int_equal(scope_name(name, "SHARED", (enum shmcore_scope)scope), 0);
            assert_string_equal(name, wanted);
        }
    }
    sched_setaffinity(0, sizeof before, &before);
    hwloc_topology_destroy(topology);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(machines_made_up), cmocka_unit_test(this_machine)};
    return cmocka_run_group_tests_name("scope-hwloc", tests, NULL, NULL);
}

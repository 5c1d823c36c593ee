/* SPDX-License-Identifier: MIT
 *
 * core/scope: which socket and which NUMA domain a process belongs to, on machines made of files: the part of
 * /sys that is looked at, for two sockets of two NUMA domains with two processors each, numbered in turns,
 * and for others that are less regular.
 */
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "error.h"
#include "plain.h"
#include "scope.h"

static char machine[64];

static void shell(const char *command, const char *argument)
{
    char line[256];
    snprintf(line, sizeof line, "%s '%s'", command, argument);
    assert_int_equal(system(line), 0);
}

static int new_machine(void **state)
{
    (void)state;
    snprintf(machine, sizeof machine, "/tmp/test-scope-XXXXXX");
    return mkdtemp(machine) != NULL ? 0 : -1;
}

static int remove_machine(void **state)
{
    (void)state;
    shell("rm -r", machine);
    return 0;
}

static void make_file(const char *name, const char *text)
{
    FILE *file = fopen(name, "w");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

/* One that is offline has a directory, but no topology. `node` NULL: a kernel without NUMA. */
static void add_processor(unsigned processor, const char *socket, const char *node)
{
    char path[192], text[32];
    snprintf(path, sizeof path, "%s/cpu/cpu%u%s", machine, processor, socket != NULL ? "/topology" : "");
    shell("mkdir -p", path);
    if (socket != NULL) {
        snprintf(path, sizeof path, "%s/cpu/cpu%u/topology/physical_package_id", machine, processor);
        snprintf(text, sizeof text, "%s\n", socket);
        make_file(path, text);
    }
    if (node != NULL) {
        snprintf(path, sizeof path, "%s/cpu/cpu%u/%s", machine, processor, node);
        assert_int_equal(symlink("../../node/", path), 0);
    }
}

/* Of two sockets, the numbers of whose processors and domains alternate. */
static void make_large_machine(void)
{
    static const char *const sockets[] = {"0", "1"}, *const nodes[] = {"node0", "node1", "node2", "node3"};
    for (unsigned i = 0; i < 8; i++)
        add_processor(i, sockets[i % 2], nodes[i % 4]);
}

/* The domain of a process that may run on the processors in `set`, "0 2 4"; -1: the error is set. */
static int domain(enum shmcore_scope scope, const char *set)
{
    struct scope_processors processors = {{0}};
    uint32_t found = 0;
    for (char *end; *set != '\0'; set = end) {
        const unsigned long processor = strtoul(set, &end, 10);
        processors.bits[processor / 64] |= UINT64_C(1) << processor % 64;
    }
    return scope_domain(scope, &processors, machine, &found) == 0 ? (int)found : -1;
}

#define SOCKET SHMCORE_SCOPE_SOCKET
#define NUMA   SHMCORE_SCOPE_NUMA

static void assert_refused(enum shmcore_scope scope, const char *set, int code, const char *says)
{
    errno = 0;
    assert_int_equal(domain(scope, set), -1);
    assert_int_equal(errno, code);
    if (strstr(error_last(), says) == NULL)
        fail_msg("'%s' does not contain '%s'", error_last(), says);
}

static void within_one(void **state)
{
    (void)state;
    make_large_machine();
    static const char *const one[] = {"0", "1", "2", "3", "4", "5", "6", "7"};
    for (int i = 0; i < 8; i++) {
        assert_int_equal(domain(SOCKET, one[i]), i % 2);
        assert_int_equal(domain(NUMA, one[i]), i % 4);
    }
    assert_int_equal(domain(SOCKET, "0 2 4 6"), 0);
    assert_int_equal(domain(SOCKET, "1 3 5 7"), 1);
    assert_int_equal(domain(SOCKET, "3 5"), 1);
    assert_int_equal(domain(NUMA, "0 4"), 0);
    assert_int_equal(domain(NUMA, "3 7"), 3);
}

static void across_several(void **state)
{
    (void)state;
    make_large_machine();
    assert_refused(SOCKET, "0 1", EINVAL,
                   "socket 0 and on socket 1: start it bound, as with mpirun --bind-to socket");
    assert_refused(SOCKET, "0 1 2 3 4 5 6 7", EINVAL, "--bind-to socket");
    assert_refused(SOCKET, "6 7", EINVAL, "scope=node");
    /* all of a socket is two domains */
    assert_refused(NUMA, "0 2 4 6", EINVAL,
                   "numa 0 and on numa 2: start it bound, as with mpirun --bind-to numa");
    assert_refused(NUMA, "3 7 6", EINVAL, "numa 3 and on numa 2");
}

static void offline(void **state)
{
    (void)state;
    make_large_machine();
    add_processor(8, NULL, "node3");
    add_processor(9, NULL, NULL);
    assert_int_equal(domain(SOCKET, "0 2 8 9 4095"), 0);
    assert_int_equal(domain(NUMA, "2 6 8 9 8191"), 2);
    assert_refused(SOCKET, "8 9", ENOTSUP, "does not tell which socket");
    assert_refused(NUMA, "", ENOTSUP, "does not tell which numa");
}

static void small_machine(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 4; i++)
        add_processor(i, "0", NULL); /* and without NUMA */
    assert_int_equal(domain(SOCKET, "0 1 2 3"), 0);
    assert_int_equal(domain(NUMA, "0 1 2 3"), 0);
}

/* Domains without processors (memory alone) do not count; numbers need not be small, nor begin with 0. */
static void odd_numbers(void **state)
{
    (void)state;
    char path[128];
    snprintf(path, sizeof path, "%s/node/node9", machine);
    shell("mkdir -p", path);
    add_processor(130, "36", "node8");
    add_processor(4000, "5252", "node120");
    assert_int_equal(domain(SOCKET, "130"), 36);
    assert_int_equal(domain(SOCKET, "4000"), 5252);
    assert_int_equal(domain(NUMA, "130"), 8);
    assert_int_equal(domain(NUMA, "4000"), 120);
    assert_refused(NUMA, "130 4000", EINVAL, "numa 8 and on numa 120");
}

static void what_is_not_told(void **state)
{
    (void)state;
    assert_refused(SOCKET, "0", ENOTSUP, "scope=node"); /* no /sys */
    assert_refused(NUMA, "0", ENOTSUP, "scope=node");
    add_processor(0, "-1", "node0"); /* some virtual machines */
    assert_refused(SOCKET, "0", ENOTSUP, "scope=node");
    assert_int_equal(domain(NUMA, "0"), 0);
}

/* ---------------------------------------------------------------- names */

static cpu_set_t before;

/* This process may run on one processor alone, the last one of those that it might. */
static size_t bind_to_one(void)
{
    cpu_set_t one;
    size_t processor = CPU_SETSIZE - 1;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    while (!CPU_ISSET(processor, &before))
        processor--;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    assert_int_equal(sched_setaffinity(0, sizeof one, &one), 0);
    return processor;
}

static int unbind(void **state)
{
    if (CPU_COUNT(&before) > 0)
        sched_setaffinity(0, sizeof before, &before);
    return remove_machine(state);
}

/* What the kernel says, asked in another way: where domains list their processors. */
static unsigned node_of(size_t processor)
{
    char path[128];
    for (unsigned node = 0; node < 1024; node++) {
        snprintf(path, sizeof path, "/sys/devices/system/node/node%u/cpu%zu", node, processor);
        if (access(path, F_OK) == 0)
            return node;
    }
    return 0;
}

/* -1: there is no /sys. */
static int socket_of(size_t processor)
{
    char path[128];
    int number = -1;
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%zu/topology/physical_package_id", processor);
    FILE *file = fopen(path, "r");
    if (file == NULL)
        return -1;
    if (fscanf(file, "%d", &number) != 1)
        number = -1;
    fclose(file);
    return number;
}

static void names(void **state)
{
    (void)state;
    char name[SEGMENT_NAME_BYTES], wanted[SEGMENT_NAME_BYTES];
    const size_t processor = bind_to_one();
    const int socket = socket_of(processor);
    assert_int_equal(scope_name(name, "SHARED::a", SHMCORE_SCOPE_NODE), 0);
    assert_string_equal(name, "SHARED::a");
    if (socket < 0)
        SKIP("the kernel does not tell the processor's socket here");
    snprintf(wanted, sizeof wanted, "SHARED::a@socket%d", socket);
    assert_int_equal(scope_name(name, "SHARED::a", SOCKET), 0);
    assert_string_equal(name, wanted);
    snprintf(wanted, sizeof wanted, "SHARED::a@numa%u", node_of(processor));
    assert_int_equal(scope_name(name, "SHARED::a", NUMA), 0);
    assert_string_equal(name, wanted);

    char given[SEGMENT_NAME_BYTES] = "SHARED"; /* room for one character less than is added */
    const size_t room = strlen(strrchr(wanted, '@'));
    memset(given + 6, 'x', sizeof given - room - 6);
    assert_int_equal(scope_name(name, given, NUMA), -1);
    assert_int_equal(errno, EINVAL);
    given[sizeof given - room - 1] = '\0';
    assert_int_equal(scope_name(name, given, NUMA), 0);
    assert_int_equal(strlen(name), sizeof name - 1);
}

static void names_with_a_domain(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        enum shmcore_scope scope;
    } given[] = {{"SHARED::a@socket77", SOCKET}, {"SHARED@b@socket0", SOCKET}, {"SHARED@numa12", NUMA}};
    char name[SEGMENT_NAME_BYTES];
    for (size_t i = 0; i < COUNT_OF(given); i++) {
        assert_int_equal(scope_name(name, given[i].name, given[i].scope), 0);
        assert_string_equal(name, given[i].name);
    }
    assert_int_equal(scope_name(name, "SHARED", (enum shmcore_scope)3), -1);
    assert_int_equal(errno, EINVAL);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, new_machine, unbind)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(within_one),  TEST(across_several),   TEST(offline), TEST(small_machine),
        TEST(odd_numbers), TEST(what_is_not_told), TEST(names),   TEST(names_with_a_domain),
    };
    return cmocka_run_group_tests_name("scope", tests, NULL, NULL);
}

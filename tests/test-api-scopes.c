/* SPDX-License-Identifier: MIT
 *
 * Segments of a socket or a NUMA domain, through the shared library; and the identity of segments. Which
 * domain a process belongs to is decided in test-scope.c; here all run on one processor, so there is one.
 */
#include <linux/mempolicy.h>
#include <sched.h>
#include <sys/syscall.h>

#include "test-api.h"

static bool bound; /* and the kernel tells of domains */

/* What the peers inherit, and none of the tests needs more. */
static void bind_to_one(void)
{
    cpu_set_t all, one;
    size_t processor = 0;
    if (sched_getaffinity(0, sizeof all, &all) != 0)
        return;
    while (processor < CPU_SETSIZE && !CPU_ISSET(processor, &all))
        processor++;
    CPU_ZERO(&one);
    CPU_SET(processor, &one);
    bound = sched_setaffinity(0, sizeof one, &one) == 0 &&
            access("/sys/devices/system/cpu/cpu0/topology", F_OK) == 0;
}

#define NEEDS_DOMAINS()                                                                                      \
    do {                                                                                                     \
        if (!bound) {                                                                                        \
            print_message("skipped: this process cannot be bound to a processor of a known socket\n");       \
            skip();                                                                                          \
        }                                                                                                    \
    } while (0)

static shmcore_segment *open_scoped(const char *name, enum shmcore_scope scope)
{
    shmcore_traits traits = traits_here(4 * MIB);
    traits.scope = scope;
    return shmcore_open(name, &traits);
}

static void each_scope_is_a_segment_of_its_own(void **state)
{
    (void)state;
    NEEDS_DOMAINS();
    static const char *const marks[] = {"", "@socket", "@numa"};
    shmcore_segment *segments[3];
    for (unsigned i = 0; i < 3; i++) {
        segments[i] = open_scoped(NODE, (enum shmcore_scope)i);
        if (segments[i] == NULL)
            fail_msg("%s", shmcore_error());
        const char *name = shmcore_segment_name(segments[i]);
        const size_t known = strlen(NODE) + strlen(marks[i]);
        assert_memory_equal(name, NODE, strlen(NODE));
        assert_memory_equal(name + strlen(NODE), marks[i], strlen(marks[i]));
        assert_int_equal(strspn(name + known, "0123456789"), strlen(name) - known);
        assert_int_equal(shmcore_get_traits(segments[i]).scope, i);
        assert_null(shmcore_find(segments[i], "block", NULL));
        *(unsigned *)allocate(segments[i], "block", sizeof(unsigned)) = i;
    }
    assert_int_equal(files_in_directory(), 3);
    for (unsigned i = 0; i < 3; i++) {
        assert_ptr_equal(open_scoped(NODE, (enum shmcore_scope)i), segments[i]);
        assert_int_equal(*(unsigned *)shmcore_find(segments[i], "block", NULL), i);
        assert_int_equal(shmcore_close(segments[i]), 0);
        assert_int_equal(shmcore_close(segments[i]), 0);
    }
}

static void looks_by_full_name(const struct peer *parent)
{
    char name[128];
    shmcore_traits traits = traits_here(0);
    const size_t length = (size_t)hear(parent);
    REQUIRE(read(parent->in, name, length) == (ssize_t)length);
    traits.read_only = true;
    shmcore_segment *viewed = shmcore_open(name, &traits);
    REQUIRE(viewed != NULL && shmcore_find(viewed, "block", NULL) != NULL);
    traits.read_only = false;
    shmcore_segment *segment = shmcore_open(name, &traits);
    REQUIRE(segment != NULL && shmcore_get_traits(segment).scope == SHMCORE_SCOPE_SOCKET);
    REQUIRE(shmcore_identity(segment) == shmcore_identity(viewed));
    traits.scope = SHMCORE_SCOPE_SOCKET;
    REQUIRE(shmcore_open(name, &traits) == segment);
    REQUIRE(shmcore_open(NODE, &traits) == segment);
    tell(parent, 1);
    hear(parent);
}

static void anybody_can_open_by_the_full_name(void **state)
{
    (void)state;
    NEEDS_DOMAINS();
    const struct peer peer = start_peer(looks_by_full_name);
    shmcore_segment *segment = open_scoped(NODE, SHMCORE_SCOPE_SOCKET);
    assert_non_null(segment);
    allocate(segment, "block", 100);
    const char *name = shmcore_segment_name(segment);
    tell(&peer, strlen(name) + 1);
    assert_int_equal(write(peer.out, name, strlen(name) + 1), (ssize_t)strlen(name) + 1);
    hear(&peer);
    assert_int_equal(statistics_of(segment).processes, 2);
    tell(&peer, 1);
    peer_ends_well(&peer);
    shmcore_close(segment);
}

static void another_scope_is_refused(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here("SHARED::a@socket0", MIB); /* one of the node, whatever its name */
    assert_non_null(segment);
    assert_refused(open_scoped("SHARED::a@socket0", SHMCORE_SCOPE_SOCKET), EINVAL);
    assert_refused(open_scoped(NODE, (enum shmcore_scope)3), EINVAL);
    shmcore_close(segment);
}

static void removing_one_of_a_domain(void **state)
{
    (void)state;
    NEEDS_DOMAINS();
    shmcore_traits traits = traits_here(4 * MIB);
    traits.scope = SHMCORE_SCOPE_NUMA;
    traits.persist = true;
    assert_int_equal(shmcore_close(shmcore_open(NODE, &traits)), 0);
    traits.scope = SHMCORE_SCOPE_NODE;
    assert_fails(shmcore_remove(NODE, &traits), ENOENT);
    traits.scope = SHMCORE_SCOPE_NUMA;
    assert_int_equal(files_in_directory(), 1);
    assert_int_equal(shmcore_remove(NODE, &traits), 0);
    assert_int_equal(files_in_directory(), 0);
    traits.scope = (enum shmcore_scope)3;
    assert_fails(shmcore_remove(NODE, &traits), EINVAL);
}

/* ---------------------------------------------------------------- identity */

static void says_identity(const struct peer *parent)
{
    hear(parent);
    shmcore_segment *segment = open_here(NODE, 0);
    REQUIRE(shmcore_of_identity(shmcore_identity(segment)) == segment);
    tell(parent, shmcore_identity(segment));
    hear(parent);
}

static void identity(void **state)
{
    (void)state;
    const struct peer peer = start_peer(says_identity);
    shmcore_segment *old = open_here(NODE, MIB);
    const uint64_t before = shmcore_identity(old);
    assert_int_not_equal(before, 0);
    tell(&peer, 1);
    assert_true(hear(&peer) == before);

    const shmcore_traits traits = traits_here(MIB);
    assert_int_equal(shmcore_remove(NODE, &traits), 0); /* under the same name now: another one */
    shmcore_segment *fresh = open_here(NODE, MIB);
    assert_true(shmcore_identity(fresh) != before);
    assert_ptr_equal(shmcore_of_identity(before), old);
    assert_ptr_equal(shmcore_of_identity(shmcore_identity(fresh)), fresh);
    shmcore_close(old);
    assert_refused(shmcore_of_identity(before), ENOENT);
    assert_int_equal(shmcore_identity(old), 0);
    assert_refused(shmcore_of_identity(0), ENOENT);
    tell(&peer, 1);
    peer_ends_well(&peer);
    shmcore_close(fresh);
}

/* ---------------------------------------------------------------- NUMA nodes */

/* By which policy the kernel finds a page for the address: -1 when it does not say. */
static int policy_at(const void *address)
{
    int mode;
    return syscall(SYS_get_mempolicy, &mode, NULL, 0, address, MPOL_F_ADDR) == 0 ? mode : -1;
}

/* A process that has not made the segment. */
static void says_policy(const struct peer *parent)
{
    hear(parent);
    shmcore_segment *segment = open_here(NODE, 0);
    tell(parent, (uint64_t)policy_at(allocate(segment, "of the peer", 100000)));
    tell(parent, shmcore_get_traits(segment).interleave);
    hear(parent);
}

static void pages_are_spread(void **state)
{
    (void)state;
    const struct peer peer = start_peer(says_policy);
    shmcore_traits traits = traits_here(4 * MIB);
    traits.interleave = true;
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    assert_non_null(segment);
    const bool spread = shmcore_get_traits(segment).interleave;
    tell(&peer, 1);
    const int policy = (int)hear(&peer);
    assert_int_equal(hear(&peer), spread);
    tell(&peer, 1);
    peer_ends_well(&peer);
    assert_int_equal(policy_at(allocate(segment, "small", 64)), policy);
    shmcore_close(segment);
    if (policy < 0 || !spread) {
        assert_false(spread);
        print_message("skipped: this system does not let a process spread its pages over nodes\n");
        skip();
    }
    assert_int_equal(policy, MPOL_INTERLEAVE);
}

/* Nor does it become so when somebody asks for it who comes later. */
static void pages_lie_where_they_are_used(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    assert_false(shmcore_get_traits(segment).interleave);
    const int policy = policy_at(allocate(segment, "block", 64));
    assert_true(policy == MPOL_DEFAULT || policy == -1);
    shmcore_traits traits = traits_here(0);
    traits.interleave = true;
    traits.read_only = true;
    shmcore_segment *viewed = shmcore_open(NODE, &traits);
    assert_non_null(viewed);
    assert_false(shmcore_get_traits(viewed).interleave);
    shmcore_close(viewed);
    shmcore_close(segment);
}

static void of_two_handles_the_one_for_writing(void **state)
{
    (void)state;
    shmcore_traits traits = traits_here(0);
    traits.read_only = true;
    shmcore_segment *made = open_here(NODE, MIB);
    shmcore_segment *viewed = shmcore_open(NODE, &traits);
    assert_non_null(viewed);
    assert_true(shmcore_identity(viewed) == shmcore_identity(made));
    assert_ptr_equal(shmcore_of_identity(shmcore_identity(made)), made);
    const uint64_t number = shmcore_identity(made);
    shmcore_segment *again = open_here("SHARED::other", MIB); /* its handle comes after the viewer's */
    assert_ptr_equal(shmcore_of_identity(number), made);
    shmcore_close(made);
    assert_ptr_equal(shmcore_of_identity(number), viewed);
    shmcore_close(viewed);
    shmcore_close(again);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(each_scope_is_a_segment_of_its_own),
        API_TEST(anybody_can_open_by_the_full_name),
        API_TEST(another_scope_is_refused),
        API_TEST(removing_one_of_a_domain),
        API_TEST(identity),
        API_TEST(of_two_handles_the_one_for_writing),
        API_TEST(pages_are_spread),
        API_TEST(pages_lie_where_they_are_used),
    };
    if (make_test_directory("scopes") != 0)
        return 1;
    signal(SIGPIPE, SIG_IGN);
    bind_to_one();
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}

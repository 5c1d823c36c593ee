/* SPDX-License-Identifier: MIT
 *
 * Mappings through the public API: reading only, reading and writing side by side, and the address that all
 * processes have in common.
 */
#include "test-api.h"

#include <sys/mman.h>

/* ---------------------------------------------------------------- reading only */

static int count_block(const shmcore_block *block, void *argument)
{
    (void)block;
    ++*(int *)argument;
    return 0;
}

static void fills_a_segment(const struct peer *parent)
{
    const shmcore_traits traits = traits_here(8 * MIB);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    int *first = shmcore_allocate(segment, "first", sizeof *first);
    REQUIRE(first != NULL);
    for (int value = 1; value <= 3; value++) {
        *first = value;
        tell(parent, 1);
        hear(parent);
    }
    REQUIRE(shmcore_allocate(segment, "second", 100000) != NULL);
    REQUIRE(shmcore_deallocate(segment, first) == 0);
    tell(parent, 1);
    hear(parent);
    REQUIRE(shmcore_close(segment) == 0);
}

static void reading_only(void **state)
{
    (void)state;
    shmcore_traits traits = traits_here(0);
    traits.read_only = true;
    assert_refused(shmcore_open(NODE, &traits), ENOENT);
    assert_int_equal(files_in_directory(), 0);
    const struct peer peer = start_peer(fills_a_segment);
    hear(&peer);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    assert_non_null(segment);
    assert_true(shmcore_get_traits(segment).read_only);
    assert_int_equal(statistics_of(segment).processes, 1); /* the peer */
    size_t bytes = 0;
    const int *first = shmcore_find(segment, "first", &bytes);
    assert_non_null(first);
    assert_int_equal(bytes, sizeof *first);
    for (int value = 1; value <= 3; value++) { /* what the peer writes is seen at once */
        assert_int_equal(*first, value);
        tell(&peer, 1);
        hear(&peer);
    }
    assert_refused(shmcore_allocate(segment, "third", 1), EROFS);
    assert_refused(shmcore_allocate(segment, "first", sizeof *first), EROFS);
    assert_refused(shmcore_attach(segment, "first", NULL), EROFS);
    assert_fails(shmcore_deallocate(segment, (void *)(uintptr_t)first), EROFS);
    assert_refused(shmcore_shim_create(segment, "prefix"), EROFS);
    assert_refused(shmcore_find(segment, "first", NULL), ENOENT);
    const shmcore_block block = block_at(shmcore_find(segment, "second", &bytes));
    assert_string_equal(block.name, "second");
    assert_int_equal(block.refs, 1);
    assert_int_equal(block.owner, peer.pid);
    int count = 0;
    assert_int_equal(shmcore_for_each(segment, count_block, &count), 0);
    assert_int_equal(count, 1);
    tell(&peer, 1);
    peer_ends_well(&peer);
    assert_int_equal(files_in_directory(), 0); /* a reader does not keep it */
    assert_int_equal(shmcore_close(segment), 0);
}

/* A viewer inside a program that also writes: either may come first, either may go first. */
static void reading_and_writing_in_one_process(void **state)
{
    (void)state;
    const struct peer peer = start_peer(fills_a_segment);
    hear(&peer);
    for (int order = 0; order < 4; order++) {
        shmcore_traits traits = traits_here(0);
        shmcore_segment *segment[2];
        for (int i = 0; i < 2; i++) {
            traits.read_only = (order + i) % 2 == 0;
            segment[(order + i) % 2] = shmcore_open(NODE, &traits);
            assert_non_null(segment[(order + i) % 2]);
        }
        assert_ptr_not_equal(segment[0], segment[1]);
        int *block = allocate(segment[1], "mine", 100000);
        *block = 5;
        assert_int_equal(*(const int *)shmcore_find(segment[0], "mine", NULL), 5);
        assert_refused(shmcore_allocate(segment[0], "mine", 100000), EROFS);
        const int first_to_go = order / 2;
        assert_int_equal(shmcore_close(segment[first_to_go]), 0);
        if (first_to_go == 0)
            *block = 6;
        else
            assert_refused(shmcore_find(segment[0], "mine", NULL), ENOENT);
        assert_int_equal(shmcore_close(segment[1 - first_to_go]), 0);
    }
    kill_peer(&peer);
    assert_int_equal(shmcore_collect(test_directory, NULL), 0);
}

/* ---------------------------------------------------------------- addresses */

static void segments_do_not_overlap(void **state)
{
    (void)state;
    shmcore_segment *one = open_here(NODE, 2 * GIB), *two = open_here("SHARED::two", MIB);
    assert_true(shmcore_address_stable(one));
    assert_true(shmcore_address_stable(two));
    const char *in_one = allocate(one, "block", 64), *in_two = allocate(two, "block", 64);
    assert_false(in_two > in_one - GIB && in_two < in_one + GIB);
    assert_string_equal(block_at(in_one).segment, NODE);
    assert_string_equal(block_at(in_two).segment, "SHARED::two");
    shmcore_close(one);
    shmcore_close(two);
}

static void has_something_at_the_address(const struct peer *parent)
{
    const shmcore_traits traits = traits_here(8 * MIB);
    const uintptr_t address = (uintptr_t)hear(parent) & ~(uintptr_t)4095;
    REQUIRE(mmap((void *)address, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_FIXED, -1, 0) !=
            MAP_FAILED);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    REQUIRE(!shmcore_address_stable(segment));
    int *block = shmcore_allocate(segment, "block", 100000);
    REQUIRE(block != NULL && ((uintptr_t)block & ~(uintptr_t)4095) != address);
    REQUIRE(block[7] == 7);
    block[8] = 8;
    REQUIRE(shmcore_close(segment) == 0);
}

static void the_address_is_taken(void **state)
{
    (void)state;
    const struct peer peer = start_peer(has_something_at_the_address);
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    int *block = allocate(segment, "block", 100000);
    block[7] = 7;
    tell(&peer, (uintptr_t)block);
    peer_ends_well(&peer);
    assert_int_equal(block[8], 8);
    assert_true(shmcore_address_stable(segment));
    shmcore_close(segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(reading_only),
        API_TEST(reading_and_writing_in_one_process),
        API_TEST(segments_do_not_overlap),
        API_TEST(the_address_is_taken),
    };
    signal(SIGPIPE, SIG_IGN);
    if (make_test_directory("mapping") != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}

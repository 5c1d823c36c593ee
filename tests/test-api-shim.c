/* SPDX-License-Identifier: MIT
 *
 * Automatic names: PREFIX_alloc_N in call order, the same blocks for processes that make the same calls.
 */
#include "test-api.h"

#include <pthread.h>

static void names_in_call_order(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    shmcore_shim *shim = shmcore_shim_create(segment, "grid");
    assert_non_null(shim);
    for (unsigned i = 0; i < 12; i++) {
        char name[32];
        size_t bytes;
        void *block = shmcore_shim_allocate(shim, 100 + i);
        assert_non_null(block);
        snprintf(name, sizeof name, "grid_alloc_%u", i);
        assert_ptr_equal(shmcore_find(segment, name, &bytes), block);
        assert_int_equal(bytes, 100 + i);
        assert_string_equal(block_at(block).name, name);
        if (i % 2 == 0)
            assert_int_equal(shmcore_shim_deallocate(shim, block), 0);
    }
    assert_int_equal(statistics_of(segment).blocks, 6); /* a number is not used again */
    shmcore_shim_destroy(shim);
    assert_int_equal(statistics_of(segment).blocks, 6);
    shmcore_close(segment);
}

/* Two shims of one prefix are two counters: the second meets the blocks of the first. */
static void each_shim_counts_for_itself(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    shmcore_shim *one = shmcore_shim_create(segment, "p"), *two = shmcore_shim_create(segment, "p");
    shmcore_shim *other = shmcore_shim_create(segment, "q");
    void *block = shmcore_shim_allocate(one, 10);
    assert_non_null(block);
    assert_ptr_equal(shmcore_shim_allocate(two, 10), block);
    assert_int_equal(block_at(block).refs, 2);
    assert_ptr_not_equal(shmcore_shim_allocate(other, 10), block);
    void *second = shmcore_shim_allocate(one, 10);
    assert_refused(shmcore_shim_allocate(two, 11), EEXIST);
    void *third = shmcore_shim_allocate(two, 10);
    assert_ptr_not_equal(third, second); /* the refused call has used up its number */
    assert_string_equal(block_at(third).name, "p_alloc_2");
    shmcore_close(segment);
}

static void what_is_refused(void **state)
{
    (void)state;
    char prefix[301];
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    static const char *const bad[] = {NULL, "", "a\n", "\xff", "\x7f", "\xc2\x80"};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_refused(shmcore_shim_create(segment, bad[i]), EINVAL);
    memset(prefix, 'p', sizeof prefix);
    prefix[300] = '\0';
    assert_refused(shmcore_shim_create(segment, prefix), ENAMETOOLONG);
    prefix[256] = '\0';
    assert_refused(shmcore_shim_create(segment, prefix), ENAMETOOLONG);
    assert_refused(shmcore_shim_create(NULL, "prefix"), EINVAL);
    assert_refused(shmcore_shim_allocate(NULL, 10), EINVAL);
    assert_fails(shmcore_shim_deallocate(NULL, prefix), EINVAL);
    shmcore_shim_destroy(NULL);
    shmcore_shim *shim = shmcore_shim_create(segment, "a/b é");
    assert_non_null(shim);
    assert_refused(shmcore_shim_allocate(shim, SIZE_MAX), ENOMEM);
    assert_refused(shmcore_shim_allocate(shim, SIZE_MAX - 4095), ENOMEM);
    assert_fails(shmcore_shim_deallocate(shim, prefix), EINVAL);
    assert_int_equal(shmcore_shim_deallocate(shim, NULL), 0);
    void *block = shmcore_shim_allocate(shim, 0);
    assert_non_null(block);
    assert_string_equal(block_at(block).name, "a/b é_alloc_2");
    assert_int_equal(shmcore_shim_deallocate(shim, block), 0);
    assert_fails(shmcore_shim_deallocate(shim, block), EINVAL);
    shmcore_shim_destroy(shim);
    shmcore_close(segment);
}

enum { CALLS = 2000, THREADS = 4 };

static void *calls_the_shim(void *shim)
{
    uintptr_t failures = 0;
    for (unsigned i = 0; i < CALLS; i++)
        failures += shmcore_shim_allocate(shim, 8) == NULL;
    return (void *)failures;
}

/* Every number is given out once. */
static void threads_share_a_counter(void **state)
{
    (void)state;
    pthread_t threads[THREADS];
    shmcore_segment *segment = open_here(NODE, 16 * MIB);
    shmcore_shim *shim = shmcore_shim_create(segment, "threads");
    assert_non_null(shim);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, calls_the_shim, shim), 0);
    for (int i = 0; i < THREADS; i++) {
        void *failures;
        pthread_join(threads[i], &failures);
        assert_null(failures);
    }
    assert_int_equal(statistics_of(segment).blocks, CALLS * THREADS);
    for (unsigned i = 0; i < CALLS * THREADS; i++) {
        char name[32];
        snprintf(name, sizeof name, "threads_alloc_%u", i);
        void *block = shmcore_find(segment, name, NULL);
        assert_non_null(block);
        assert_int_equal(block_at(block).refs, 1);
    }
    shmcore_shim_destroy(shim);
    shmcore_close(segment);
}

static const size_t call_sizes[] = {64, 4096, 10, 100000, 0, 300000};
enum { CALL_COUNT = sizeof call_sizes / sizeof *call_sizes };

static void makes_the_same_calls(const struct peer *parent)
{
    const shmcore_traits traits = traits_here(8 * MIB);
    hear(parent); /* its blocks are there and filled */
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    shmcore_shim *shim = shmcore_shim_create(segment, "rank");
    REQUIRE(shim != NULL);
    for (unsigned i = 0; i < CALL_COUNT; i++) {
        char *block = shmcore_shim_allocate(shim, call_sizes[i]);
        REQUIRE(block != NULL);
        REQUIRE(call_sizes[i] == 0 || strcmp(block, "parent") == 0);
        tell(parent, (uintptr_t)block);
    }
    REQUIRE(shmcore_shim_allocate(shim, 4096) != NULL);
    hear(parent);
    shmcore_shim_destroy(shim);
    REQUIRE(shmcore_close(segment) == 0);
}

static void processes_get_the_same_blocks(void **state)
{
    (void)state;
    void *block[CALL_COUNT];
    const struct peer peer = start_peer(makes_the_same_calls);
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    shmcore_shim *shim = shmcore_shim_create(segment, "rank");
    assert_non_null(shim);
    for (unsigned i = 0; i < CALL_COUNT; i++) {
        block[i] = shmcore_shim_allocate(shim, call_sizes[i]);
        assert_non_null(block[i]);
        if (call_sizes[i] != 0)
            strcpy(block[i], "parent");
    }
    tell(&peer, 1);
    for (unsigned i = 0; i < CALL_COUNT; i++)
        assert_int_equal(hear(&peer), (uintptr_t)block[i]);
    for (unsigned i = 0; i < CALL_COUNT; i++)
        assert_int_equal(block_at(block[i]).refs, 2);
    tell(&peer, 1);
    peer_ends_well(&peer);
    for (unsigned i = 0; i < CALL_COUNT; i++) {
        assert_int_equal(block_at(block[i]).refs, 1);
        assert_int_equal(shmcore_shim_deallocate(shim, block[i]), 0);
    }
    assert_int_equal(statistics_of(segment).blocks, 0);
    shmcore_shim_destroy(shim);
    shmcore_close(segment);
}

/* A process that calls with other sizes must not get a block that is too small. */
static void other_calls_are_refused(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    shmcore_shim *one = shmcore_shim_create(segment, "rank"), *two = shmcore_shim_create(segment, "rank");
    assert_non_null(shmcore_shim_allocate(one, 64));
    assert_non_null(shmcore_shim_allocate(one, 4096));
    assert_refused(shmcore_shim_allocate(two, 4096), EEXIST);
    assert_refused(shmcore_shim_allocate(two, 64), EEXIST);
    shmcore_close(segment);
}

static void a_shim_of_a_closed_segment(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    shmcore_shim *shim = shmcore_shim_create(segment, "late");
    void *block = shmcore_shim_allocate(shim, 10);
    shmcore_close(segment);
    assert_refused(shmcore_shim_allocate(shim, 10), EINVAL);
    assert_fails(shmcore_shim_deallocate(shim, block), EINVAL);
    shmcore_shim_destroy(shim);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(names_in_call_order),
        API_TEST(each_shim_counts_for_itself),
        API_TEST(what_is_refused),
        API_TEST(threads_share_a_counter),
        API_TEST(processes_get_the_same_blocks),
        API_TEST(other_calls_are_refused),
        API_TEST(a_shim_of_a_closed_segment),
    };
    signal(SIGPIPE, SIG_IGN);
    if (make_test_directory("shim") != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}

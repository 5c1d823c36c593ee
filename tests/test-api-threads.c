/* SPDX-License-Identifier: MIT
 *
 * Threads of one process in one segment: they allocate, join, find, write and free named blocks, of all kinds
 * of size, while others look on. What ThreadSanitizer is for.
 */
#include "test-api.h"

#include <pthread.h>
#include <stdbool.h>

enum { THREADS = 4, ROUNDS = 1500, NAMES = 24, LOOKS = 40 };

static shmcore_segment *segment;
static _Atomic unsigned wrong;

/* The first thing that is not as it should be is told, with what the library says of it. */
static void expect(bool good, const char *what)
{
    if (!good && wrong++ == 0)
        print_error("%s: %s\n", what, shmcore_error());
}

/* On a machine with too much to do a lock may be overdue, and that is for the caller to know and try again.
 */
static void *allocate_in(shmcore_segment *where, const char *name, size_t bytes)
{
    void *block;
    do
        block = shmcore_allocate(where, name, bytes);
    while (block == NULL && errno == EBUSY);
    return block;
}

static int deallocate_in(shmcore_segment *where, void *block)
{
    int result;
    do
        result = shmcore_deallocate(where, block);
    while (result != 0 && errno == EBUSY);
    return result;
}

static size_t size_of(unsigned name)
{
    return name % 6 == 0 ? 40000 + 1000 * (size_t)name : 16 + 37 * (size_t)name;
}

/* Names that all threads use: a block is there as long as somebody has a reference. Each thread has a part of
 * the bytes for itself. */
static void *share(void *argument)
{
    const unsigned self = (unsigned)(uintptr_t)argument;
    for (unsigned round = 0; round < ROUNDS; round++) {
        char name[64];
        const unsigned number = (round * 7 + self) % NAMES;
        const size_t bytes = size_of(number), part = bytes / THREADS;
        snprintf(name, sizeof name, "block/%s%u", number % 2 == 0 ? "" : "a longer name than fits a record/",
                 number);
        unsigned char *block = allocate_in(segment, name, bytes);
        expect(block != NULL, "allocate");
        if (block == NULL)
            continue;
        memset(block + self * part, (int)(round % 251), part);
        size_t found_bytes = 0;
        expect(shmcore_find(segment, name, &found_bytes) == block && found_bytes == bytes, "find");
        expect(is_filled_with(block + self * part, (unsigned char)(round % 251), part), "contents");
        expect(deallocate_in(segment, block) == 0, "deallocate");
    }
    return NULL;
}

static int look(const shmcore_block *block, void *argument)
{
    expect(strncmp(block->name, "block/", 6) == 0 && block->bytes != 0, block->name);
    ++*(unsigned *)argument;
    return 0;
}

static void *look_on(void *argument)
{
    for (unsigned i = 0; i < LOOKS; i++) {
        unsigned blocks = 0;
        shmcore_statistics now;
        expect(shmcore_for_each(segment, look, &blocks) == 0 && blocks <= NAMES * 2, "for_each");
        expect(shmcore_stat(segment, &now) == 0, "stat");
    }
    return argument;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t thread[THREADS], viewer;
    segment = open_here(NODE, 32 * MIB);
    assert_int_equal(pthread_create(&viewer, NULL, look_on, NULL), 0);
    for (uintptr_t t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&thread[t], NULL, share, (void *)t), 0);
    for (unsigned t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(thread[t], NULL), 0);
    assert_int_equal(pthread_join(viewer, NULL), 0);
    assert_int_equal(wrong, 0);
    assert_int_equal(statistics_of(segment).blocks, 0);
    assert_int_equal(shmcore_close(segment), 0);
}

static void *open_and_close(void *argument)
{
    for (unsigned round = 0; round < 40; round++) {
        const shmcore_traits traits = traits_here(4 * MIB);
        shmcore_segment *own = shmcore_open(NODE, &traits);
        expect(own != NULL, "open");
        if (own == NULL)
            continue;
        void *block = allocate_in(own, argument, 100);
        expect(block != NULL && deallocate_in(own, block) == 0, "allocate and deallocate");
        expect(shmcore_close(own) == 0, "close");
    }
    return NULL;
}

static void test_open(void **state)
{
    (void)state;
    static char names[THREADS][2] = {"a", "b", "c", "d"};
    pthread_t thread[THREADS];
    for (unsigned t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&thread[t], NULL, open_and_close, names[t]), 0);
    for (unsigned t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(thread[t], NULL), 0);
    assert_int_equal(wrong, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {API_TEST(test_threads), API_TEST(test_open)};
    if (make_test_directory("threads") != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}

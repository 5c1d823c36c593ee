/* SPDX-License-Identifier: MIT
 *
 * Blocks through the public API, in one process: names, sizes, alignment, zeros, references, what deallocate
 * refuses, finding, describing, visiting.
 */
#include "test-api.h"

#include <pthread.h>
#include <stdatomic.h>

/* ---------------------------------------------------------------- names */

static void bad_names(void **state)
{
    (void)state;
    char long_name[1000];
    memset(long_name, 'x', sizeof long_name);
    long_name[256] = '\0';
    static const char *const bad[] = {NULL,
                                      "",
                                      "a\nb",
                                      "\x01",
                                      "tab\there",
                                      "del\x7f",
                                      "c1 \xc2\x85",
                                      "\xff",
                                      "cut short \xe2\x82",
                                      "\xc0\xaf",
                                      "\xed\xa0\x80",
                                      "\xf4\x90\x80\x80",
                                      "\x80",
                                      "a name of more than sixteen bytes\r"};
    shmcore_segment *segment = open_here(NODE, MIB);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_refused(shmcore_allocate(segment, bad[i], 8), EINVAL);
        errno = 0;
        assert_null(shmcore_find(segment, bad[i], NULL));
        assert_true(errno == EINVAL || errno == ENOENT);
    }
    assert_refused(shmcore_allocate(segment, long_name, 8), ENAMETOOLONG);
    assert_null(shmcore_find(segment, long_name, NULL));
    long_name[256] = 'x';
    long_name[999] = '\0';
    assert_refused(shmcore_allocate(segment, long_name, 8), ENAMETOOLONG);
    assert_null(shmcore_find(segment, long_name, NULL));
    assert_int_equal(statistics_of(segment).blocks, 0);
    shmcore_close(segment);
}

static void good_names(void **state)
{
    (void)state;
    static const char *const good[] = {" ",
                                       "a/b",
                                       "/",
                                       "%s%n",
                                       "grid:é#1",
                                       "内存块",
                                       "\xf0\x9f\x92\xbe",
                                       "-",
                                       "..",
                                       "name with spaces that is longer than sixteen bytes",
                                       "\"quoted\"",
                                       "\\"};
    shmcore_segment *segment = open_here(NODE, MIB);
    const size_t before = shmcore_actual_size(segment);
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        size_t bytes = 0;
        void *block = allocate(segment, good[i], 40 + i);
        assert_ptr_equal(shmcore_find(segment, good[i], &bytes), block);
        assert_int_equal(bytes, 40 + i);
        assert_string_equal(block_at(block).name, good[i]);
        assert_int_equal(shmcore_deallocate(segment, block), 0);
        assert_refused(shmcore_find(segment, good[i], NULL), ENOENT);
    }
    assert_int_equal(shmcore_actual_size(segment), before);
    shmcore_close(segment);
}

/* Names that are each other's beginnings, 1 to 255 bytes long. */
static void names_of_every_length(void **state)
{
    (void)state;
    char name[256] = "";
    void *block[256];
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    const size_t before = shmcore_actual_size(segment);
    for (size_t length = 1; length <= 255; length++) {
        memset(name, 'n', length);
        block[length] = allocate(segment, name, length);
    }
    for (size_t length = 1; length <= 255; length++) {
        size_t bytes;
        name[length] = '\0';
        memset(name, 'n', length);
        assert_ptr_equal(shmcore_find(segment, name, &bytes), block[length]);
        assert_int_equal(bytes, length);
        assert_string_equal(block_at(block[length]).name, name);
    }
    for (size_t length = 255; length >= 1; length--)
        assert_int_equal(shmcore_deallocate(segment, block[length]), 0);
    assert_int_equal(shmcore_actual_size(segment), before);
    shmcore_close(segment);
}

/* ---------------------------------------------------------------- sizes */

static void absurd_sizes(void **state)
{
    (void)state;
    static const size_t absurd[] = {SIZE_MAX,     SIZE_MAX - 1,     SIZE_MAX - 15,     SIZE_MAX - 4095,
                                    SIZE_MAX / 2, SIZE_MAX - 16384, (size_t)1 << 62,   8 * MIB,
                                    8 * MIB + 1,  (size_t)1 << 44,  SIZE_MAX - 8 * MIB};
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    const size_t before = shmcore_actual_size(segment);
    for (size_t i = 0; i < sizeof absurd / sizeof *absurd; i++) {
        assert_refused(shmcore_allocate(segment, "absurd", absurd[i]), ENOMEM);
        assert_refused(shmcore_find(segment, "absurd", NULL), ENOENT);
    }
    assert_int_equal(shmcore_actual_size(segment), before);
    char *block = allocate(segment, "absurd", 10);
    assert_null(shmcore_allocate(segment, "absurd", SIZE_MAX - 4095)); /* both wrong: either may be said */
    assert_true(errno == EEXIST || errno == ENOMEM);
    assert_int_equal(block_at(block).refs, 1);
    shmcore_close(segment);
}

static void zero_bytes(void **state)
{
    (void)state;
    size_t bytes = 7;
    shmcore_segment *segment = open_here(NODE, MIB);
    char *one = allocate(segment, "one", 0), *two = allocate(segment, "two", 0);
    assert_ptr_not_equal(one, two);
    assert_ptr_equal(allocate(segment, "one", 0), one);
    assert_ptr_equal(shmcore_find(segment, "two", &bytes), two);
    assert_int_equal(bytes, 0);
    assert_string_equal(block_at(one).name, "one");
    assert_refused(shmcore_allocate(segment, "one", 1), EEXIST);
    assert_int_equal(shmcore_deallocate(segment, one), 0);
    assert_int_equal(shmcore_deallocate(segment, one), 0);
    assert_fails(shmcore_deallocate(segment, one), EINVAL);
    assert_int_equal(statistics_of(segment).blocks, 1);
    shmcore_close(segment);
}

static size_t promised_alignment(size_t bytes)
{
    return bytes >= 32768 ? 4096 : bytes >= 64 ? 64 : 16;
}

/* Alignment and zeros, also where another block has been; whole blocks are written, so none may overlap. */
static void alignment_and_zeros(void **state)
{
    (void)state;
    static const size_t edges[] = {16,   32,    48,    64,    128,   512,    640,   1024,
                                   4096, 16384, 28672, 32768, 65536, 100000, 262144};
    enum { COUNT = 3 * sizeof edges / sizeof *edges };
    unsigned char *block[COUNT];
    size_t bytes[COUNT];
    shmcore_segment *segment = open_here(NODE, 32 * MIB);
    const size_t before = shmcore_actual_size(segment);
    for (int round = 0; round < 4; round++) {
        for (size_t i = 0; i < COUNT; i++) {
            char name[48];
            snprintf(name, sizeof name, "round %d block %zu", round, i);
            bytes[i] = edges[i / 3] + i % 3 - 1;
            block[i] = allocate(segment, name, bytes[i]);
            assert_int_equal((uintptr_t)block[i] % promised_alignment(bytes[i]), 0);
            assert_true(is_filled_with(block[i], 0, bytes[i]));
            memset(block[i], (int)(i + 1), bytes[i]);
        }
        for (size_t i = 0; i < COUNT; i++)
            assert_true(is_filled_with(block[i], (unsigned char)(i + 1), bytes[i]));
        for (size_t i = 0; i < COUNT; i++)
            assert_int_equal(shmcore_deallocate(segment, block[i]), 0);
        assert_int_equal(shmcore_actual_size(segment), before);
    }
    shmcore_close(segment);
}

static void another_size(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 1, 10, 64, 4096, 32768, 32769, 300000};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    for (size_t is = 0; is < COUNT; is++) {
        void *block = allocate(segment, "block", sizes[is]);
        for (size_t wanted = 0; wanted < COUNT; wanted++) {
            char number[2][24];
            if (wanted == is)
                continue;
            snprintf(number[0], sizeof number[0], " %zu bytes", sizes[is]);
            snprintf(number[1], sizeof number[1], " %zu were", sizes[wanted]);
            assert_refused(shmcore_allocate(segment, "block", sizes[wanted]), EEXIST);
            assert_non_null(strstr(shmcore_error(), number[0]));
            assert_non_null(strstr(shmcore_error(), number[1]));
            assert_non_null(strstr(shmcore_error(), "'block'"));
        }
        assert_int_equal(block_at(block).refs, 1);
        assert_int_equal(shmcore_deallocate(segment, block), 0);
    }
    shmcore_close(segment);
}

/* ---------------------------------------------------------------- references */

static void references(void **state)
{
    (void)state;
    static const size_t sizes[] = {100, 100000};
    enum { MANY = 70000 }; /* more than 16 bits count */
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    const size_t before = shmcore_actual_size(segment);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        void *block = allocate(segment, "block", sizes[i]);
        for (unsigned count = 2; count <= MANY; count++)
            assert_ptr_equal(shmcore_allocate(segment, "block", sizes[i]), block);
        const shmcore_block described = block_at(block);
        assert_int_equal(described.refs, MANY);
        assert_int_equal(described.bytes, sizes[i]);
        assert_int_equal(described.owner, getpid());
        assert_int_equal(described.kind, SHMCORE_BLOCK_NAMED);
        assert_ptr_equal(described.address, block);
        for (unsigned count = MANY; count >= 1; count--) {
            assert_ptr_equal(shmcore_find(segment, "block", NULL), block);
            assert_int_equal(shmcore_deallocate(segment, block), 0);
        }
        assert_null(shmcore_find(segment, "block", NULL));
        assert_fails(shmcore_deallocate(segment, block), EINVAL);
    }
    assert_int_equal(shmcore_actual_size(segment), before);
    shmcore_close(segment);
}

/* One reference more, whatever the size; never a new block. */
static void attaching(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 100, 100000};
    char long_name[300];
    memset(long_name, 'x', sizeof long_name);
    long_name[255] = '\0';
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const char *name = i == 0 ? "block" : long_name;
        size_t bytes = 7;
        assert_refused(shmcore_attach(segment, name, &bytes), ENOENT);
        assert_non_null(strstr(shmcore_error(), name));
        assert_int_equal(bytes, 7);
        assert_int_equal(statistics_of(segment).blocks, 0);
        void *block = allocate(segment, name, sizes[i]);
        assert_ptr_equal(shmcore_attach(segment, name, &bytes), block);
        assert_int_equal(bytes, sizes[i]);
        assert_ptr_equal(shmcore_attach(segment, name, NULL), block);
        assert_int_equal(block_at(block).refs, 3);
        for (unsigned count = 0; count < 3; count++)
            assert_int_equal(shmcore_deallocate(segment, block), 0);
        assert_refused(shmcore_attach(segment, name, NULL), ENOENT);
    }
    long_name[255] = 'x';
    long_name[299] = '\0';
    assert_refused(shmcore_attach(segment, NULL, NULL), EINVAL);
    assert_refused(shmcore_attach(segment, long_name, NULL), ENAMETOOLONG);
    assert_refused(shmcore_attach(NULL, "block", NULL), EINVAL);
    shmcore_close(segment);
}

static void refused_pointers(shmcore_segment *segment, char *small, char *large, char *other)
{
    static char in_data[64];
    char on_stack[64], *on_heap = malloc(64);
    char *const bad[] = {in_data,
                         on_stack,
                         on_heap,
                         small + 1,
                         small + 16,
                         small + 99,
                         small - 16,
                         large + 1,
                         large + 4096,
                         large + 16384,
                         large + 99999,
                         other,
                         (char *)1,
                         (char *)-1,
                         (char *)-4096,
                         (char *)((uintptr_t)small & ~(uintptr_t)0xffff),
                         small + GIB,
                         small - GIB,
                         (char *)((uintptr_t)small & ~(uintptr_t)0xfffffff)};
    assert_int_equal(shmcore_deallocate(segment, NULL), 0);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        assert_fails(shmcore_deallocate(segment, bad[i]), EINVAL);
    free(on_heap);
}

static void what_deallocate_refuses(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB), *two = open_here("SHARED::two", 4 * MIB);
    char *small = allocate(segment, "small", 100), *large = allocate(segment, "large", 100000);
    char *other = allocate(two, "other", 100), *freed = allocate(segment, "freed", 100);
    char *freed_large = allocate(segment, "freed and large", 100000);
    memset(small, 's', 100);
    memset(large, 'l', 100000);
    assert_int_equal(shmcore_deallocate(segment, freed), 0);
    assert_int_equal(shmcore_deallocate(segment, freed_large), 0);
    const shmcore_statistics before = statistics_of(segment);
    for (int round = 0; round < 3; round++) {
        refused_pointers(segment, small, large, other);
        assert_fails(shmcore_deallocate(segment, freed), EINVAL);
        assert_fails(shmcore_deallocate(segment, freed_large), EINVAL);
    }
    const shmcore_statistics after = statistics_of(segment);
    assert_memory_equal(&before, &after, sizeof before);
    assert_true(is_filled_with(small, 's', 100));
    assert_true(is_filled_with(large, 'l', 100000));
    assert_ptr_equal(shmcore_find(segment, "small", NULL), small);
    assert_ptr_equal(shmcore_find(segment, "large", NULL), large);
    assert_int_equal(shmcore_deallocate(segment, small), 0);
    assert_int_equal(shmcore_deallocate(segment, large), 0);
    assert_int_equal(shmcore_deallocate(two, other), 0);
    assert_int_equal(statistics_of(segment).blocks, 0);
    shmcore_close(segment);
    shmcore_close(two);
}

/* ---------------------------------------------------------------- describing */

static void block_of(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 16, 100, 4000, 32768, 32769, 1000000};
    shmcore_block block;
    shmcore_segment *segment = open_here(NODE, 16 * MIB);
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        char name[32];
        snprintf(name, sizeof name, "%zu bytes", sizes[i]);
        char *start = allocate(segment, name, sizes[i]);
        const size_t inside[] = {0, 1, sizes[i] / 2, sizes[i] - 1};
        for (size_t k = 0; k < 4; k++) {
            if (inside[k] >= sizes[i])
                continue;
            block = block_at(start + inside[k]);
            assert_string_equal(block.name, name);
            assert_string_equal(block.segment, NODE);
            assert_ptr_equal(block.address, start);
            assert_int_equal(block.bytes, sizes[i]);
        }
        assert_true(shmcore_block_of(start + sizes[i], &block) == -1 || block.address != start);
        assert_true(shmcore_block_of(start - 1, &block) == -1 || block.address != start);
        assert_fails(shmcore_block_of(start, NULL), EINVAL);
        assert_int_equal(shmcore_deallocate(segment, start), 0);
        assert_fails(shmcore_block_of(start, &block), EINVAL);
    }
    assert_fails(shmcore_block_of(&block, &block), EINVAL);
    assert_fails(shmcore_block_of(NULL, &block), EINVAL);
    char *start = allocate(segment, "block", 10);
    shmcore_close(segment);
    assert_fails(shmcore_block_of(start, &block), EINVAL);
}

/* ---------------------------------------------------------------- visiting */

struct tally {
    shmcore_segment *segment;
    unsigned seen[64], others;
};

static int tally_block(const shmcore_block *block, void *argument)
{
    struct tally *tally = argument;
    unsigned number;
    if (sscanf(block->name, "stays %u", &number) == 1 && number < 64)
        tally->seen[number]++;
    else
        tally->others++;
    return 0;
}

static int stop_with(const shmcore_block *block, void *argument)
{
    (void)block;
    return *(int *)argument;
}

static int use_the_segment(const shmcore_block *block, void *argument)
{
    struct tally *tally = argument;
    assert_ptr_equal(shmcore_find(tally->segment, block->name, NULL), block->address);
    assert_ptr_equal(allocate(tally->segment, block->name, block->bytes), block->address);
    assert_int_equal(shmcore_deallocate(tally->segment, block->address), 0);
    return tally_block(block, argument);
}

static void make_staying_blocks(shmcore_segment *segment)
{
    for (unsigned i = 0; i < 64; i++) {
        char name[32];
        snprintf(name, sizeof name, "stays %u", i);
        allocate(segment, name, (size_t)1 << i % 18);
    }
}

static void visiting(void **state)
{
    (void)state;
    int code = 42;
    struct tally tally = {.segment = open_here(NODE, 32 * MIB)};
    assert_fails(shmcore_for_each(tally.segment, NULL, NULL), EINVAL);
    assert_int_equal(shmcore_for_each(tally.segment, stop_with, &code), 0);
    make_staying_blocks(tally.segment);
    assert_int_equal(shmcore_for_each(tally.segment, stop_with, &code), 42);
    code = -42;
    assert_int_equal(shmcore_for_each(tally.segment, stop_with, &code), -42);
    assert_int_equal(shmcore_for_each(tally.segment, use_the_segment, &tally), 0);
    assert_int_equal(tally.others, 0);
    for (unsigned i = 0; i < 64; i++)
        assert_int_equal(tally.seen[i], 1);
    shmcore_close(tally.segment);
}

static atomic_int visits_done;

static void *comes_and_goes(void *argument)
{
    shmcore_segment *segment = argument;
    intptr_t failures = 0;
    for (unsigned i = 0; !atomic_load(&visits_done); i++) {
        char name[48];
        void *block[4];
        for (unsigned k = 0; k < 4; k++) {
            snprintf(name, sizeof name, "goes %u %s", i * 4 + k, k % 2 != 0 ? "a name that is long" : "");
            block[k] = shmcore_allocate(segment, name, (size_t)1 << (i + k * 5) % 18);
        }
        for (unsigned k = 0; k < 4; k++)
            failures += block[k] == NULL || shmcore_deallocate(segment, block[k]) != 0;
    }
    return (void *)failures;
}

static void visiting_while_others_allocate(void **state)
{
    (void)state;
    struct tally tally = {.segment = open_here(NODE, 32 * MIB)};
    pthread_t thread;
    void *failures;
    make_staying_blocks(tally.segment);
    atomic_store(&visits_done, 0);
    assert_int_equal(pthread_create(&thread, NULL, comes_and_goes, tally.segment), 0);
    for (unsigned round = 1; round <= 2000; round++) {
        assert_int_equal(shmcore_for_each(tally.segment, tally_block, &tally), 0);
        for (unsigned i = 0; i < 64; i++)
            assert_int_equal(tally.seen[i], round);
    }
    atomic_store(&visits_done, 1);
    pthread_join(thread, &failures);
    assert_null(failures);
    assert_int_not_equal(tally.others, 0); /* else the two never met */
    shmcore_close(tally.segment);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(bad_names),
        API_TEST(good_names),
        API_TEST(names_of_every_length),
        API_TEST(absurd_sizes),
        API_TEST(zero_bytes),
        API_TEST(alignment_and_zeros),
        API_TEST(another_size),
        API_TEST(references),
        API_TEST(attaching),
        API_TEST(what_deallocate_refuses),
        API_TEST(block_of),
        API_TEST(visiting),
        API_TEST(visiting_while_others_allocate),
    };
    if (make_test_directory("blocks") != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}

/* SPDX-License-Identifier: MIT
 *
 * core/export: blocks that become longer where they are: into what is free behind them, what is at hand
 * there, and regions that nobody has. The segment is of 256 MiB.
 */
#include "test-exports.h"

/* Of 2 MiB, side by side in the order of their addresses, in memory that is theirs alone. */
enum { ROW = 4, EACH = 2 * MIB };

static struct export_source source;
static unsigned char *row[ROW];
static uint64_t sequence;

static void fill(unsigned char *block, size_t bytes, unsigned char with)
{
    memset(block, with, bytes);
}

static int by_address(const void *left, const void *right)
{
    const uintptr_t a = (uintptr_t) * (unsigned char *const *)left,
                    b = (uintptr_t) * (unsigned char *const *)right;
    return (a > b) - (a < b);
}

static int make_row(void **state)
{
    (void)state;
    source = source_of("row");
    for (unsigned i = 0; i < ROW; i++)
        row[i] = make(&source, sequence++, EACH);
    qsort(row, ROW, sizeof row[0], by_address);
    for (unsigned i = 0; i < ROW; i++) {
        if (i > 0)
            assert_ptr_equal(row[i], row[i - 1] + EACH);
        fill(row[i], EACH, (unsigned char)i);
    }
    return 0;
}

/* The rest of them is as it was, and can be freed. */
static int drop_row(void **state)
{
    (void)state;
    for (unsigned i = 0; i < ROW; i++)
        if (row[i] != NULL) {
            assert_true(is_filled(row[i], EACH, (unsigned char)i));
            assert_int_equal(release(row[i]), EXPORT_DONE);
        }
    assert_false(segment->exports.damaged);
    export_retire(segment, &source);
    return 0;
}

static void free_one(unsigned i)
{
    assert_int_equal(release(row[i]), EXPORT_DONE);
    row[i] = NULL;
}

static void is_of(const void *pointer, size_t bytes)
{
    const shmcore_block block = block_at(pointer);
    assert_ptr_equal(block.address, pointer);
    assert_int_equal(block.bytes, bytes);
    assert_int_equal(export_usable(segment, pointer), bytes);
}

static void into_the_hand(void **state)
{
    (void)state;
    free_one(1);
    assert_int_equal(segment->exports.hand[0].count + segment->exports.hand[1].count +
                         segment->exports.hand[2].count + segment->exports.hand[3].count,
                     segment->exports.hand_quanta);
    assert_true(export_resize(segment, row[0], EACH + MIB));
    is_of(row[0], EACH + MIB);
    fill(row[0] + EACH, MIB, 9);
    assert_true(export_resize(segment, row[0], 2 * EACH));
    fill(row[0] + EACH, EACH, 9);
    is_of(row[0], 2 * EACH);
    assert_false(export_resize(segment, row[0], 2 * EACH + 1)); /* row[2] lies there */
    is_of(row[0], 2 * EACH);
}

static void into_the_free(void **state)
{
    (void)state;
    void *larger[2];
    free_one(1);
    free_one(2);
    for (unsigned i = 0; i < 2; i++) /* nothing is at hand afterwards, or it is not what is behind */
        larger[i] = make(&source, sequence++, 48 * MIB);
    assert_true(export_resize(segment, row[0], 2 * EACH + 5 * QUANTUM_BYTES));
    is_of(row[0], 2 * EACH + 5 * QUANTUM_BYTES);
    fill(row[0] + EACH, EACH + 5 * QUANTUM_BYTES, 9);
    unsigned char *rest = make(&source, sequence++, EACH - 5 * QUANTUM_BYTES); /* what is left of it */
    assert_ptr_equal(rest, row[0] + 2 * EACH + 5 * QUANTUM_BYTES);
    assert_false(export_resize(segment, row[0], 2 * EACH + 5 * QUANTUM_BYTES + 1));
    assert_int_equal(release(rest), EXPORT_DONE);
    for (unsigned i = 0; i < 2; i++)
        assert_int_equal(release(larger[i]), EXPORT_DONE);
}

/* Those above were given back to the pool, for they were too much to be kept. */
static void into_the_pool(void **state)
{
    (void)state;
    unsigned char *above = make(&source, sequence++, 70 * MIB);
    unsigned char *block = make(&source, sequence++, 40 * MIB);
    if (above != block + 40 * MIB)
        fail_msg("the pool is not taken from the top");
    fill(block, 40 * MIB, 1);
    assert_false(export_resize(segment, block, 41 * MIB));
    assert_int_equal(release(above), EXPORT_DONE);
    const uint32_t free = segment->file.view.pool->free_regions;
    assert_true(export_resize(segment, block, 41 * MIB));
    assert_int_equal(segment->file.view.pool->free_regions,
                     free - divide_up(MIB, (uint64_t)1 << segment->file.view.region_shift));
    is_of(block, 41 * MIB);
    assert_true(export_resize(segment, block, 110 * MIB));
    is_of(block, 110 * MIB);
    assert_true(is_filled(block, 40 * MIB, 1));
    fill(block, 110 * MIB, 2);
    assert_false(export_resize(segment, block, 110 * MIB + 1)); /* the row is there */
    assert_int_equal(release(block), EXPORT_DONE);
}

static void not_beyond_the_segment(void **state)
{
    (void)state;
    assert_false(export_resize(segment, row[0], (size_t)1 << 40));
    assert_false(export_resize(segment, row[ROW - 1], SIZE_MAX));
    free_one(1); /* so many quanta more than 32 bits can count would fit there */
    const size_t quanta = ((size_t)1 << 32) + EACH / QUANTUM_BYTES + 1;
    assert_false(export_resize(segment, row[0], quanta * QUANTUM_BYTES));
    assert_true(segment->exports.hand_quanta >= EACH / QUANTUM_BYTES);
    is_of(row[0], EACH);
    is_of(row[ROW - 1], EACH);
}

/* What is only promised gets no memory by this either. */
static void promised(void **state)
{
    (void)state;
    unsigned char *above = make(&source, sequence++, 70 * MIB);
    unsigned char *block = export_allocate(segment, &source, sequence++, 20 * MIB, 0, EXPORT_TOUCH);
    assert_ptr_equal(above, block + 20 * MIB);
    assert_int_equal(release(above), EXPORT_DONE);
    const uint64_t offset = view_offset(&segment->file.view, block);
    assert_true(export_resize(segment, block, 60 * MIB));
    is_of(block, 60 * MIB);
    assert_false(space_is_reserved(&segment->file.view, offset, PAGE_BYTES));
    assert_false(space_is_reserved(&segment->file.view, offset + 59 * MIB, PAGE_BYTES));
    block[0] = block[60 * MIB - 1] = 1;
    assert_int_equal(release(block), EXPORT_DONE);
}

/* Another one that is made meanwhile gets nothing of it, whatever its size. */
static void others_keep_off(void **state)
{
    (void)state;
    free_one(1);
    assert_true(export_resize(segment, row[0], EACH + 40000));
    fill(row[0] + EACH, 40000, 9);
    static unsigned char *other[64];
    for (unsigned i = 0; i < COUNT_OF(other); i++)
        fill(other[i] = make(&source, sequence++, 33000 + 1000 * i), 33000 + 1000 * i, 7);
    assert_true(is_filled(row[0] + EACH, 40000, 9));
    for (unsigned i = 0; i < COUNT_OF(other); i++) {
        assert_true(is_filled(other[i], 33000 + 1000 * i, 7));
        assert_int_equal(release(other[i]), EXPORT_DONE);
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, make_row, drop_row)
    const struct CMUnitTest tests[] = {
        TEST(into_the_hand),          TEST(into_the_free), TEST(into_the_pool),
        TEST(not_beyond_the_segment), TEST(promised),      TEST(others_keep_off),
    };
    return cmocka_run_group_tests_name("exports-longer", tests, open_segment, close_segment);
}

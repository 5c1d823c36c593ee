/* SPDX-License-Identifier: MIT
 *
 * preload/record_live: blocks come and go at any address, by many threads; the visitor at the end.
 */
#include "record_live.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>

#include "test-preload.h"

enum { THREADS = 4, EACH = 2000 };

static const void *at(uintptr_t address)
{
    return (const void *)address;
}

static struct record_block put(uintptr_t address, uint64_t bytes, uint32_t row)
{
    struct record_block before;
    const struct record_block block = {.bytes = bytes, .birth = address + 7, .row = row};
    assert_true(record_live_put(at(address), &block, &before));
    return before;
}

static void comes_and_goes(void **state)
{
    (void)state;
    static const uintptr_t addresses[] = {0x10,           0x20,           0x1ffff0,       0x200000,
                                          0x7f1234567890, 0x7f12345678a0, 0xfffffffffff0, 0x210000000000};
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(put(addresses[i], i * UINT64_C(100000000000), i + 1).row, 0);
    for (uint32_t i = 0; i < 8; i++) {
        const struct record_block block = record_live_find(at(addresses[i]));
        assert_int_equal(block.row, i + 1);
        assert_int_equal(block.bytes, i * UINT64_C(100000000000));
        assert_int_equal(block.birth, addresses[i] + 7);
    }
    for (uint32_t i = 0; i < 8; i++) {
        assert_int_equal(record_live_take(at(addresses[i])).row, i + 1);
        assert_int_equal(record_live_find(at(addresses[i])).row, 0);
        assert_int_equal(record_live_take(at(addresses[i])).row, 0);
    }
}

static void is_not_there(void **state)
{
    (void)state;
    struct record_block before;
    const struct record_block block = {.bytes = 1, .row = 1}, huge = {.bytes = UINT64_C(1) << 48, .row = 1};
    assert_int_equal(record_live_find(at(0x5555000)).row, 0);
    assert_int_equal(record_live_take(at(0x5555008)).row, 0);
    assert_false(record_live_put(at(0x5555008), &block, &before));
    assert_false(record_live_put(at(UINT64_C(1) << 48), &block, &before));
    assert_false(record_live_put(at(0x5555000), &huge, &before));
    assert_int_equal(record_live_find(at(UINT64_C(1) << 48)).row, 0);
}

static void what_was_not_freed_is_told(void **state)
{
    (void)state;
    put(0x7000000, 50, 3);
    const struct record_block before = put(0x7000000, 60, 4);
    assert_int_equal(before.row, 3);
    assert_int_equal(before.bytes, 50);
    assert_int_equal(record_live_take(at(0x7000000)).row, 4);
}

static uint64_t visited[8];
static unsigned visits;

static void visit(void *address, const struct record_block *block)
{
    assert_true(visits < 8);
    assert_int_equal(block->birth, (uintptr_t)address + 7);
    visited[visits++] = (uintptr_t)address;
}

static void the_large_ones_are_visited_once(void **state)
{
    (void)state;
    put(0x9000000, 65535, 1);
    put(0x9000010, 65536, 2);
    put(0x7fff00000000, 1 << 20, 3);
    put(0x9100000, 1 << 20, 4);
    record_live_take(at(0x9100000));
    visits = 0;
    record_live_visit(visit);
    assert_int_equal(visits, 2);
    assert_int_equal(visited[0], 0x9000010);
    assert_int_equal(visited[1], 0x7fff00000000);
    assert_true(record_live_find(at(0x9000010)).is_known);
    record_live_visit(visit);
    assert_int_equal(visits, 2);
    assert_true(record_live_take(at(0x9000010)).is_known);
    put(0x9000010, 65536, 2);
    record_live_visit(visit);
    assert_int_equal(visits, 3);
    record_live_take(at(0x9000010));
    record_live_take(at(0x9000000));
    record_live_take(at(0x7fff00000000));
}

static _Atomic unsigned wrong;

/* Neighbours of other threads' blocks, in parts that nobody has mapped yet. */
static void *work(void *argument)
{
    const uintptr_t number = (uintptr_t)argument;
    struct record_block before;
    for (uintptr_t i = 0; i < EACH; i++) {
        const uintptr_t address = 0x300000000000 + (i * THREADS + number) * 16 + (i / 100 << 22);
        const struct record_block block = {.bytes = 70000 + i, .birth = i, .row = (uint32_t)number + 1};
        wrong += !record_live_put(at(address), &block, &before) || before.row != 0;
        if (i % 2 == 0) {
            const struct record_block taken = record_live_take(at(address));
            wrong += taken.row != number + 1 || taken.bytes != 70000 + i;
        }
    }
    return NULL;
}

static unsigned left;

static void count(void *address, const struct record_block *block)
{
    (void)address, (void)block;
    left++;
}

static void threads(void **state)
{
    (void)state;
    pthread_t thread[THREADS];
    for (uintptr_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, (void *)i), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(wrong, 0);
    record_live_visit(count);
    assert_int_equal(left, THREADS * EACH / 2);
}

/* Where all are large, a place that had none need not be touched. */
static void only_large_ones(void **state)
{
    (void)state;
    record_live_begin(65536, 65536);
    put(0xa000000, 65536, 9);
    assert_int_equal(record_live_find(at(0xa000000)).row, 9);
    assert_int_equal(record_live_find(at(0xa010000)).row, 0);
    assert_int_equal(record_live_take(at(0xa000000)).row, 9);
}

int main(void)
{
    record_live_begin(0, 65536);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(comes_and_goes),
        cmocka_unit_test(is_not_there),
        cmocka_unit_test(what_was_not_freed_is_told),
        cmocka_unit_test(the_large_ones_are_visited_once),
        cmocka_unit_test(threads),
        cmocka_unit_test(only_large_ones),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

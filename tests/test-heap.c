/* SPDX-License-Identifier: MIT
 *
 * core/heap: thousands of random steps against a model that knows each quantum's extent, on a plain buffer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plain.h"

#define QUANTA 2048u
#define SHARDS 2u /* two heaps whose regions lie side by side */

/* What each quantum is: of no heap, free in the heap of shard s, or in an extent. */
enum { NOBODY = 0, FREE = 1, TAKEN = 16 };

static struct plain plain;
static uint32_t model[QUANTA];
static uint8_t shard_of[QUANTA];
static uint32_t next_extent, lengthened;
static struct dice dice;

static int make(void **state)
{
    (void)state;
    memset(model, 0, sizeof model);
    memset(shard_of, 0xff, sizeof shard_of);
    next_extent = TAKEN;
    dice = (struct dice){20240229};
    return plain_make(&plain, QUANTA * QUANTUM_BYTES) && plain.view.shard_count >= SHARDS &&
                   view_quantum_count(&plain.view) == QUANTA
               ? 0
               : -1;
}

static int unmake(void **state)
{
    (void)state;
    plain_unmake(&plain);
    return 0;
}

static uint32_t each(void)
{
    return view_region_quanta(&plain.view);
}

/* The longest run of free quanta of one shard around `quantum`. */
static struct extent free_around(uint32_t quantum)
{
    const uint8_t shard = shard_of[quantum];
    uint32_t first = quantum, end = quantum;
    while (model[first - 1] == FREE && shard_of[first - 1] == shard)
        first--;
    while (end < QUANTA && model[end] == FREE && shard_of[end] == shard)
        end++;
    return (struct extent){first, end - first};
}

static void assert_extent(struct extent is, struct extent wanted)
{
    assert_int_equal(is.first, wanted.first);
    assert_int_equal(is.count, wanted.count);
}

static void fill(uint32_t first, uint32_t count, uint32_t value)
{
    for (uint32_t q = first; q < first + count; q++)
        model[q] = value;
}

static void feed(uint32_t shard, struct region_run run)
{
    for (uint32_t q = run.first * each(); q < (run.first + run.count) * each(); q++)
        assert_int_equal(model[q], NOBODY);
    plain_feed_run(&plain, shard, run);
    memset(shard_of + run.first * each(), (int)shard, run.count * each());
    fill(run.first * each(), run.count * each(), FREE);
    const struct extent joined = free_around(run.first * each());
    assert_int_equal(plain.view.quanta[joined.first].kind, QUANTUM_FREE);
    assert_int_equal(plain.view.quanta[joined.first].count, joined.count);
}

static void feed_somewhere(void)
{
    const struct region_run run = pool_find(&plain.view, 1 + dice_roll(&dice, 6), 1, false);
    if (run.count != 0)
        feed(dice_roll(&dice, SHARDS), run);
}

static bool has_room(uint32_t shard, uint32_t count)
{
    for (uint32_t q = 1; q < QUANTA; q++)
        if (model[q] == FREE && shard_of[q] == shard && free_around(q).count >= count)
            return true;
    return false;
}

static void take(const struct heap *heap, uint32_t shard)
{
    const uint32_t count = 1 + dice_roll(&dice, dice_roll(&dice, 4) == 0 ? 60 : 8);
    const uint32_t alignment = dice_roll(&dice, 3) == 0 ? 1u << dice_roll(&dice, 5) : 1;
    const uint32_t first = heap_take(heap, count, alignment, QUANTUM_NAMED);
    if (first == 0) {
        assert_true(alignment > 1 || !has_room(shard, count));
        return;
    }
    assert_int_equal(first % alignment, 0);
    for (uint32_t q = first; q < first + count; q++) {
        assert_int_equal(model[q], FREE);
        assert_int_equal(shard_of[q], shard);
    }
    fill(first, count, next_extent++);
    assert_true(heap_begins(&plain.view, first, OWNER_SHARD + shard, QUANTUM_NAMED));
    assert_int_equal(plain.view.quanta[first].count, count);
}

/* A quantum of the shard at or after a random one for which `wanted` holds; 0 when there is none. */
static uint32_t pick(uint32_t shard, bool taken)
{
    const uint32_t start = dice_roll(&dice, QUANTA);
    for (uint32_t i = 0; i < QUANTA; i++) {
        const uint32_t q = (start + i) % QUANTA;
        if (shard_of[q] == shard && (taken ? model[q] >= TAKEN : model[q] == FREE))
            return q;
    }
    return 0;
}

/* The taken extent around a random quantum; count 0: there is none. */
static struct extent pick_taken(uint32_t shard)
{
    uint32_t first = pick(shard, true), count = 0;
    if (first == 0)
        return (struct extent){0, 0};
    const uint32_t extent = model[first];
    while (model[first - 1] == extent)
        first--;
    while (first + count < QUANTA && model[first + count] == extent)
        count++;
    return (struct extent){first, count};
}

/* By what is free behind it, all of it or less, and not by more. */
static void lengthen(const struct heap *heap, uint32_t shard)
{
    const struct extent taken = pick_taken(shard);
    const uint32_t end = taken.first + taken.count;
    uint32_t free = 0;
    if (taken.count == 0)
        return;
    while (end + free < QUANTA && model[end + free] == FREE && shard_of[end + free] == shard)
        free++;
    assert_extent(heap_free_from(heap, end), (struct extent){free != 0 ? end : 0, free});
    const uint32_t more = 1 + dice_roll(&dice, free + 2);
    assert_int_equal(heap_lengthen(heap, taken.first, more), more <= free);
    if (more > free)
        return;
    fill(end, more, model[taken.first]);
    assert_true(heap_begins(&plain.view, taken.first, OWNER_SHARD + shard, QUANTUM_NAMED));
    assert_int_equal(plain.view.quanta[taken.first].count, taken.count + more);
    lengthened++;
}

static void give(const struct heap *heap, uint32_t shard)
{
    const struct extent taken = pick_taken(shard);
    const uint32_t first = taken.first, count = taken.count;
    if (count == 0)
        return;
    fill(first, count, FREE);
    assert_extent(heap_give(heap, first), free_around(first));
    assert_false(heap_begins(&plain.view, first, OWNER_SHARD + shard, QUANTUM_NAMED));
}

/* Whole regions in the middle of a free extent leave the heap and go back to the pool. */
static void cut(const struct heap *heap, uint32_t shard)
{
    const uint32_t quantum = pick(shard, false);
    if (quantum == 0)
        return;
    const struct extent whole = free_around(quantum);
    const uint32_t first = (uint32_t)divide_up(whole.first, each()),
                   end = (whole.first + whole.count) / each();
    if (first >= end)
        return;
    const uint32_t begin = first + dice_roll(&dice, end - first);
    const struct region_run run = {begin, 1 + dice_roll(&dice, end - begin)};
    heap_cut(heap, whole, (struct extent){run.first * each(), run.count * each()});
    for (uint32_t q = run.first * each(); q < (run.first + run.count) * each(); q++)
        assert_int_equal(plain.view.quanta[q].kind, QUANTUM_NONE);
    pool_give(&plain.view, heap->transaction, run);
    pool_forget(&plain.view, run);
    fill(run.first * each(), run.count * each(), NOBODY);
    memset(shard_of + run.first * each(), 0xff, run.count * each());
}

static void check(uint32_t shard)
{
    uint64_t free_quanta = 0;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, shard, &transaction);
    for (uint32_t q = 0; q < QUANTA; q++)
        free_quanta += model[q] == FREE && shard_of[q] == shard;
    assert_int_equal(heap.bins->free_quanta, free_quanta);
    assert_true(heap_is_sound(&heap));
}

static void step(void)
{
    const uint32_t shard = dice_roll(&dice, SHARDS), kind = dice_roll(&dice, 40);
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, shard, &transaction);
    if (kind == 0)
        feed_somewhere();
    else if (kind == 1)
        cut(&heap, shard);
    else if (kind < 22)
        take(&heap, shard);
    else if (kind < 25)
        lengthen(&heap, shard);
    else
        give(&heap, shard);
    check(shard);
}

static void random_steps(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 6; i++)
        feed_somewhere();
    for (unsigned i = 0; i < 20000; i++)
        step();
    assert_true(next_extent - TAKEN > 5000);
    assert_true(lengthened > 100);
    for (uint32_t shard = 0; shard < SHARDS; shard++)
        check(shard);
}

/* Neighbours on both sides grow into one, in every order of giving. */
static void coalescing(void **state)
{
    (void)state;
    static const unsigned orders[6][3] = {{0, 1, 2}, {0, 2, 1}, {1, 0, 2}, {1, 2, 0}, {2, 0, 1}, {2, 1, 0}};
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    assert_true(plain_feed(&plain, 0, 4));
    const uint32_t start = (plain.view.region_count - 4) * each();
    for (unsigned order = 0; order < 6; order++) {
        uint32_t first[3];
        struct extent joined = {0, 0};
        for (unsigned i = 0; i < 3; i++) {
            first[i] = heap_take(&heap, each() * 4 / 3, 1, QUANTUM_TABLE);
            assert_int_not_equal(first[i], 0);
        }
        for (unsigned i = 0; i < 3; i++)
            joined = heap_give(&heap, first[orders[order][i]]);
        assert_extent(joined, (struct extent){start, 4 * each()});
        assert_true(heap_is_sound(&heap));
    }
}

static void exhausted(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    assert_int_equal(heap_take(&heap, 1, 1, QUANTUM_NAMED), 0);
    assert_true(plain_feed(&plain, 0, 2));
    assert_int_equal(heap_take(&heap, 2 * each() + 1, 1, QUANTUM_NAMED), 0);
    assert_int_equal(heap_take(&heap, UINT32_MAX, 1, QUANTUM_NAMED), 0);
    for (uint32_t i = 0; i < 2 * each(); i++)
        assert_int_not_equal(heap_take(&heap, 1, 1, QUANTUM_NAMED), 0);
    assert_int_equal(heap_take(&heap, 1, 1, QUANTUM_NAMED), 0);
    assert_int_equal(heap.bins->occupied, 0);
    assert_true(heap_is_sound(&heap));
}

/* All that a heap keeps, before and after. */
struct picture {
    struct heap_bins bins;
    struct quantum quanta[QUANTA];
};

static void draw(struct picture *picture)
{
    memcpy(&picture->bins, &plain.view.shards[0].bins, sizeof picture->bins);
    memcpy(picture->quanta, plain.view.quanta, sizeof picture->quanta);
}

static void abandoned_steps(void **state)
{
    (void)state;
    static struct picture before, after;
    const struct guarded guarded = plain_shard(&plain, 0);
    for (unsigned i = 0; i < 12; i++)
        feed_somewhere();
    for (unsigned round = 0; round < 300; round++) {
        for (unsigned i = 0; i < 20; i++)
            step();
        draw(&before);
        struct transaction transaction = transaction_begin(&guarded);
        const struct heap heap = plain_heap(&plain, 0, &transaction);
        const uint32_t given = pick(0, true);
        uint32_t changes = heap_take(&heap, 3, 2, QUANTUM_NAMED) + heap_take(&heap, 1, 1, QUANTUM_RECORDS);
        if (given != 0 && model[given - 1] != model[given])
            changes += heap_give(&heap, given).count;
        assert_false(transaction.overflowed);
        transaction_abandon(&guarded, &transaction);
        draw(&after);
        assert_memory_equal(&before, &after, sizeof before);
        assert_true(changes > 0 || before.bins.free_quanta == 0);
        check(0);
    }
}

static void beginnings(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    assert_true(plain_feed(&plain, 0, 1));
    const uint32_t first = heap_take(&heap, 2, 1, QUANTUM_NAMED);
    struct quantum *entry = &plain.view.quanta[first];
    assert_true(heap_begins(&plain.view, first, OWNER_SHARD, QUANTUM_NAMED));
    assert_false(heap_begins(&plain.view, first + 1, OWNER_SHARD, QUANTUM_NAMED));
    assert_false(heap_begins(&plain.view, first, OWNER_SHARD + 1, QUANTUM_NAMED));
    assert_false(heap_begins(&plain.view, first, OWNER_SHARD, QUANTUM_TABLE));
    assert_false(heap_begins(&plain.view, 0, OWNER_SHARD, QUANTUM_NAMED));
    assert_false(heap_begins(&plain.view, QUANTA, OWNER_SHARD, QUANTUM_NAMED));
    assert_false(heap_begins(&plain.view, UINT32_MAX, OWNER_SHARD, QUANTUM_NAMED));
    entry->count = 0;
    assert_false(heap_begins(&plain.view, first, OWNER_SHARD, QUANTUM_NAMED));
    entry->count = QUANTA - first + 1; /* beyond the end of the segment */
    assert_false(heap_begins(&plain.view, first, OWNER_SHARD, QUANTUM_NAMED));
    entry->count = 2;
    entry->owner = OWNER_SHARD + 1;
    assert_false(heap_begins(&plain.view, first, OWNER_SHARD, QUANTUM_NAMED));
}

/* Each damage is noticed, and is no damage any more when it is taken back. */
static void damage_is_noticed(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    assert_true(plain_feed(&plain, 0, 4));
    const uint32_t taken = heap_take(&heap, 3, 1, QUANTUM_NAMED);
    const uint32_t rest = taken + 3, last = taken + 4 * each() - 1;
    struct quantum *quanta = plain.view.quanta;
    uint32_t *const fields[] = {
        (uint32_t *)(void *)&quanta[taken].kind,
        &quanta[taken].count,
        &quanta[taken].owner,
        (uint32_t *)(void *)&quanta[rest].kind,
        &quanta[rest].count,
        &quanta[rest].owner,
        (uint32_t *)(void *)&quanta[last].kind,
        &quanta[last].count,
        &quanta[rest].next,
        &quanta[rest].previous,
        &heap.bins->head[0],
        (uint32_t *)(void *)&heap.bins->occupied,
        (uint32_t *)(void *)&heap.bins->free_quanta,
    };
    assert_true(heap_is_sound(&heap));
    for (size_t i = 0; i < COUNT_OF(fields); i++) {
        const uint32_t kept = *fields[i];
        *fields[i] = kept != 0 ? 0 : taken;
        if (heap_is_sound(&heap))
            fail_msg("damage %zu is not noticed", i);
        *fields[i] = kept;
        assert_true(heap_is_sound(&heap));
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(random_steps),    TEST(coalescing), TEST(exhausted),
        TEST(abandoned_steps), TEST(beginnings), TEST(damage_is_noticed),
    };
    return cmocka_run_group_tests_name("heap", tests, NULL, NULL);
}

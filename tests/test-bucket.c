/* SPDX-License-Identifier: MIT
 *
 * core/bucket: entries are put in and taken out at random, beside a model; lines come and go with them;
 * splits and joins move what they should, or nothing; each can be taken back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "bucket.h"
#include "plain.h"

enum { REFERENCES = 400, BIT = 0x40 };

static struct plain plain;
static struct bucket *first, *second; /* lines of a table */
static unsigned where[REFERENCES];    /* 0: nowhere, 1 or 2: in that bucket */
static struct dice dice;

/* A reference is any number but 0 here; what a bucket leads to it does not look at. */
static uint16_t tag_of(uint32_t reference)
{
    return (uint16_t)(reference * 2654435761u >> 13);
}

static struct shard *shard(void)
{
    return &plain.view.shards[0];
}

static int make(void **state)
{
    (void)state;
    dice = (struct dice){7};
    memset(where, 0, sizeof where);
    if (!plain_make(&plain, 32 * MEBI) || !plain_feed(&plain, 0, 100))
        return -1;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    const uint32_t table = heap_take(&heap, 1, 1, QUANTUM_TABLE);
    first = view_at(&plain.view, (uint64_t)table << QUANTUM_SHIFT);
    second = first + 1;
    memset(first, 0, 2 * sizeof *first);
    return table != 0 ? 0 : -1;
}

static int unmake(void **state)
{
    (void)state;
    plain_unmake(&plain);
    return 0;
}

static uint32_t lines_in_use(void)
{
    return plain_slots_in_use(&plain, 0, SLAB_BUCKETS);
}

static void put(const struct heap *heap, unsigned bucket, uint32_t reference)
{
    struct bucket *line = bucket == 1 ? first : second;
    const uint32_t lines = lines_in_use();
    const bool is_full = bucket_is_full(&plain.view, heap->owner, line);
    assert_true(plain_ensure_slab(heap, shard(), SLAB_BUCKETS));
    bucket_put(heap, shard(), line, tag_of(reference), reference);
    assert_int_equal(lines_in_use(), lines + is_full);
    where[reference] = bucket;
}

static void take(const struct heap *heap, uint32_t reference)
{
    struct slab *empty;
    for (unsigned bucket = 1; bucket <= 2; bucket++)
        assert_int_equal(bucket_take(heap, shard(), bucket == 1 ? first : second, reference, &empty),
                         where[reference] == bucket);
    where[reference] = 0;
}

static bool has_tag(const struct bucket *line, uint16_t tag, uint32_t entry)
{
    return (bucket_entries_with(line, tag) >> 2 * entry & 3) == 3;
}

/* What is in a bucket, each once, beside its tag. */
static void check_bucket(unsigned bucket, struct bucket *line)
{
    unsigned there[REFERENCES] = {0}, count = 0;
    struct bucket_walk walk = bucket_walk(line);
    for (uint32_t reference; (reference = bucket_walk_on(&plain.view, OWNER_SHARD, &walk)) != 0; count++) {
        assert_in_range(reference, 1, REFERENCES - 1);
        assert_int_equal(there[reference]++, 0);
        assert_int_equal(where[reference], bucket);
        assert_true(has_tag(&walk.line, tag_of(reference), walk.entry - 1));
        assert_false(has_tag(&walk.line, (uint16_t)(tag_of(reference) ^ 1), walk.entry - 1));
    }
    for (unsigned i = 1; i < REFERENCES; i++)
        assert_int_equal(there[i] != 0, where[i] == bucket);
    assert_true(bucket_lines_are_sound(&plain.view, OWNER_SHARD, line));
    assert_true(walk.lines <= count); /* none is empty */
}

static void check(void)
{
    check_bucket(1, first);
    check_bucket(2, second);
}

static uint32_t entries(void)
{
    uint32_t count = 0;
    for (unsigned i = 1; i < REFERENCES; i++)
        count += where[i] != 0;
    return count;
}

static void at_random(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    for (unsigned round = 0; round < 20000; round++) {
        const uint32_t reference = 1 + dice_roll(&dice, 60);
        if (where[reference] == 0)
            put(&heap, 1 + dice_roll(&dice, 2), reference);
        else
            take(&heap, reference);
        if (round % 16 == 0)
            check();
    }
    for (uint32_t i = 1; i < REFERENCES; i++)
        if (where[i] != 0)
            take(&heap, i);
    assert_int_equal(lines_in_use(), 0);
    assert_false(transaction.damaged || transaction.overflowed);
}

static void fill(const struct heap *heap, unsigned bucket, uint32_t count)
{
    for (uint32_t i = 1; count > 0 && i < REFERENCES; i++)
        if (where[i] == 0) {
            put(heap, bucket, i);
            count--;
        }
}

/* At random, so that lines have gaps. */
static void thin_out(const struct heap *heap, uint32_t left)
{
    while (entries() > left) {
        const uint32_t reference = 1 + dice_roll(&dice, REFERENCES - 1);
        if (where[reference] != 0)
            take(heap, reference);
    }
}

/* Split, taken back, and split in earnest; then joined the same way. */
static void split_and_joined(void **state)
{
    (void)state;
    const struct guarded guarded = plain_shard(&plain, 0);
    struct transaction plainly = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &plainly);
    for (uint32_t count = 0; count < 120; count++) {
        fill(&heap, 1, count + dice_roll(&dice, 60));
        thin_out(&heap, count);
        const uint32_t lines = lines_in_use();
        memset((void *)second, 0x55, sizeof *second); /* whatever was there */
        struct transaction transaction = transaction_begin(&guarded);
        const struct heap logged = plain_heap(&plain, 0, &transaction);
        assert_true(bucket_split(&logged, shard(), first, second, BIT));
        assert_true(guarded.undo->count < UNDO_ENTRIES / 2);
        transaction_abandon(&guarded, &transaction);
        check_bucket(1, first);
        assert_int_equal(lines_in_use(), lines);

        assert_true(bucket_split(&heap, shard(), first, second, BIT));
        for (uint32_t i = 1; i < REFERENCES; i++)
            if (where[i] != 0 && (tag_of(i) & BIT) != 0)
                where[i] = 2;
        check();
        assert_true(lines_in_use() <= lines);

        struct slab *empty;
        thin_out(&heap, entries() - entries() / 3);
        const uint32_t lines_apart = lines_in_use();
        transaction = transaction_begin(&guarded);
        const bool fits = bucket_join(&logged, shard(), first, second, &empty);
        assert_int_equal(fits, entries() <= (1 + lines_apart) * BUCKET_ENTRIES);
        transaction_abandon(&guarded, &transaction);
        check();
        assert_int_equal(lines_in_use(), lines_apart);
        if (fits) {
            assert_true(bucket_join(&heap, shard(), first, second, &empty));
            for (uint32_t i = 1; i < REFERENCES; i++)
                where[i] = where[i] != 0;
            memset((void *)second, 0, sizeof *second);
            check();
        }
        for (uint32_t i = 1; i < REFERENCES; i++)
            if (where[i] != 0)
                take(&heap, i);
        assert_int_equal(lines_in_use(), 0);
    }
    assert_false(plainly.damaged || plainly.overflowed);
}

/* One of more lines than a transaction can write is left as it is. */
static void too_many_lines(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    struct slab *empty;
    fill(&heap, 1, 32 * BUCKET_ENTRIES + 1);
    fill(&heap, 2, 3);
    check();
    const uint32_t lines = lines_in_use();
    assert_false(bucket_join(&heap, shard(), first, second, &empty));
    check();
    const struct bucket kept = *second;
    assert_false(bucket_split(&heap, shard(), first, second, BIT));
    assert_memory_equal(second, &kept, sizeof kept);
    check();
    assert_int_equal(lines_in_use(), lines);
}

/* A walk goes on after what it has led to is gone, with the line that it was in. */
static void taken_on_the_way(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    fill(&heap, 1, 3 * BUCKET_ENTRIES + 1);
    struct bucket_walk walk = bucket_walk(first);
    uint32_t met = 0;
    for (uint32_t reference; (reference = bucket_walk_on(&plain.view, OWNER_SHARD, &walk)) != 0; met++)
        take(&heap, reference);
    assert_int_equal(met, 3 * BUCKET_ENTRIES + 1);
    assert_int_equal(entries(), 0);
    assert_int_equal(lines_in_use(), 0);
}

/* A line that leads nowhere, into a block, to a slot that is free, or to itself: nothing is written there. */
static void damage_is_noticed(void **state)
{
    (void)state;
    struct transaction plainly = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &plainly);
    fill(&heap, 1, BUCKET_ENTRIES + 1);
    const struct slot block = plain_slot(&heap, shard(), slab_data_class(64));
    char *bytes = slab_slot_bytes(&plain.view, block);
    memset(bytes, 0, 64);
    const struct bucket kept = *first;
    const uint32_t nexts[] = {1, UINT32_MAX, view_reference(&plain.view, bytes), kept.next + 8,
                              view_reference(&plain.view, first)};
    for (size_t i = 0; i < COUNT_OF(nexts); i++) {
        struct transaction transaction = PLAIN_TRANSACTION(&plain);
        const struct heap here = plain_heap(&plain, 0, &transaction);
        struct slab *empty;
        first->next = nexts[i];
        assert_false(bucket_lines_are_sound(&plain.view, OWNER_SHARD, first));
        assert_false(bucket_is_full(&plain.view, OWNER_SHARD, first));
        assert_false(bucket_take(&here, shard(), first, REFERENCES, &empty));
        assert_false(bucket_split(&here, shard(), first, second, BIT));
        assert_false(transaction.damaged);
        bucket_put(&here, shard(), first, 1, REFERENCES);
        assert_true(transaction.damaged);
        struct bucket_walk walk = bucket_walk(first);
        uint32_t steps = 0;
        while (bucket_walk_on(&plain.view, OWNER_SHARD, &walk) != 0)
            steps++;
        assert_true(steps <= BUCKET_LINES_MOST * BUCKET_ENTRIES);
        for (unsigned at = 0; at < 64; at++)
            assert_int_equal(bytes[at], 0);
    }
    *first = kept;
    check();
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(at_random),        TEST(split_and_joined),  TEST(too_many_lines),
        TEST(taken_on_the_way), TEST(damage_is_noticed),
    };
    return cmocka_run_group_tests_name("bucket", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * core/slab: size classes; slots taken and given at random against a model; from an address back to its slot.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plain.h"

#define SLOTS 6000u

struct held {
    struct slot slot;
    uint32_t slab_class;
};

static struct plain plain;
static struct dice dice;
static struct held held[SLOTS];
static uint32_t held_count;

static int make(void **state)
{
    (void)state;
    dice = (struct dice){31};
    held_count = 0;
    return plain_make(&plain, 31 * MEBI) && plain_feed(&plain, 0, 400) ? 0 : -1;
}

static int unmake(void **state)
{
    (void)state;
    plain_unmake(&plain);
    return 0;
}

static struct shard *shard(void)
{
    return &plain.view.shards[0];
}

static void data_classes(void **state)
{
    (void)state;
    for (uint64_t bytes = 0; bytes < SLOT_BYTES_END; bytes++) {
        const uint32_t found = slab_data_class(bytes);
        if (found >= SLAB_DATA_CLASSES || plain.view.shapes[found].slot_bytes < bytes ||
            (found > 0 && plain.view.shapes[found - 1].slot_bytes >= bytes))
            fail_msg("%zu bytes go to class %u", (size_t)bytes, found);
    }
    assert_int_equal(slab_data_class(SLOT_BYTES_END), SLAB_CLASSES);
    assert_int_equal(slab_data_class(UINT64_MAX), SLAB_CLASSES);
}

static void name_classes(void **state)
{
    (void)state;
    const uint64_t most_bytes = sizeof(struct long_name) + 255;
    for (uint64_t bytes = 1; bytes <= most_bytes; bytes++) {
        const uint32_t found = slab_name_class(bytes);
        assert_true(found >= SLAB_NAMES_32);
        assert_true(found < SLAB_CLASSES);
        assert_true(plain.view.shapes[found].slot_bytes >= bytes);
        if (found > SLAB_NAMES_32)
            assert_true(plain.view.shapes[found - 1].slot_bytes < bytes);
    }
}

/* A byte written all over a slot and its record is found there when the slot is given: nobody else has it. */
static unsigned char mark_of(const struct held *entry)
{
    return (unsigned char)(hash_mix((uintptr_t)entry->slot.slab + entry->slot.index) | 1);
}

static void paint(const struct held *entry)
{
    memset(slab_slot_bytes(&plain.view, entry->slot), mark_of(entry),
           plain.view.shapes[entry->slab_class].slot_bytes);
    if (plain.view.shapes[entry->slab_class].records != 0)
        memset((void *)slab_slot_record(&plain.view, entry->slot), mark_of(entry), sizeof(struct record));
}

static void assert_all(const void *memory, size_t bytes, unsigned char mark)
{
    const unsigned char *at = memory;
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != mark)
            fail_msg("byte %zu of a slot has changed", i);
}

static void assert_painted(const struct held *entry)
{
    assert_all(slab_slot_bytes(&plain.view, entry->slot), plain.view.shapes[entry->slab_class].slot_bytes,
               mark_of(entry));
    if (plain.view.shapes[entry->slab_class].records != 0)
        assert_all(slab_slot_record(&plain.view, entry->slot), sizeof(struct record), mark_of(entry));
}

static void assert_slot(struct slot is, struct slot wanted)
{
    assert_ptr_equal(is.slab, wanted.slab);
    assert_int_equal(is.index, wanted.index);
}

/* From the start of its bytes, and from its record, one gets back to the slot, and from nowhere else. */
static void assert_found_again(const struct held *entry)
{
    const struct view *view = &plain.view;
    const uint64_t offset = view_offset(view, slab_slot_bytes(view, entry->slot));
    assert_slot(slab_slot_of_bytes(view, offset, OWNER_SHARD), entry->slot);
    assert_null(slab_slot_of_bytes(view, offset + 1, OWNER_SHARD).slab);
    assert_null(slab_slot_of_bytes(view, offset + 8, OWNER_SHARD).slab);
    assert_null(slab_slot_of_bytes(view, offset, OWNER_SHARD + 1).slab);
    assert_true(slab_slot_is_live(entry->slot.slab, entry->slot.index));
    if (view->shapes[entry->slab_class].records == 0)
        return;
    const uint32_t reference = view_reference(view, slab_slot_record(view, entry->slot));
    assert_slot(slab_slot_of_record(view, reference, OWNER_SHARD), entry->slot);
    assert_null(slab_slot_of_record(view, reference + 1, OWNER_SHARD).slab);
    assert_null(slab_slot_of_record(view, reference, OWNER_SHARD + 1).slab);
}

static void take(const struct heap *heap)
{
    if (held_count == SLOTS)
        return;
    struct held *entry = &held[held_count];
    entry->slab_class = dice_roll(&dice, SLAB_CLASSES);
    entry->slot = plain_slot(heap, shard(), entry->slab_class);
    if (entry->slot.slab == NULL)
        return;
    held_count++;
    assert_true(entry->slot.index < plain.view.shapes[entry->slab_class].slots);
    assert_found_again(entry);
    paint(entry);
}

static void give(const struct heap *heap)
{
    struct slab *empty = NULL;
    if (held_count == 0)
        return;
    const uint32_t index = dice_roll(&dice, held_count);
    const struct held entry = held[index];
    held[index] = held[--held_count];
    assert_painted(&entry);
    slab_give(heap, shard(), entry.slot, &empty);
    assert_false(slab_slot_is_live(entry.slot.slab, entry.slot.index));
    if (empty != NULL) {
        assert_ptr_equal(empty, entry.slot.slab);
        assert_int_equal(empty->used, 0);
        slab_remove(heap, shard(), empty);
    }
}

/* Walks the lists of slabs with room, and counts live slots there and in the slabs that are full. */
static void check_class(uint32_t slab_class)
{
    const uint32_t slots = plain.view.shapes[slab_class].slots;
    uint32_t used = 0, empty = 0, previous = 0, mine = 0;
    for (uint32_t q = shard()->partial[slab_class]; q != 0; q = view_slab(&plain.view, q)->next) {
        const struct slab *slab = slab_at(&plain.view, q, OWNER_SHARD);
        assert_non_null(slab);
        assert_int_equal(slab->slab_class, slab_class);
        assert_int_equal(slab->previous, previous);
        assert_int_equal(slab->listed, 1);
        assert_true(slab->used < slots);
        used += slab->used;
        empty += slab->used == 0;
        previous = q;
    }
    assert_true(empty <= 1);
    for (uint32_t i = 0; i < held_count; i++)
        mine += held[i].slab_class == slab_class && held[i].slot.slab->listed;
    assert_int_equal(used, mine);
}

static void random_steps(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    for (unsigned i = 0; i < 60000; i++) {
        const bool grows = i / 6000 % 2 == 0;
        if (dice_roll(&dice, 10) < (grows ? 7u : 3u))
            take(&heap);
        else
            give(&heap);
        if (i % 500 == 0)
            for (uint32_t c = 0; c < SLAB_CLASSES; c++)
                check_class(c);
    }
    while (held_count > 0)
        give(&heap);
    for (uint32_t c = 0; c < SLAB_CLASSES; c++)
        check_class(c);
    assert_true(heap_is_sound(&heap));
}

/* A slab gives each of its slots once, then none. */
static void whole_slab(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    for (uint32_t c = 0; c < SLAB_CLASSES; c++) {
        const uint32_t slots = plain.view.shapes[c].slots;
        assert_null(slab_take(&heap, shard(), c).slab);
        slab_begin(&heap, shard(), plain_carve(&heap), c);
        for (uint32_t i = 0; i < slots; i++)
            assert_int_equal(slab_take(&heap, shard(), c).index, i);
        assert_null(slab_take(&heap, shard(), c).slab);
        assert_int_equal(shard()->partial[c], 0);
    }
}

/* Each process begins at its turn, in words of bits, and gets all slots in the end. */
static void turns(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    struct heap heap = plain_heap(&plain, 0, &transaction);
    for (uint32_t row = 0; row < 5; row++)
        for (uint32_t c = 0; c < SLAB_CLASSES; c += 3) {
            const uint32_t slots = plain.view.shapes[c].slots, words = (slots + 63) / 64;
            heap.turn = heap_turn(row);
            slab_begin(&heap, shard(), plain_carve(&heap), c);
            struct slab *slab = view_slab(&plain.view, shard()->partial[c]), *empty;
            const uint32_t begin = (uint32_t)((uint64_t)heap.turn * words >> 32) * 64;
            for (uint32_t i = begin; i < slots; i++)
                assert_slot(slab_take(&heap, shard(), c), (struct slot){slab, i});
            for (uint32_t i = 0; i < begin; i++)
                assert_slot(slab_take(&heap, shard(), c), (struct slot){slab, i});
            assert_null(slab_take(&heap, shard(), c).slab);
            slab_give(&heap, shard(), (struct slot){slab, slots - 1}, &empty);
            assert_slot(slab_take(&heap, shard(), c), (struct slot){slab, slots - 1});
            assert_int_equal(shard()->partial[c], 0);
        }
}

/* The first few processes are in different cache lines of bits, where there are so many. */
static void turns_apart(void **state)
{
    (void)state;
    for (uint32_t words = 16; words <= 64; words++)
        for (uint32_t row = 0; row < words / 16; row++)
            for (uint32_t other = 0; other < row; other++)
                assert_int_not_equal(((uint64_t)heap_turn(row) * words >> 32) / 8,
                                     ((uint64_t)heap_turn(other) * words >> 32) / 8);
}

static void abandoned_steps(void **state)
{
    (void)state;
    static unsigned char before[16 * KIBI], after[16 * KIBI];
    const struct guarded guarded = plain_shard(&plain, 0);
    struct transaction plainly = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &plainly);
    for (unsigned round = 0; round < 400; round++) {
        take(&heap);
        struct slab *slab = held[held_count - 1].slot.slab, *empty = NULL;
        const struct heap_bins bins = shard()->bins;
        uint32_t partial[SLAB_CLASSES];
        memcpy(partial, shard()->partial, sizeof partial);
        memcpy(before, slab, sizeof(struct slab));
        struct transaction transaction = transaction_begin(&guarded);
        const struct heap logged = plain_heap(&plain, 0, &transaction);
        plain_slot(&logged, shard(), dice_roll(&dice, SLAB_CLASSES));
        slab_give(&logged, shard(), held[held_count - 1].slot, &empty);
        if (empty != NULL)
            slab_remove(&logged, shard(), empty);
        assert_false(transaction.overflowed);
        transaction_abandon(&guarded, &transaction);
        memcpy(after, slab, sizeof(struct slab));
        assert_memory_equal(before, after, sizeof(struct slab));
        assert_memory_equal(partial, shard()->partial, sizeof partial);
        assert_memory_equal(&bins, &shard()->bins, sizeof bins);
        assert_true(heap_is_sound(&heap));
    }
}

/* What lies in the file is believed only when it is a slab. */
static void damaged_slabs(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    const struct view *view = &plain.view;
    const uint32_t quantum = plain_carve(&heap);
    slab_begin(&heap, shard(), quantum, 3);
    struct slab *slab = view_slab(view, quantum);
    assert_ptr_equal(slab_at(view, quantum, OWNER_SHARD), slab);
    assert_null(slab_at(view, quantum, OWNER_SHARD + 1));
    assert_null(slab_at(view, quantum + 1, OWNER_SHARD));
    assert_null(slab_at(view, 0, OWNER_SHARD));
    assert_null(slab_at(view, view_quantum_count(view), OWNER_SHARD));
    slab->slab_class = SLAB_CLASSES;
    assert_null(slab_at(view, quantum, OWNER_SHARD));
    slab->slab_class = 3;
    memset(slab->live, 0xff, sizeof slab->live); /* no slot is free although the list says so */
    assert_null(slab_take(&heap, shard(), 3).slab);
    shard()->partial[3] = quantum + 1;
    assert_null(slab_take(&heap, shard(), 3).slab);
    shard()->partial[3] = UINT32_MAX;
    assert_null(slab_take(&heap, shard(), 3).slab);
    assert_null(slab_slot_of_bytes(view, view->capacity, OWNER_SHARD).slab);
    assert_null(slab_slot_of_bytes(view, UINT64_MAX, OWNER_SHARD).slab);
    assert_null(slab_slot_of_record(view, UINT32_MAX, OWNER_SHARD).slab);
    assert_null(slab_slot_of_record(view, 0, OWNER_SHARD).slab);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(data_classes),    TEST(name_classes),  TEST(random_steps), TEST(whole_slab),
        TEST(abandoned_steps), TEST(damaged_slabs), TEST(turns),        TEST(turns_apart),
    };
    return cmocka_run_group_tests_name("slab", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * core/layout, core/geometry: every offset of the file format, the shapes of slabs, and where the tables of a
 * segment of any capacity lie. A change here is a change of LAYOUT_VERSION.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "geometry.h"

struct pinned {
    const char *what;
    size_t is, wanted;
};

static void compare(const struct pinned *pinned, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (pinned[i].is != pinned[i].wanted)
            fail_msg("%s is %zu and was %zu", pinned[i].what, pinned[i].is, pinned[i].wanted);
}

#define SIZE(type, bytes)                                                                                    \
    {                                                                                                        \
        "sizeof " #type, sizeof(struct type), bytes                                                          \
    }
#define FIELD(type, field, offset)                                                                           \
    {                                                                                                        \
#type "." #field, offsetof(struct type, field), offset                                               \
    }

static void sizes(void **state)
{
    (void)state;
    static const struct pinned pinned[] = {
        SIZE(undo_entry, 16),   SIZE(undo, 6152),  SIZE(lock, 64),        SIZE(quantum, 32),
        SIZE(heap_bins, 272),   SIZE(record, 32),  SIZE(extent_slot, 16), SIZE(row_slot, 16),
        SIZE(long_name, 8),     SIZE(slab, 576),   SIZE(bucket, 64),      SIZE(directory, 248),
        SIZE(loose_run, 8),     SIZE(shard, 6976), SIZE(label, 512),      SIZE(export_slab, 64),
        SIZE(process_row, 128), SIZE(pool, 6272),  SIZE(header, 4096),
    };
    compare(pinned, COUNT_OF(pinned));
    assert_int_equal(_Alignof(struct lock), 64);
    assert_int_equal(_Alignof(struct shard), 64);
}

static void offsets_of_blocks(void **state)
{
    (void)state;
    static const struct pinned pinned[] = {
        FIELD(undo_entry, offset, 0),   FIELD(undo_entry, old, 8),
        FIELD(undo, count, 0),          FIELD(undo, entry, 8),
        FIELD(quantum, kind, 0),        FIELD(quantum, owner, 4),
        FIELD(quantum, count, 8),       FIELD(quantum, record, 12),
        FIELD(quantum, label, 12),      FIELD(quantum, back, 12),
        FIELD(quantum, next, 16),       FIELD(quantum, previous, 20),
        FIELD(quantum, bytes, 16),      FIELD(quantum, sequence, 24),
        FIELD(heap_bins, occupied, 0),  FIELD(heap_bins, free_quanta, 8),
        FIELD(heap_bins, head, 16),     FIELD(record, refs, 0),
        FIELD(record, rows, 4),         FIELD(record, first_process, 8),
        FIELD(record, first_count, 10), FIELD(record, status, 12),
        FIELD(record, name, 16),        FIELD(extent_slot, quantum, 0),
        FIELD(extent_slot, count, 4),   FIELD(extent_slot, bytes, 8),
        FIELD(row_slot, next, 0),       FIELD(row_slot, process, 4),
        FIELD(row_slot, count, 8),      FIELD(long_name, salt, 0),
        FIELD(long_name, text, 8),      FIELD(slab, slab_class, 0),
        FIELD(slab, used, 4),           FIELD(slab, next, 8),
        FIELD(slab, previous, 12),      FIELD(slab, listed, 16),
        FIELD(slab, live, 64),
    };
    compare(pinned, COUNT_OF(pinned));
}

static void offsets_of_shards(void **state)
{
    (void)state;
    static const struct pinned pinned[] = {
        FIELD(bucket, tag, 0),
        FIELD(bucket, record, 20),
        FIELD(bucket, next, 60),
        FIELD(directory, buckets, 0),
        FIELD(directory, entries, 4),
        FIELD(directory, piece, 8),
        FIELD(loose_run, first, 0),
        FIELD(loose_run, count, 4),
        FIELD(shard, lock, 0),
        FIELD(shard, sequence, 64),
        FIELD(shard, poisoned, 68),
        FIELD(shard, blocks, 72),
        FIELD(shard, used_bytes, 80),
        FIELD(shard, loose, 88),
        FIELD(shard, directory, 96),
        FIELD(shard, bins, 344),
        FIELD(shard, partial, 616),
        FIELD(shard, undo, 784),
        FIELD(label, salt, 0),
        FIELD(label, length, 8),
        FIELD(label, owner, 12),
        FIELD(label, text, 24),
        FIELD(export_slab, owner, 0),
        FIELD(export_slab, label, 4),
        FIELD(export_slab, slab_class, 8),
        FIELD(export_slab, touched, 12),
        FIELD(export_slab, base, 16),
        FIELD(export_slab, bits, 64),
    };
    compare(pinned, COUNT_OF(pinned));
}

static void offsets_of_segments(void **state)
{
    (void)state;
    static const struct pinned pinned[] = {
        FIELD(process_row, state, 0),
        FIELD(process_row, pid, 4),
        FIELD(process_row, nonce, 16),
        FIELD(process_row, start_time, 8),
        FIELD(process_row, reaper, 24),
        FIELD(process_row, parent, 28),
        FIELD(process_row, since, 32),
        FIELD(process_row, reaper_start, 40),
        FIELD(process_row, command, 48),
        FIELD(process_row, read_by_children, 64),
        FIELD(process_row, had_regions, 68),
        FIELD(process_row, reaper_nonce, 72),
        FIELD(pool, lock, 0),
        FIELD(pool, sequence, 64),
        FIELD(pool, poisoned, 68),
        FIELD(pool, free_regions, 72),
        FIELD(pool, hint, 76),
        FIELD(pool, next_row, 80),
        FIELD(pool, rows_used, 84),
        FIELD(pool, undo, 112),
        FIELD(header, magic, 0),
        FIELD(header, version, 8),
        FIELD(header, fingerprint, 12),
        FIELD(header, ready, 16),
        FIELD(header, scope, 20),
        FIELD(header, capacity, 24),
        FIELD(header, asked_size, 32),
        FIELD(header, base, 40),
        FIELD(header, pid_namespace, 48),
        FIELD(header, uid, 56),
        FIELD(header, persist, 60),
        FIELD(header, nonce, 64),
        FIELD(header, name, 72),
        FIELD(header, job, 168),
        FIELD(header, interleave, 232),
        FIELD(header, unlocks, 236),
    };
    compare(pinned, COUNT_OF(pinned));
}

static void constants(void **state)
{
    (void)state;
    const uint64_t magic = LAYOUT_MAGIC;
    assert_memory_equal(&magic, "\nSHMCORE", 8);
    assert_int_equal(LAYOUT_VERSION, 6);
    assert_int_equal(LAYOUT_READY, 0x52454459);
    assert_int_equal(LAYOUT_FINGERPRINT, 0xb074e);
    static const struct pinned pinned[] = {
        {"QUANTUM_BYTES", QUANTUM_BYTES, 16384},
        {"SLAB_BYTES", SLAB_BYTES, 65536},
        {"RECORD_UNIT", RECORD_UNIT, 8},
        {"QUANTUM_FREE", QUANTUM_FREE, 1},
        {"QUANTUM_NAMED", QUANTUM_NAMED, 2},
        {"QUANTUM_RECORDS", QUANTUM_RECORDS, 3},
        {"QUANTUM_TABLE", QUANTUM_TABLE, 4},
        {"QUANTUM_EXPORT", QUANTUM_EXPORT, 5},
        {"QUANTUM_EXPORT_SLAB", QUANTUM_EXPORT_SLAB, 6},
        {"QUANTUM_EXPORT_INNER", QUANTUM_EXPORT_INNER, 7},
        {"QUANTUM_LABELS", QUANTUM_LABELS, 8},
        {"RECORD_READY", RECORD_READY, 2},
        {"RECORD_LONG_NAME", RECORD_LONG_NAME, 0x40},
        {"RECORD_EXTENT", RECORD_EXTENT, 0x80},
        {"SLAB_EXTENT_SLOTS", SLAB_EXTENT_SLOTS, 35},
        {"SLAB_ROW_SLOTS", SLAB_ROW_SLOTS, 36},
        {"SLAB_BUCKETS", SLAB_BUCKETS, 37},
        {"SLAB_NAMES_272", SLAB_NAMES_272, 41},
        {"SLAB_CLASSES", SLAB_CLASSES, 42},
        {"ROW_ALIVE", ROW_ALIVE, 1},
        {"ROW_PINNED", ROW_PINNED, 5},
        {"OWNER_SHARD", OWNER_SHARD, 16},
        {"OWNER_PROCESS", OWNER_PROCESS, 0x10000},
    };
    compare(pinned, COUNT_OF(pinned));
    assert_int_equal(QUANTUM_TOUCHED >> 63, 1);
    assert_int_equal(QUANTUM_FLAGS, QUANTUM_TOUCHED | (uint64_t)3 << QUANTUM_FORK_SHIFT);
}

/* Every offset of the largest segment fits the 32 bits that name it. */
static void references_reach(void **state)
{
    (void)state;
    assert_true(RECORD_LIMIT / RECORD_UNIT <= (uint64_t)1 << 32);
    assert_true(CAPACITY_MOST >> QUANTUM_SHIFT < UINT32_MAX);
    assert_true(CAPACITY_MOST >> LABEL_SHIFT <= (uint64_t)1 << 32);
    assert_true(CAPACITY_MOST <= WINDOW_END - WINDOW_BASE);
    assert_true(ROWS_MOST <= UINT16_MAX); /* record.first_process */
    assert_true(OWNER_SHARD + SHARDS_MOST <= OWNER_PROCESS);
}

static void shape_is_sound(uint32_t slab_class, const struct slab_shape *shape)
{
    const uint64_t records_end = shape->records + (uint64_t)shape->slots * sizeof(struct record);
    const bool recorded = slab_class <= SLAB_EXTENT_SLOTS;
    assert_true(shape->slots > 0);
    assert_true(shape->slots <= SLAB_LIVE_WORDS * 64);
    assert_true(shape->data + (uint64_t)shape->slots * shape->slot_bytes <= SLAB_BYTES);
    assert_int_equal(shape->data % 64, 0);
    assert_int_equal(shape->slot_bytes % 16, 0);
    assert_true(shape->data >= sizeof(struct slab));
    assert_int_equal(shape->records != 0, recorded);
    if (recorded) {
        assert_true(shape->records >= sizeof(struct slab));
        assert_true(records_end <= shape->data);
        assert_int_equal(shape->records % RECORD_UNIT, 0);
    }
    if (slab_class < SLAB_DATA_CLASSES && shape->slot_bytes >= 64)
        assert_int_equal(shape->slot_bytes % 64, 0); /* no two blocks in one cache line */
}

static void shapes(void **state)
{
    (void)state;
    struct view view;
    view_make(&view, (unsigned char *)(uintptr_t)WINDOW_BASE, CAPACITY_LEAST);
    for (uint32_t c = 0; c < SLAB_CLASSES; c++)
        shape_is_sound(c, &view.shapes[c]);
    for (uint32_t c = 1; c < SLAB_DATA_CLASSES; c++)
        assert_true(view.shapes[c].slot_bytes > view.shapes[c - 1].slot_bytes);
    assert_int_equal(view.shapes[0].slot_bytes, 16);
    assert_int_equal(view.shapes[SLAB_DATA_CLASSES - 1].slot_bytes, SLOT_BYTES_END);
    assert_int_equal(view.shapes[SLAB_EXTENT_SLOTS].slot_bytes, sizeof(struct extent_slot));
    assert_int_equal(view.shapes[SLAB_ROW_SLOTS].slot_bytes, sizeof(struct row_slot));
    assert_true(view.shapes[SLAB_NAMES_272].slot_bytes >= sizeof(struct long_name) + 255);
}

struct table {
    const char *what;
    const void *start;
    uint64_t bytes, alignment;
};

/* In the order of the file: each begins where the one before has ended, or later. */
static void tables_do_not_overlap(const struct view *view)
{
    const uint64_t quanta = (uint64_t)view->capacity >> QUANTUM_SHIFT;
    const struct table tables[] = {
        {"header", view->header, sizeof(struct header), PAGE_BYTES},
        {"pool", view->pool, sizeof(struct pool), 64},
        {"shards", view->shards, view->shard_count * sizeof(struct shard), 64},
        {"rows", view->rows, view->row_count * sizeof(struct process_row), 128},
        {"held", view->held, (uint64_t)view->shard_count * view->row_count * 4, 8},
        {"region owners", view->region_owner, (uint64_t)view->region_count * 4, 4},
        {"free regions", view->region_free, divide_up(view->region_count, 64) * 8, 8},
        {"reserved", view->reserved, divide_up(view->capacity / PAGE_BYTES, 64) * 8, PAGE_BYTES},
        {"quanta", view->quanta, quanta * sizeof(struct quantum), PAGE_BYTES},
    };
    uint64_t end = 0;
    for (size_t i = 0; i < COUNT_OF(tables); i++) {
        const uint64_t start = view_offset(view, tables[i].start);
        if (start < end || start % tables[i].alignment != 0)
            fail_msg("capacity %zu: %s at %zu", (size_t)view->capacity, tables[i].what, (size_t)start);
        end = start + tables[i].bytes;
        if (strcmp(tables[i].what, "free regions") == 0)
            assert_true(end <= view->eager_bytes);
    }
    assert_true(view->eager_bytes <= view_offset(view, view->reserved));
    assert_true(end <= (uint64_t)view->table_regions << view->region_shift);
}

static void check_capacity(uint64_t capacity)
{
    struct view view;
    view_make(&view, (unsigned char *)(uintptr_t)WINDOW_BASE, capacity);
    tables_do_not_overlap(&view);
    assert_int_equal((uint64_t)view.region_count << view.region_shift, capacity);
    assert_true(view.table_regions < view.region_count); /* something is left for blocks */
    assert_true(view.row_count >= 64);
    assert_true(view.row_count <= ROWS_MOST);
    assert_true(view.shard_count >= 1);
    assert_true(view.shard_count <= SHARDS_MOST);
    assert_true(view_region_quanta(&view) >= SLAB_QUANTA);
    assert_int_equal(view_quantum_count(&view), capacity >> QUANTUM_SHIFT);
}

/* The undo log keeps whole words: words of two shards, each with its lock, must not be one. */
static void shards_share_no_word(uint64_t capacity)
{
    struct view view;
    view_make(&view, (unsigned char *)(uintptr_t)WINDOW_BASE, capacity);
    for (uint32_t s = 1; s < view.shard_count; s++)
        if (view_offset(&view, view.held + (size_t)s * view.row_count) % 8 != 0)
            fail_msg("capacity %zu: the counts of shard %u begin in a word of shard %u", (size_t)capacity, s,
                     s - 1);
}

static void each_capacity(void (*check)(uint64_t capacity))
{
    for (uint64_t bytes = CAPACITY_LEAST; bytes <= CAPACITY_MOST; bytes *= 2) {
        check(view_round_capacity(bytes));
        check(view_round_capacity(bytes + 64 * KIBI));
        check(view_round_capacity(bytes - 64 * KIBI));
        check(view_round_capacity(bytes / 3 * 4));
    }
    for (uint64_t bytes = CAPACITY_LEAST; bytes <= 300 * MEBI; bytes += 64 * KIBI)
        check(view_round_capacity(bytes));
}

static void tables(void **state)
{
    (void)state;
    each_capacity(check_capacity);
}

static void words(void **state)
{
    (void)state;
    each_capacity(shards_share_no_word);
}

static void capacities_are_rounded(void **state)
{
    (void)state;
    assert_int_equal(view_round_capacity(0), CAPACITY_LEAST);
    assert_int_equal(view_round_capacity(1), CAPACITY_LEAST);
    assert_int_equal(view_round_capacity(UINT64_MAX), CAPACITY_MOST);
    assert_int_equal(view_round_capacity(CAPACITY_MOST + 1), CAPACITY_MOST);
    assert_int_equal(view_round_capacity(MEBI + 1), MEBI);
    assert_int_equal(view_round_capacity(GIBI + MEBI - 1), GIBI);
    for (uint64_t bytes = CAPACITY_LEAST; bytes < CAPACITY_MOST; bytes += bytes / 7 + 12345) {
        const uint64_t rounded = view_round_capacity(bytes);
        assert_true(rounded <= bytes);
        assert_true(bytes - rounded < most(MEBI, bytes / (REGIONS_MOST / 2)));
        assert_int_equal(view_round_capacity(rounded), rounded);
    }
}

static void offsets_are_checked(void **state)
{
    (void)state;
    struct view view;
    view_make(&view, (unsigned char *)(uintptr_t)WINDOW_BASE, 16 * MEBI);
    assert_true(view_holds(&view, 0, 16 * MEBI));
    assert_false(view_holds(&view, 0, 16 * MEBI + 1));
    assert_true(view_holds(&view, 16 * MEBI - 1, 1));
    assert_false(view_holds(&view, 16 * MEBI, 0));
    assert_false(view_holds(&view, 8, UINT64_MAX - 4));
    assert_false(view_holds(&view, UINT64_MAX, 1));
    assert_int_equal(view_offset(&view, view_at(&view, 12345)), 12345);
    assert_int_equal(view_reference(&view, view_record(&view, 4711)), 4711);
    assert_int_equal(view_offset(&view, view_slab(&view, 9)), 9 * QUANTUM_BYTES);
    assert_int_equal(view_offset(&view, view_label(&view, 3)), 3 * LABEL_BYTES);
    assert_int_equal(view_region_of(&view, 5 * 64 * KIBI + 17), 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes),
        cmocka_unit_test(offsets_of_blocks),
        cmocka_unit_test(offsets_of_shards),
        cmocka_unit_test(offsets_of_segments),
        cmocka_unit_test(constants),
        cmocka_unit_test(references_reach),
        cmocka_unit_test(shapes),
        cmocka_unit_test(tables),
        cmocka_unit_test(words),
        cmocka_unit_test(capacities_are_rounded),
        cmocka_unit_test(offsets_are_checked),
    };
    return cmocka_run_group_tests_name("layout", tests, NULL, NULL);
}

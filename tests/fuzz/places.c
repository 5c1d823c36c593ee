/* SPDX-License-Identifier: MIT */
#include "places.h"

#include <string.h>

#include "directory.h"
#include "export_own.h"
#include "geometry.h"
#include "slab.h"

static void note(struct base *base, enum place_kind kind, uint64_t offset, size_t bytes)
{
    if (base->places[kind] < PLACES_OF_A_KIND)
        base->place[kind][base->places[kind]++] = (struct place){offset, (uint32_t)bytes};
}

static void note_at(struct base *base, enum place_kind kind, const void *at, size_t bytes)
{
    note(base, kind, (uint64_t)((const unsigned char *)at - base->image), bytes);
}

static void find_locked(struct base *base, const struct view *view)
{
    note_at(base, PLACE_HEADER, view->header, offsetof(struct header, unused));
    note_at(base, PLACE_POOL, view->pool, offsetof(struct pool, undo));
    note_at(base, PLACE_LOCK, &view->pool->lock, sizeof view->pool->lock);
    note_at(base, PLACE_UNDO, &view->pool->undo, 8 + 6 * sizeof(struct undo_entry));
    for (uint32_t s = 0; s < view->shard_count; s++) {
        note_at(base, PLACE_SHARD, &view->shards[s], offsetof(struct shard, undo));
        note_at(base, PLACE_LOCK, &view->shards[s].lock, sizeof view->shards[s].lock);
        note_at(base, PLACE_UNDO, &view->shards[s].undo, 8 + 6 * sizeof(struct undo_entry));
    }
}

static void find_tables(struct base *base, const struct view *view)
{
    for (uint32_t r = 0; r <= view->pool->rows_used && r < view->row_count; r++) {
        note_at(base, PLACE_ROW, &view->rows[r], sizeof view->rows[r]);
        for (uint32_t s = 0; s < view->shard_count; s++)
            note_at(base, PLACE_HELD, &view->held[s * view->row_count + r], sizeof *view->held);
    }
    for (uint32_t r = 0; r < view->region_count; r++)
        note_at(base, PLACE_REGION_OWNER, &view->region_owner[r], sizeof *view->region_owner);
    note_at(base, PLACE_REGION_FREE, view->region_free, (view->region_count + 63) / 64 * 8);
    note_at(base, PLACE_RESERVED, view->reserved, 512);
}

static void find_records(struct base *base, const struct view *view, uint32_t quantum)
{
    struct slab *slab = view_slab(view, quantum);
    if (slab->slab_class >= SLAB_CLASSES)
        return;
    const struct slab_shape *shape = &view->shapes[slab->slab_class];
    note_at(base, PLACE_SLAB, slab, sizeof *slab);
    for (uint32_t i = 0; i < shape->slots; i++) {
        const struct slot slot = {slab, i};
        const void *bytes = slab_slot_bytes(view, slot);
        if (!slab_slot_is_live(slab, i))
            continue;
        if (shape->records != 0)
            note_at(base, PLACE_RECORD, slab_slot_record(view, slot), sizeof(struct record));
        if (slab->slab_class < SLAB_DATA_CLASSES)
            note_at(base, PLACE_BLOCK, bytes, shape->slot_bytes);
        else if (slab->slab_class == SLAB_EXTENT_SLOTS)
            note_at(base, PLACE_EXTENT_SLOT, bytes, sizeof(struct extent_slot));
        else if (slab->slab_class == SLAB_ROW_SLOTS)
            note_at(base, PLACE_ROW_SLOT, bytes, sizeof(struct row_slot));
        else if (slab->slab_class == SLAB_BUCKETS)
            note_at(base, PLACE_BUCKET, bytes, sizeof(struct bucket));
        else
            note_at(base, PLACE_LONG_NAME, bytes, shape->slot_bytes);
    }
}

static void find_labels(struct base *base, const struct view *view, uint32_t quantum)
{
    for (uint32_t i = 0; i < QUANTUM_BYTES / LABEL_BYTES; i++) {
        const struct label *label = view_at(view, ((uint64_t)quantum << QUANTUM_SHIFT) + i * LABEL_BYTES);
        if (label->length != 0)
            note_at(base, PLACE_LABEL, label, sizeof *label);
    }
}

static void find_extents(struct base *base, const struct view *view)
{
    const uint32_t first = view->table_regions * view_region_quanta(view);
    for (uint32_t q = first; q < view_quantum_count(view); q++) {
        const uint32_t kind = view->quanta[q].kind;
        const uint64_t offset = (uint64_t)q << QUANTUM_SHIFT;
        note_at(base, PLACE_ANY_QUANTUM, &view->quanta[q], sizeof(struct quantum));
        if (kind == QUANTUM_NONE)
            continue;
        note_at(base, PLACE_QUANTUM, &view->quanta[q], sizeof(struct quantum));
        if (kind == QUANTUM_RECORDS)
            find_records(base, view, q);
        else if (kind == QUANTUM_EXPORT_SLAB)
            note(base, PLACE_EXPORT_SLAB, offset, sizeof(struct export_slab) + 64 * 8);
        else if (kind == QUANTUM_LABELS)
            find_labels(base, view, q);
        else if (kind == QUANTUM_NAMED || kind == QUANTUM_EXPORT)
            note(base, PLACE_BLOCK, offset, 64);
    }
}

static void find_buckets(struct base *base, const struct view *view)
{
    for (uint32_t s = 0; s < view->shard_count; s++) {
        const struct directory *directory = &view->shards[s].directory;
        const struct bucket *bucket = view_at(view, (uint64_t)directory->piece[0] << QUANTUM_SHIFT);
        for (uint32_t b = 0; b < directory->buckets && b < DIRECTORY_PIECE_LEAST; b++)
            if (bucket[b].record[0] != 0)
                note_at(base, PLACE_BUCKET, &bucket[b], sizeof *bucket);
    }
}

void places_find(struct base *base)
{
    struct view view;
    view_make(&view, base->image, base->bytes);
    if (view.header->magic != LAYOUT_MAGIC || view.pool->rows_used == 0) { /* half-born */
        note(base, PLACE_HEADER, 0, offsetof(struct header, unused));
        return;
    }
    find_locked(base, &view);
    find_tables(base, &view);
    find_extents(base, &view);
    find_buckets(base, &view);
}

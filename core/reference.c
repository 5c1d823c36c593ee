/* SPDX-License-Identifier: MIT */
#include "reference.h"

#define STEPS_MOST (2 * ROWS_MOST)

static struct row_slot *slot_at(const struct view *view, uint32_t shard, uint32_t reference)
{
    const uint64_t offset = (uint64_t)reference * RECORD_UNIT;
    if (reference == 0 || !view_holds(view, offset, sizeof(struct row_slot)) ||
        view_owner_of_quantum(view, (uint32_t)(offset >> QUANTUM_SHIFT)) != OWNER_SHARD + shard)
        return NULL;
    return view_at(view, offset);
}

static struct row_slot *slot_of_row(const struct view *view, const struct record *record, uint32_t shard,
                                    uint32_t row)
{
    struct row_slot *slot = slot_at(view, shard, record->rows);
    for (uint32_t steps = 0; slot != NULL && slot->process != row; steps++)
        slot = steps < STEPS_MOST ? slot_at(view, shard, slot->next) : NULL;
    return slot;
}

static bool is_first(const struct record *record, uint32_t row)
{
    return record->first_count != 0 && record->first_process == row;
}

static uint32_t *held_by(const struct view *view, uint32_t shard, uint32_t row)
{
    return &view->held[(size_t)shard * view->row_count + row];
}

uint32_t reference_count(const struct view *view, const struct record *record, uint32_t shard, uint32_t row)
{
    const struct row_slot *slot = slot_of_row(view, record, shard, row);
    return (is_first(record, row) ? record->first_count : 0) + (slot != NULL ? slot->count : 0);
}

static bool first_takes(const struct record *record, uint32_t row, uint32_t times)
{
    return (record->first_count == 0 || record->first_process == row) &&
           times <= (uint32_t)(UINT16_MAX - record->first_count);
}

bool reference_wants_slot(const struct view *view, const struct record *record, uint32_t shard, uint32_t row,
                          uint32_t times)
{
    return !first_takes(record, row, times) && slot_of_row(view, record, shard, row) == NULL;
}

void reference_begin(const struct heap *heap, uint32_t shard_number, struct record *record, uint32_t row)
{
    uint32_t *held = held_by(heap->view, shard_number, row);
    if (UNLIKELY(*held == UINT32_MAX)) {
        undo_damaged(heap->transaction);
        return;
    }
    record->refs = 1;
    record->rows = 0;
    record->first_process = (uint16_t)row;
    record->first_count = 1;
    UNDO_SET(heap->transaction, held, *held + 1);
}

static bool add_slot(const struct heap *heap, struct shard *shard, struct record *record, uint32_t row,
                     uint32_t times)
{
    const struct slot slot = slab_take(heap, shard, SLAB_ROW_SLOTS);
    if (slot.slab == NULL)
        return false;
    struct row_slot *added = slab_slot_bytes(heap->view, slot);
    UNDO_SET(heap->transaction, &added->next, record->rows);
    UNDO_SET(heap->transaction, &added->process, row);
    UNDO_SET(heap->transaction, &added->count, times);
    UNDO_SET(heap->transaction, &record->rows, view_reference(heap->view, added));
    return true;
}

bool reference_add(const struct heap *heap, struct shard *shard, uint32_t shard_number, struct record *record,
                   uint32_t row, uint32_t times)
{
    const struct view *view = heap->view;
    uint32_t *held = held_by(view, shard_number, row);
    struct row_slot *slot;
    if (times > UINT32_MAX - record->refs || times > UINT32_MAX - *held)
        return false;
    if (first_takes(record, row, times)) {
        UNDO_SET(heap->transaction, &record->first_process, (uint16_t)row);
        UNDO_SET(heap->transaction, &record->first_count, (uint16_t)(record->first_count + times));
    } else if ((slot = slot_of_row(view, record, shard_number, row)) != NULL) {
        UNDO_SET(heap->transaction, &slot->count, slot->count + times);
    } else if (!add_slot(heap, shard, record, row, times)) {
        return false;
    }
    UNDO_SET(heap->transaction, &record->refs, record->refs + times);
    UNDO_SET(heap->transaction, held, *held + times);
    return true;
}

static void remove_slot(const struct heap *heap, struct shard *shard, uint32_t shard_number,
                        struct record *record, const struct row_slot *gone, struct slab **empty)
{
    const struct view *view = heap->view;
    const uint32_t reference = view_reference(view, gone);
    const struct slot slot = slab_slot_of_bytes(view, view_offset(view, gone), heap->owner);
    uint32_t *link = &record->rows;
    for (uint32_t steps = 0; *link != reference && steps < STEPS_MOST; steps++) {
        struct row_slot *before = slot_at(view, shard_number, *link);
        if (before == NULL)
            break;
        link = &before->next;
    }
    if (UNLIKELY(*link != reference || slot.slab == NULL || slot.slab->slab_class != SLAB_ROW_SLOTS)) {
        undo_damaged(heap->transaction);
        return;
    }
    UNDO_SET(heap->transaction, link, gone->next);
    slab_give(heap, shard, slot, empty);
}

bool reference_drop(const struct heap *heap, struct shard *shard, uint32_t shard_number,
                    struct record *record, uint32_t row, bool all, struct slab **empty)
{
    struct row_slot *slot = slot_of_row(heap->view, record, shard_number, row);
    uint32_t *held = held_by(heap->view, shard_number, row);
    uint32_t dropped = 0;
    *empty = NULL;
    if (slot != NULL) {
        dropped = all ? slot->count : 1;
        if (slot->count <= dropped)
            remove_slot(heap, shard, shard_number, record, slot, empty);
        else
            UNDO_SET(heap->transaction, &slot->count, slot->count - dropped);
    }
    if (is_first(record, row) && (all || dropped == 0)) {
        const uint16_t of_first = all ? record->first_count : 1;
        dropped += of_first;
        UNDO_SET(heap->transaction, &record->first_count, (uint16_t)(record->first_count - of_first));
    }
    if (dropped == 0)
        return false;
    if (UNLIKELY(dropped > record->refs || dropped > *held))
        undo_damaged(heap->transaction);
    UNDO_SET(heap->transaction, &record->refs, record->refs - dropped);
    UNDO_SET(heap->transaction, held, *held - dropped);
    return true;
}

GLANCES uint32_t reference_holder(const struct view *view, const struct record *record, uint32_t shard)
{
    if (record->first_count != 0)
        return record->first_process;
    const struct row_slot *slot = slot_at(view, shard, record->rows);
    return slot != NULL ? slot->process : UINT32_MAX;
}

bool reference_is_sound(const struct view *view, const struct record *record, uint32_t shard)
{
    uint64_t sum = record->first_count;
    uint32_t reference = record->rows;
    for (uint32_t steps = 0; reference != 0; steps++) {
        const struct row_slot *slot = slot_at(view, shard, reference);
        if (slot == NULL || slot->count == 0 || slot->process >= view->row_count || steps > STEPS_MOST)
            return false;
        sum += slot->count;
        reference = slot->next;
    }
    return sum == record->refs;
}

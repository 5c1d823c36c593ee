/* SPDX-License-Identifier: MIT */
#include "place.h"

uint32_t block_state(const struct record *record)
{
    return atomic_load_explicit(&record->status, memory_order_acquire) & RECORD_STATE_MASK;
}

GLANCES bool block_describe(const struct view *view, uint32_t owner, uint32_t reference,
                            struct block_place *out)
{
    const struct slot slot = slab_slot_of_record(view, reference, owner);
    if (slot.slab == NULL)
        return false;
    out->slot = slot;
    out->record = slab_slot_record(view, slot);
    const uint32_t status = atomic_load_explicit(&out->record->status, memory_order_acquire);
    if ((status & RECORD_EXTENT) == 0) {
        out->offset = view_offset(view, slab_slot_bytes(view, slot));
        out->bytes = status >> 16;
        out->rounded = view->shapes[slot.slab->slab_class].slot_bytes;
        return slot.slab->slab_class < SLAB_DATA_CLASSES && out->bytes <= out->rounded;
    }
    if (slot.slab->slab_class != SLAB_EXTENT_SLOTS)
        return false;
    const struct extent_slot *extent = slab_slot_bytes(view, slot);
    const uint32_t quantum = extent->quantum, count = extent->count;
    out->offset = (uint64_t)quantum << QUANTUM_SHIFT;
    out->bytes = extent->bytes;
    out->rounded = (uint64_t)count << QUANTUM_SHIFT;
    return heap_begins(view, quantum, owner, QUANTUM_NAMED) && view->quanta[quantum].count == count &&
           view->quanta[quantum].record == reference && view_range_belongs(view, quantum, count, owner) &&
           out->bytes <= out->rounded;
}

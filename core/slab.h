/* SPDX-License-Identifier: MIT
 *
 * Slabs of a shard: 64 KiB extents of equal slots, for blocks up to 32 KiB and for the small things
 * that names and references need. A slot of a data class has its record at the same index of a table
 * at the front of the slab, so neither points to the other.
 *
 * A slab with a free slot is in its class's list; at most one slab of a class is kept empty, but
 * for those that lines of buckets leave when many go at once. Same purity as the heap; the caller holds the
 * shard's lock.
 */
#ifndef SHM_SLAB_H
#define SHM_SLAB_H

#include "heap.h"
#include "slab_class.h"

struct slot {
    struct slab *slab; /* NULL: none */
    uint32_t index;
};

/* A slot of the class, marked taken, its bytes as they were. None: no slab has room; slab_begin() one. */
struct slot slab_take(const struct heap *heap, struct shard *shard, uint32_t slab_class);

/* Makes a slab of an extent of SLAB_QUANTA quanta, aligned to as many, whose memory is reserved. */
void slab_begin(const struct heap *heap, struct shard *shard, uint32_t quantum, uint32_t slab_class);

/* Frees a slot. If its slab is empty then and another one has room, *empty is the slab that the caller
 * should give back with slab_remove(); else NULL. */
void slab_give(const struct heap *heap, struct shard *shard, struct slot slot, struct slab **empty);
struct extent slab_remove(const struct heap *heap, struct shard *shard, struct slab *slab);

struct record *slab_slot_record(const struct view *view, struct slot slot);
void *slab_slot_bytes(const struct view *view, struct slot slot);
bool slab_slot_is_live(const struct slab *slab, uint32_t index);

/* The slot that a record or the start of a slot's bytes belongs to; none when the offset is not exactly
 * that, or not in a slab of `owner`. Trusts nothing but the view. */
struct slot slab_slot_of_record(const struct view *view, uint32_t reference, uint32_t owner);
struct slot slab_slot_of_bytes(const struct view *view, uint64_t offset, uint32_t owner);

/* The slab that begins at the quantum, when it is one of `owner` with a valid class; else NULL. */
GLANCES static inline struct slab *slab_at(const struct view *view, uint32_t quantum, uint32_t owner)
{
    if (quantum % SLAB_QUANTA != 0 || !heap_begins(view, quantum, owner, QUANTUM_RECORDS) ||
        view->quanta[quantum].count != SLAB_QUANTA)
        return NULL;
    struct slab *slab = view_slab(view, quantum);
    return slab->slab_class < SLAB_CLASSES ? slab : NULL;
}

#endif

/* SPDX-License-Identifier: MIT
 *
 * Extents: runs of quanta inside the regions of one owner, a shard or a process.
 *
 * Every quantum of the owner's regions is in exactly one extent, taken or free. The first quantum of a
 * taken extent says what it is and how long; the first and the last of a free one say FREE and how
 * long; all others say NONE. No two free extents of one owner touch. Free extents hang in 64 bins by
 * length, exact up to 16 quanta, then two bins to each doubling; a bit says which bins are occupied,
 * so taking is a look at one bin and a bit scan (TLSF's idea with one level: Masmano, Ripoll,
 * Crespo, Real, ECRTS 2004).
 *
 * Takes no lock, maps nothing, reserves nothing: it can run on a plain buffer. What it writes goes
 * through the undo log of the caller's transaction. What it reads it checks before it follows it: a table
 * that somebody scribbled over is undo_damaged(), never a stray pointer.
 */
#ifndef SHM_HEAP_H
#define SHM_HEAP_H

#include "geometry.h"
#include "undo.h"

struct heap {
    const struct view *view;
    struct heap_bins *bins;
    struct transaction *transaction;
    uint32_t owner;
    uint32_t turn; /* where in a slab a free slot is looked for first: so many parts of 2^32; heap_turn() */
};

/* That of the process in a row. Twice the lesser part of the golden section: the first few are far apart, and
 * each further one lies where there is most room between them. */
static inline uint32_t heap_turn(uint32_t row)
{
    return row * UINT32_C(0xc3910c8d);
}

struct extent {
    uint32_t first, count; /* quanta; count 0: none */
};

/* Puts a run that was in no extent among the free ones. */
struct extent heap_add(const struct heap *heap, struct extent run);

/* Takes `count` quanta, the first a multiple of `alignment` (a power of two, in quanta), as an extent of
 * `kind`. 0 when there is no such run. */
uint32_t heap_take(const struct heap *heap, uint32_t count, uint32_t alignment, enum quantum_kind kind);

/* The same, but the extent ends at quantum `limit` at the latest: for slabs of records in segments beyond
 * RECORD_LIMIT. */
uint32_t heap_take_below(const struct heap *heap, uint32_t count, uint32_t alignment, enum quantum_kind kind,
                         uint32_t limit);

/* A free extent in which there is such a run; count 0: there is none. */
struct extent heap_find(const struct heap *heap, uint32_t count, uint32_t alignment);

/* What is free from there on: a free extent that begins at the quantum, which need not be the owner's; count
 * 0: there is none. */
struct extent heap_free_from(const struct heap *heap, uint32_t quantum);

/* Makes the taken extent that begins at `first` longer by what is free behind it. False: so much is not. */
bool heap_lengthen(const struct heap *heap, uint32_t first, uint32_t more);

/* Frees the extent that begins at `first`; returns the free extent it became part of. */
struct extent heap_give(const struct heap *heap, uint32_t first);

/* Takes the part `cut` out of the free extent `whole` and out of the heap: for regions that leave. */
void heap_cut(const struct heap *heap, struct extent whole, struct extent cut);

/* Do all regions that the extent touches belong to the owner? */
bool heap_owns(const struct heap *heap, struct extent extent);

/* Does `quantum` begin a taken extent of this kind and owner that lies within the segment? Reads
 * nothing outside regions that have an owner. */
GLANCES static inline bool heap_begins(const struct view *view, uint32_t quantum, uint32_t owner,
                                       enum quantum_kind kind)
{
    if (quantum >= view_quantum_count(view) || view_owner_of_quantum(view, quantum) != owner)
        return false;
    const struct quantum *entry = &view->quanta[quantum];
    return atomic_load_explicit(&entry->kind, memory_order_acquire) == kind && entry->owner == owner &&
           entry->count != 0 && entry->count <= view_quantum_count(view) - quantum;
}

/* Walks all regions of the owner and compares with the bins: for tests and after a recovery. */
bool heap_is_sound(const struct heap *heap);

#endif

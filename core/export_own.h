/* SPDX-License-Identifier: MIT
 *
 * The two kinds of exported blocks, for export.c: extents and slabs of this process; and their labels.
 *
 * Readers in other processes take no lock: a quantum's kind is stored last when a thing is made and first
 * when it goes.
 */
#ifndef SHM_EXPORT_OWN_H
#define SHM_EXPORT_OWN_H

#include "export_book.h"
#include "handle.h"

/* The book of the slab that the offset lies in; NULL: there is none of this process's. The offset is in the
 * segment. */
static inline struct slab_book *own_book(const shmcore_segment *segment, uint64_t offset)
{
    _Atomic(struct slab_book *) *table = atomic_load_explicit(&segment->exports.books, memory_order_acquire);
    return LIKELY(table != NULL) ? atomic_load_explicit(&table[offset >> QUANTUM_SHIFT], memory_order_acquire)
                                 : NULL;
}

/* The lock of this process's heap of extents and of its lists of slabs. */
void own_lock(shmcore_segment *segment);
void own_unlock(shmcore_segment *segment);

/* With the heap locked. An extent is marked INNER: not a block yet. 0: no room, error set. */
uint32_t own_take_extent(shmcore_segment *segment, uint32_t count, uint32_t alignment);
/* With the heap locked; the result is for regions_return() after unlocking. */
struct region_run own_give_extent(shmcore_segment *segment, uint32_t first);
void own_publish(struct quantum *entry, enum quantum_kind kind);
/* What a touched extent left behind is not in the bitmap: it goes, or later blocks would find old bytes
 * there. */
void own_forget_touched(shmcore_segment *segment, uint32_t first, uint32_t count);

void *own_allocate_extent(shmcore_segment *segment, const struct export_source *source, uint64_t sequence,
                          size_t bytes, size_t alignment, unsigned flags);
void own_free_extent(shmcore_segment *segment, uint32_t first);
/* Makes the extent so long where it is, in quanta, without memory. False: others lie behind it. */
bool own_lengthen_extent(shmcore_segment *segment, uint32_t first, uint32_t count);

struct export_slab *own_slab(const struct view *view, uint32_t quantum);
/* What it looks like inside; NULL when its class was scribbled over. */
const struct export_shape *own_slab_shape(const struct view *view, const struct export_slab *slab);
/* With the heap locked: a slab without a thread, and its book. NULL: no room, error set. */
struct slab_book *own_make_slab(shmcore_segment *segment, const struct export_source *source,
                                uint32_t slab_class, uint64_t sequence, unsigned flags);
/* With the heap locked: it is empty and in no list. Its book is left. The result is for regions_return(). */
struct region_run own_give_up_slab(shmcore_segment *segment, struct slab_book *book);
void *own_allocate_slot(shmcore_segment *segment, struct export_source *source, uint64_t sequence,
                        uint32_t slab_class, size_t bytes, unsigned flags);
/* A slab of the source and class that has a slot for that sequence, in use from now on. NULL: no room, error
 * set. */
struct slab_book *own_next_slab(shmcore_segment *segment, struct export_source *source, uint32_t slab_class,
                                uint64_t sequence, unsigned flags);
/* Sees to it that the slot has memory, and some behind it. False: there is none, error set. */
bool own_make_ready(shmcore_segment *segment, struct slab_book *book, uint32_t slot);
/* The calling thread's own slab, perhaps with nothing alive in it. errno is kept. */
void own_slab_emptied(shmcore_segment *segment, struct slab_book *book);
/* Another one: all slots of a word are gone, or it was FULL; `state` was seen after the slot was gone. */
void own_slab_freed(struct slab_book *book, uint32_t words, const void *pointer, uint32_t state);

/* Of a pointer into a slab of ours. False: no live block begins there. */
static inline bool own_slot_is_alive(struct slab_book *book, const void *pointer, uint32_t *slot)
{
    const uint32_t at = *slot = book_slot_of(book, pointer);
    if (at >= book->slots)
        return false;
    const uint32_t word = at / 64;
    return (atomic_load(&book->bits[word].live) & ~atomic_load(&book->bits[word].gone) &
            (uint64_t)1 << at % 64) != 0;
}

/* The block in the slot is so long from now on. False: it has to move. */
bool own_resize_slot(_Atomic uint32_t *info, uint32_t slack_bits, uint32_t slot_bytes, size_t bytes);

bool own_free_slot(shmcore_segment *segment, struct slab_book *book, const void *pointer);

void own_retire(shmcore_segment *segment, struct export_source *source);

/* A label with one user, who drops it when there are no more blocks to come. False: no room. */
bool own_label(shmcore_segment *segment, const char *text, size_t length, uint64_t salt, uint32_t *out);
/* With the heap locked: one user more, or less. */
void own_label_hold(shmcore_segment *segment, uint32_t label);
void own_label_drop(shmcore_segment *segment, uint32_t label);

#endif

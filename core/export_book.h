/* SPDX-License-Identifier: MIT
 *
 * What this process alone knows of each of its slabs of exported blocks: a *book*. Nothing of it lies in the
 * segment, so nothing that the program or another process scribbles there can lead it astray.
 *
 * A slab whose thread takes slots from it is in a ring with the others of the same source and class; the
 * source names the one in use. One that has no thread is in the list of its label and class when it has room,
 * else nowhere.
 *
 * `thread` and `state` change under the heap's lock. While a slab has a thread, that thread alone writes the
 * rest, with no lock; while it has none, whoever holds the lock does. But gone bits are set by whoever frees
 * a block and is not the thread. Books are never unmapped while the segment is open, so a stale pointer to
 * one reads numbers that fit nothing.
 */
#ifndef SHM_EXPORT_BOOK_H
#define SHM_EXPORT_BOOK_H

#include "export_slots.h"
#include "export_source.h"
#include "handle.h"

enum slab_state { SLAB_ACTIVE = 1, SLAB_FULL = 2, SLAB_PARTIAL = 3, SLAB_DRAINED = 4 };

struct slab_book {
    struct export_slab *slab;
    const struct export_shape *shape;
    _Atomic uint64_t thread; /* book_this_thread() of the one that takes slots; 0: none */
    uint64_t base, window;   /* the slab's sequences: so many from there on */
    uint32_t hint;           /* a word of bits where a slot may be free */
    uint32_t ready;          /* slots whose memory is reserved */
    uint32_t used;           /* slots taken; what others freed counts until it is folded in */
    uint32_t label, slab_class;
    _Atomic uint32_t state;       /* enum slab_state */
    _Atomic bool in_use;          /* its thread takes slots from it, or is about to */
    struct export_source *source; /* of the thread */
    struct slab_book *next, *previous;
    _Atomic uint64_t bits[]; /* live, then gone: what the slab's are copies of */
};

static inline _Atomic uint64_t *book_live_word(struct slab_book *book, uint32_t word)
{
    return &book->bits[word];
}

static inline _Atomic uint64_t *book_gone_word(struct slab_book *book, uint32_t word)
{
    return &book->bits[book->shape->words + word];
}

/* By the slab's thread, or with the heap's lock when it has none. */
static inline uint64_t book_live_now(struct slab_book *book, uint32_t word)
{
    return atomic_load_explicit(book_live_word(book, word), memory_order_relaxed);
}
static inline void book_set_live(struct slab_book *book, uint32_t word, uint64_t live)
{
    const struct export_slab *slab = book->slab;
    atomic_store_explicit(book_live_word(book, word), live, memory_order_release);
    atomic_store_explicit(export_live_word(slab, word), live, memory_order_release);
}

/* Can a block with that sequence be noted in the slab? */
static inline bool book_is_in_window(const struct slab_book *book, uint64_t sequence)
{
    return sequence - book->base < book->window;
}

/* A number that no other thread has or had. */
extern _Thread_local uint64_t book_mark;
uint64_t book_make_mark(void);
static inline uint64_t book_this_thread(void)
{
    return LIKELY(book_mark != 0) ? book_mark : book_make_mark();
}

/* With the heap locked. Its bits are zero. NULL: no memory. */
struct slab_book *book_new(shmcore_segment *segment, const struct export_shape *shape);
void book_drop(shmcore_segment *segment, struct slab_book *book);

/* With the heap locked: what lies in these quanta is the slab of this book, or of none (NULL). */
void book_enter(shmcore_segment *segment, uint32_t first, uint32_t count, struct slab_book *book);

/* The book of the slab that the offset lies in; NULL: there is none of this process's. The offset is in the
 * segment. */
static inline struct slab_book *book_at(const shmcore_segment *segment, uint64_t offset)
{
    _Atomic(struct slab_book *) *table = atomic_load_explicit(&segment->exports.books, memory_order_acquire);
    return LIKELY(table != NULL) ? atomic_load_explicit(&table[offset >> QUANTUM_SHIFT], memory_order_acquire)
                                 : NULL;
}

/* Nobody uses them any more: the segment is closed, or this is a forked child, whose parent's they are. */
void book_forget_all(shmcore_segment *segment);

#endif

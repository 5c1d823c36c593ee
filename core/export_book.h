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
#include "shmcore.h"

enum slab_use {
    SLAB_NOT_IN_USE,
    SLAB_IN_USE,  /* its thread takes slots from it, or is about to */
    SLAB_LASTING, /* the same, and it was not empty when a word of it was */
    SLAB_KEPT     /* the same, and it was empty: see struct export_kept */
};

enum slab_state { SLAB_ACTIVE = 1, SLAB_FULL = 2, SLAB_PARTIAL = 3, SLAB_LOST = 4, SLAB_SPARE = 5 };

struct slab_book {
    /* A cache line that whoever frees a block reads and hardly anybody writes; some of it copies what the
     * shape says: one load less to wait for. */
    unsigned char *data;     /* the first slot */
    uint64_t inverse;        /* of slot_bytes, see export_slot_of() */
    _Atomic uint64_t thread; /* book_this_thread() of the one that takes slots; 0: none */
    _Atomic uint64_t *shown; /* the slab's live bits, and behind them its gone bits, which are copies */
    _Atomic uint32_t *infos; /* the slab's */
    uint32_t slot_bytes;
    uint16_t slots;
    uint8_t slack_bits, words;
    _Atomic uint32_t state; /* enum slab_state */
    uint32_t label;
    /* Another one, for the slab's thread. */
    _Alignas(64) uint64_t base; /* the slab's sequences: `window` from there on */
    uint64_t window;
    uint32_t hint;       /* a word of bits where a slot may be free, or the one behind the last */
    uint32_t ready;      /* slots whose memory is reserved */
    _Atomic uint8_t use; /* enum slab_use */
    uint8_t kept_at;     /* its place among the kept ones */
    uint16_t slab_class;
    const struct export_shape *shape;
    struct export_source *source; /* of the thread */
    struct slab_book *next, *previous;
    /* And lines for the bits: of a word both lie side by side, for each free looks at both. */
    struct book_word {
        _Atomic uint64_t live; /* written by the thread alone */
        _Atomic uint64_t gone;
    } bits[];
};
static_assert(sizeof(struct slab_book) == 128, "two cache lines");
static_assert(EXPORT_KEPT == UINT8_MAX + 1, "places of kept slabs");
static_assert(EXPORT_SLOTS_MOST <= UINT16_MAX && EXPORT_SLOTS_MOST / 64 <= UINT8_MAX, "slots and words");
static_assert(offsetof(struct slab_book, base) == 64, "what is written begins another cache line");

/* By the slab's thread, or with the heap's lock when it has none. */
static inline uint64_t book_live_now(const struct slab_book *book, uint32_t word)
{
    return atomic_load_explicit(&book->bits[word].live, memory_order_relaxed);
}
static inline void book_set_live(struct slab_book *book, uint32_t word, uint64_t live)
{
    atomic_store_explicit(&book->bits[word].live, live, memory_order_release);
    atomic_store_explicit(&book->shown[word], live, memory_order_release);
}

/* The same when a block goes: then the copy is first, for as soon as nothing is live the slab may be lost,
 * and the memory another's. */
static inline void book_clear_live(struct slab_book *book, uint32_t word, uint64_t live)
{
    atomic_store_explicit(&book->shown[word], live, memory_order_release);
    atomic_store_explicit(&book->bits[word].live, live, memory_order_release);
}

/* Are so many of the first `slots` vacant? What others have freed is not until it is folded in. */
bool book_has_vacant(const struct slab_book *book, uint32_t slots, uint32_t wanted);

/* Can a block with that sequence be noted in the slab? */
static inline bool book_is_in_window(const struct slab_book *book, uint64_t sequence)
{
    return sequence - book->base < book->window;
}

static inline enum slab_use book_use(const struct slab_book *book)
{
    return (enum slab_use)atomic_load_explicit(&book->use, memory_order_relaxed);
}

static inline struct export_slab *book_slab(const struct slab_book *book)
{
    return (void *)((unsigned char *)book->shown - offsetof(struct export_slab, bits));
}

/* A number that no other thread has or had; BOOK_NO_MARK: the thread has never taken a slot. */
#define BOOK_NO_MARK UINT64_C(1)
extern INTERNAL _Thread_local uint64_t book_mark;
uint64_t book_make_mark(void);
static inline uint64_t book_this_thread(void)
{
    return LIKELY(book_mark != BOOK_NO_MARK) ? book_mark : book_make_mark();
}

/* The slot whose block begins at the pointer, which may be any; book->slots: there is none. */
static inline uint32_t book_slot_of(const struct slab_book *book, const void *pointer)
{
    const uint64_t inside = (uint64_t)((const unsigned char *)pointer - book->data);
    const uint32_t slot = export_slot_of(book->inverse, inside); /* if inside is no such thing, any number */
    return LIKELY(slot < book->slots && (uint64_t)slot * book->slot_bytes == inside) ? slot : book->slots;
}

/* With the heap locked. Its bits are zero. NULL: no memory. */
struct slab_book *book_new(shmcore_segment *segment, const struct export_shape *shape);
void book_drop(shmcore_segment *segment, struct slab_book *book);
/* The same: from now on it is the book of this slab. */
void book_describe(struct slab_book *book, struct export_slab *slab);

/* With the heap locked: what lies in these quanta is the slab of this book, or of none (NULL). */
void book_enter(shmcore_segment *segment, uint32_t first, uint32_t count, struct slab_book *book);

/* The books of the segment that was opened first: most processes have no other. */
struct book_shelf {
    uintptr_t from;
    _Atomic uintptr_t bytes;            /* of the segment; 0: there are no books. Stored last */
    _Atomic(struct slab_book *) *books; /* [quantum] */
};
extern INTERNAL struct book_shelf book_shelf;

/* The book of the slab there that the pointer lies in; NULL: it lies in none of this process's. */
static inline struct slab_book *book_at_once(const void *pointer)
{
    const uintptr_t bytes = atomic_load_explicit(&book_shelf.bytes, memory_order_acquire);
    const uintptr_t inside = (uintptr_t)pointer - book_shelf.from;
    return LIKELY(inside < bytes)
               ? atomic_load_explicit(&book_shelf.books[inside >> QUANTUM_SHIFT], memory_order_acquire)
               : NULL;
}

/* Nobody uses them any more: the segment is closed, or this is a forked child, whose parent's they are. */
void book_forget_all(shmcore_segment *segment);

#endif

/* SPDX-License-Identifier: MIT
 *
 * Exported blocks that can be had and given back in a moment: slots of a slab that the calling thread takes
 * slots from. Inline, and every instruction counts: each malloc() and free() that is routed comes by. What
 * has to be called is beside it: slots further on, and slots of other threads, which are given back with one
 * atomic operation.
 *
 * What is not at hand is refused, and nothing is done then: the caller asks export.h.
 */
#ifndef SHM_EXPORT_AT_ONCE_H
#define SHM_EXPORT_AT_ONCE_H

#include "export_book.h"
#include "slab_class.h"

/* The slot is vacant, and `live` is its word of bits. Readers see the info with the live bit. */
static inline void *export_take_slot(struct slab_book *book, uint32_t slot, uint64_t live, uint64_t delta,
                                     size_t bytes)
{
    const uint32_t info = export_make_info(book->slack_bits, delta, book->slot_bytes - bytes);
    atomic_store_explicit(&book->infos[slot], info, memory_order_relaxed);
    live |= (uint64_t)1 << slot % 64;
    book_set_live(book, slot / 64, live);
    book->hint = slot / 64 + (~live == 0); /* the next word, when this one is full */
    return book->data + (size_t)slot * book->slot_bytes;
}

/* From the slab in use for less than SLOT_BYTES_END bytes; nothing is zeroed, and *sequence is one more then.
 * NULL: there may be one further on, see export_take_further_on(). */
static inline void *export_take(const struct export_source *source, uint64_t *sequence, size_t bytes)
{
    struct slab_book *book = source->slab[slab_data_class_small(bytes)];
    if (UNLIKELY(book == NULL))
        return NULL;
    const uint32_t word = book->hint;
    const uint64_t live = book_live_now(book, word), delta = *sequence - book->base;
    if (UNLIKELY(~live == 0 || delta >= book->window))
        return NULL;
    const uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(~live);
    if (UNLIKELY(slot >= book->ready)) /* or there is no such slot: the last word has too many bits */
        return NULL;
    ++*sequence;
    return export_take_slot(book, slot, live, delta, bytes);
}

enum export_given {
    EXPORT_REFUSED, /* it may be anything */
    EXPORT_GIVEN,
    EXPORT_GIVEN_LAST /* and export_emptied() is to be called with the pointer */
};

/* To a slab that has the calling thread. */
static inline enum export_given export_give_to(struct slab_book *book, const void *pointer)
{
    const uint32_t slot = book_slot_of(book, pointer), word = slot / 64;
    if (UNLIKELY(slot >= book->slots))
        return EXPORT_REFUSED;
    const uint64_t bit = (uint64_t)1 << slot % 64, live = book_live_now(book, word);
    const uint64_t alive = live & ~atomic_load_explicit(&book->bits[word].gone, memory_order_relaxed);
    if (UNLIKELY((alive & bit) == 0))
        return EXPORT_REFUSED;
    book_clear_live(book, word, live & ~bit);
    if (alive != bit)
        return EXPORT_GIVEN;
    /* Only now: so where the next slot is taken from has not to wait for where the pointer led. */
    const uint32_t hint = book->hint;
    const enum slab_use use = book_use(book);
    book->hint = word;
    return LIKELY(use == SLAB_KEPT || (use == SLAB_LASTING && word == hint)) ? EXPORT_GIVEN
                                                                             : EXPORT_GIVEN_LAST;
}

static inline enum export_given export_give(const void *pointer)
{
    struct slab_book *book = book_at_once(pointer);
    if (UNLIKELY(book == NULL || atomic_load_explicit(&book->thread, memory_order_relaxed) != book_mark))
        return EXPORT_REFUSED;
    return export_give_to(book, pointer);
}

/* To a slab of this process that has another thread, or none. EXPORT_GIVEN or EXPORT_REFUSED; errno is kept.
 */
enum export_given export_give_to_another(const void *pointer);

/* How many bytes has the live block at the pointer, which is in a slab that has the calling thread? *resized:
 * and it is `bytes` long now, where it is; else it has to move. 0: it may be anything. */
size_t export_resize_at_once(void *pointer, size_t bytes, bool *resized);

/* A slot elsewhere in the slab in use. NULL: ask export_allocate(). */
void *export_take_further_on(const struct export_source *source, uint64_t *sequence, size_t bytes);

/* The slab that the pointer lies in may be empty, and may go. errno is kept. */
void export_emptied(const void *pointer);

#endif

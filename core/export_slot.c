/* SPDX-License-Identifier: MIT
 *
 * Slots of the slabs that this process has: a thread takes and gives back those of its own slabs with plain
 * loads and stores, and says of others that they are gone. See export_slab.c for what becomes of the slabs
 * then.
 */
#include <string.h>

#include "export.h"
#include "export_own.h"
#include "export_slots.h"

/* ---------------------------------------------------------------- taking */

static inline uint32_t free_slot_in(struct slab_book *book, uint32_t word)
{
    const uint64_t vacant = ~book_live_now(book, word);
    return LIKELY(vacant != 0) ? word * 64 + (uint32_t)__builtin_ctzll(vacant) : book->shape->slots;
}

static NEVER_INLINE uint32_t free_slot_further_on(struct slab_book *book)
{
    const struct export_shape *shape = book->shape;
    for (uint32_t i = 1; i < shape->words; i++) {
        const uint32_t at = book->hint + i, word = at < shape->words ? at : at - shape->words;
        const uint32_t slot = free_slot_in(book, word);
        if (slot < shape->slots) {
            book->hint = word;
            return slot;
        }
    }
    return shape->slots;
}

/* In the word of the hint, or after it, or before it; shape->slots when there is none. */
static inline uint32_t free_slot(struct slab_book *book)
{
    const uint32_t slot = free_slot_in(book, book->hint);
    return LIKELY(slot < book->shape->slots) ? slot : free_slot_further_on(book);
}

/* The slot is vacant, and `live` the word of bits that it has one in. Readers see the info with the live bit.
 */
static inline void *take_slot(struct slab_book *book, uint32_t slot, uint32_t word, uint64_t live,
                              uint64_t delta, size_t bytes)
{
    const struct export_shape *shape = book->shape;
    struct export_slab *slab = book->slab;
    const uint32_t slot_bytes = shape->slot_bytes;
    atomic_store_explicit(export_info(slab, shape, slot), export_make_info(shape, delta, slot_bytes - bytes),
                          memory_order_relaxed);
    book_set_live(book, word, live | (uint64_t)1 << slot % 64);
    book->used++;
    return (unsigned char *)slab + shape->data + (size_t)slot_bytes * slot;
}

static inline void *take_any(struct slab_book *book, uint32_t slot, uint64_t sequence, size_t bytes)
{
    return take_slot(book, slot, slot / 64, book_live_now(book, slot / 64), sequence - book->base, bytes);
}

static NEVER_INLINE void *take_further_on(struct export_source *source, uint32_t slab_class,
                                          uint64_t *sequence, size_t bytes)
{
    struct slab_book *book = source->slab[slab_class];
    if (book == NULL || book->used >= book->shape->slots || !book_is_in_window(book, *sequence))
        return NULL;
    const uint32_t slot = free_slot(book);
    if (slot >= book->ready)
        return NULL;
    return take_any(book, slot, (*sequence)++, bytes);
}

/* Every instruction counts here: each malloc() that is routed comes by. What is not at hand is looked for by
 * a jump, so nothing is kept on the stack for it. */
void *export_take(struct export_source *source, uint32_t slab_class, uint64_t *sequence, size_t bytes)
{
    struct slab_book *book = source->slab[slab_class];
    if (UNLIKELY(book == NULL))
        return NULL;
    const uint32_t word = book->hint;
    const uint64_t live = book_live_now(book, word), delta = *sequence - book->base;
    if (UNLIKELY(~live == 0 || delta >= book->window))
        return take_further_on(source, slab_class, sequence, bytes);
    const uint32_t slot = word * 64 + (uint32_t)__builtin_ctzll(~live);
    if (UNLIKELY(slot >= book->ready)) /* or there is no such slot: the last word has too many bits */
        return take_further_on(source, slab_class, sequence, bytes);
    ++*sequence;
    return take_slot(book, slot, word, live, delta, bytes);
}

static struct slab_book *with_free_slot(shmcore_segment *segment, struct export_source *source,
                                        uint32_t slab_class, uint64_t sequence, unsigned flags)
{
    struct slab_book *book = source->slab[slab_class];
    if (book == NULL || book->used >= book->shape->slots || !book_is_in_window(book, sequence))
        book = own_next_slab(segment, source, slab_class, sequence, flags);
    return book;
}

void *own_allocate_slot(shmcore_segment *segment, struct export_source *source, uint64_t sequence,
                        uint32_t slab_class, size_t bytes, unsigned flags)
{
    struct slab_book *book = with_free_slot(segment, source, slab_class, sequence, flags);
    if (UNLIKELY(book == NULL))
        return NULL;
    const uint32_t slot = free_slot(book);
    if (UNLIKELY(slot >= book->ready) && !own_make_ready(segment, book, slot))
        return NULL;
    void *pointer = take_any(book, slot, sequence, bytes);
    if ((flags & EXPORT_ZERO) != 0)
        memset(pointer, 0, bytes);
    return pointer;
}

/* ---------------------------------------------------------------- giving back */

/* The slot whose block begins at the pointer; shape->slots: there is none. */
static inline uint32_t slot_of(const struct slab_book *book, const void *pointer)
{
    const struct export_shape *shape = book->shape;
    const uint64_t inside = (uint64_t)((const unsigned char *)pointer - (const unsigned char *)book->slab);
    const uint32_t slot = export_slot_of(shape, inside - shape->data);
    return LIKELY(inside >= shape->data && slot < shape->slots &&
                  inside == shape->data + (uint64_t)slot * shape->slot_bytes)
               ? slot
               : shape->slots;
}

bool own_slot_is_alive(struct slab_book *book, const void *pointer, uint32_t *slot)
{
    const uint32_t at = *slot = slot_of(book, pointer);
    return at < book->shape->slots &&
           (atomic_load(book_live_word(book, at / 64)) & ~atomic_load(book_gone_word(book, at / 64)) &
            (uint64_t)1 << at % 64) != 0;
}

static NEVER_INLINE bool given_last(shmcore_segment *segment, struct slab_book *book)
{
    own_slab_emptied(segment, book);
    return true;
}

bool export_give(const void *pointer)
{
    shmcore_segment *segment = segment_of_pointer_at_once(pointer);
    if (UNLIKELY(segment == NULL))
        return false;
    struct slab_book *book = book_at(segment, view_offset(&segment->file.view, pointer));
    const uint64_t thread = book_mark; /* 0: it has no slab, and no slab has it */
    if (UNLIKELY(book == NULL || thread == 0 ||
                 atomic_load_explicit(&book->thread, memory_order_relaxed) != thread))
        return false;
    const uint32_t slot = slot_of(book, pointer), word = slot / 64;
    if (UNLIKELY(slot >= book->shape->slots))
        return false;
    const uint64_t bit = (uint64_t)1 << slot % 64, live = book_live_now(book, word);
    const uint64_t alive = live & ~atomic_load_explicit(book_gone_word(book, word), memory_order_relaxed);
    if (UNLIKELY((alive & bit) == 0))
        return false;
    book_set_live(book, word, live & ~bit);
    book->hint = word;
    book->used--;
    return LIKELY(alive != bit || book->source->slab[book->slab_class] == book) || given_last(segment, book);
}

/* The slab's own gone bit is set before the book's, and cleared before it. As soon as the book's is set the
 * slot may be folded in and taken again. */
bool own_free_slot(shmcore_segment *segment, struct slab_book *book, const void *pointer)
{
    uint32_t slot;
    if (UNLIKELY(!own_slot_is_alive(book, pointer, &slot)))
        return false;
    const uint32_t word = slot / 64;
    const uint64_t bit = (uint64_t)1 << slot % 64;
    atomic_fetch_or(export_gone_word(book->slab, book->shape, word), bit);
    const uint64_t gone = atomic_fetch_or(book_gone_word(book, word), bit);
    const uint64_t live = atomic_load(book_live_word(book, word));
    if (UNLIKELY((gone & bit) != 0))
        return false; /* another thread was first */
    const uint32_t state = atomic_load(&book->state);
    const bool is_last = (gone | bit) == live; /* of the word */
    if (state == SLAB_ACTIVE ? is_last && !atomic_load(&book->in_use) : state == SLAB_FULL || is_last)
        own_slab_freed(segment, book, pointer, state);
    return true;
}

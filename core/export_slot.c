/* SPDX-License-Identifier: MIT
 *
 * Slots of the slabs that this process has: a thread takes and gives back those of its own slabs with plain
 * loads and stores (export_at_once.h), and says of others that they are gone. See export_turns.c for what
 * becomes of the slabs then.
 */
#include <string.h>

#include "export_at_once.h"
#include "export_own.h"

/* With a vacant slot in so many, what is in use is gone through from the beginning. */
#define ROUND_AGAIN 16u

/* ---------------------------------------------------------------- taking */

/* The first one from a word on; book->slots: there is none. */
static uint32_t vacant_slot(const struct slab_book *book, uint32_t word)
{
    for (; word < book->words; word++) {
        const uint64_t vacant = ~book_live_now(book, word);
        if (vacant != 0)
            return (uint32_t)least(word * 64 + (uint32_t)__builtin_ctzll(vacant), book->slots);
    }
    return book->slots;
}

/* From the word of the hint on, and round. But before a slot that has no memory yet come those that were
 * given back, once there are several to a word: so what is in use stays together. book->slots when there is
 * none. */
static uint32_t free_slot(const struct slab_book *book)
{
    const uint32_t slot = vacant_slot(book, book->hint);
    if (slot < book->ready)
        return slot;
    if (slot == book->slots || book_has_vacant(book, book->ready, book->ready / ROUND_AGAIN))
        return vacant_slot(book, 0);
    return slot;
}

static void *take_any(struct slab_book *book, uint32_t slot, uint64_t sequence, size_t bytes)
{
    return export_take_slot(book, slot, book_live_now(book, slot / 64), sequence - book->base, bytes);
}

/* The same for a block with that sequence; book->slots, too, when it cannot be noted there. */
static uint32_t slot_for(const struct slab_book *book, uint64_t sequence)
{
    return LIKELY(book_is_in_window(book, sequence)) ? free_slot(book) : book->slots;
}

void *export_take_further_on(const struct export_source *source, uint64_t *sequence, size_t bytes)
{
    struct slab_book *book = source->slab[slab_data_class_small(bytes)];
    if (book == NULL)
        return NULL;
    const uint32_t slot = slot_for(book, *sequence);
    return slot < book->ready ? take_any(book, slot, (*sequence)++, bytes) : NULL;
}

void *own_allocate_slot(shmcore_segment *segment, struct export_source *source, uint64_t sequence,
                        uint32_t slab_class, size_t bytes, unsigned flags)
{
    struct slab_book *book = source->slab[slab_class];
    uint32_t slot = book != NULL ? slot_for(book, sequence) : 0;
    if (book == NULL || slot == book->slots) {
        book = own_next_slab(segment, source, slab_class, sequence, flags);
        if (UNLIKELY(book == NULL))
            return NULL;
        slot = free_slot(book);
    }
    if (UNLIKELY(slot >= book->ready) && !own_make_ready(segment, book, slot))
        return NULL;
    void *pointer = take_any(book, slot, sequence, bytes);
    if ((flags & EXPORT_ZERO) != 0)
        memset(pointer, 0, bytes);
    return pointer;
}

/* ---------------------------------------------------------------- resizing */

/* Half of the slot is to be used, or there is a better one. */
bool own_resize_slot(_Atomic uint32_t *info, uint32_t slack_bits, uint32_t slot_bytes, size_t bytes)
{
    if (bytes > slot_bytes || bytes < slot_bytes / 2)
        return false;
    const uint64_t delta = atomic_load_explicit(info, memory_order_relaxed) >> slack_bits;
    atomic_store_explicit(info, export_make_info(slack_bits, delta, slot_bytes - bytes),
                          memory_order_relaxed);
    return true;
}

size_t export_resize_at_once(void *pointer, size_t bytes, bool *resized)
{
    struct slab_book *book = book_at_once(pointer);
    uint32_t slot;
    *resized = false;
    if (book == NULL || atomic_load_explicit(&book->thread, memory_order_relaxed) != book_mark ||
        !own_slot_is_alive(book, pointer, &slot))
        return 0;
    *resized = own_resize_slot(&book->infos[slot], book->slack_bits, book->slot_bytes, bytes);
    return book->slot_bytes;
}

/* ---------------------------------------------------------------- giving back */

void export_emptied(const void *pointer)
{
    shmcore_segment *segment = segment_of_pointer(pointer);
    struct slab_book *book =
        segment != NULL ? own_book(segment, view_offset(&segment->file.view, pointer)) : NULL;
    if (book != NULL && atomic_load(&book->thread) == book_mark)
        own_slab_emptied(segment, book);
}

/* Sets the gone bit, the slab's before the book's: with one atomic operation, since that is what it costs to
 * free. A word of the slab's that was composed of bits that have changed is composed anew. *gone: the bits of
 * the word that were set before. False: another thread was first. */
static bool set_gone(struct slab_book *book, uint32_t word, uint64_t bit, uint64_t *gone)
{
    *gone = atomic_load_explicit(&book->bits[word].gone, memory_order_relaxed);
    do {
        if (UNLIKELY((*gone & bit) != 0))
            return false;
        atomic_store_explicit(&book->shown[book->words + word], *gone | bit, memory_order_relaxed);
    } while (UNLIKELY(!atomic_compare_exchange_weak(&book->bits[word].gone, gone, *gone | bit)));
    return true;
}

/* As soon as the book's bit is set the slot may be folded in and taken again, and the slab may be gone and
 * its book another one's: from then on only what is atomic is read of it, and may be wrong. The line that the
 * slab's thread writes is not read. */
static bool give_to_another(struct slab_book *book, const void *pointer)
{
    uint32_t slot;
    uint64_t gone;
    if (UNLIKELY(!own_slot_is_alive(book, pointer, &slot)))
        return false;
    const uint32_t words = book->words, word = slot / 64;
    const uint64_t bit = (uint64_t)1 << slot % 64;
    if (UNLIKELY(!set_gone(book, word, bit, &gone)))
        return false;
    const uint64_t live = atomic_load(&book->bits[word].live);
    const uint32_t state = atomic_load(&book->state);
    const bool is_last = (gone | bit) == live; /* of the word */
    if (state == SLAB_ACTIVE ? is_last && atomic_load(&book->use) == SLAB_NOT_IN_USE
                             : state == SLAB_FULL || is_last)
        own_slab_freed(book, words, pointer, state);
    return true;
}

enum export_given export_give_to_another(const void *pointer)
{
    struct slab_book *book = book_at_once(pointer);
    return LIKELY(book != NULL && give_to_another(book, pointer)) ? EXPORT_GIVEN : EXPORT_REFUSED;
}

bool own_free_slot(shmcore_segment *segment, struct slab_book *book, const void *pointer)
{
    if (atomic_load_explicit(&book->thread, memory_order_relaxed) != book_mark)
        return give_to_another(book, pointer);
    const enum export_given given = export_give_to(book, pointer);
    if (UNLIKELY(given == EXPORT_GIVEN_LAST))
        own_slab_emptied(segment, book);
    return given != EXPORT_REFUSED;
}

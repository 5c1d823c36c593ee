/* SPDX-License-Identifier: MIT
 *
 * A slab of exported blocks is in one of five states:
 *   ACTIVE   it has a thread, which takes slots and gives them back with plain loads and stores
 *   SPARE    it has a thread that is not using it; others freed all that was in it
 *   LOST     the same, and it is none any more: there were enough spare ones, and others can have its memory.
 *            What is left is its book, in the thread's ring
 *   FULL     it has none, and no free slot; in no list
 *   PARTIAL  it has none, and free slots; in the list of its label and size
 *
 * Who frees a slot and is not its thread sets the gone bit and then looks at the state. FULL → PARTIAL and
 * PARTIAL → gone are made under the heap's lock. A thread that lets go of a slab says FULL first and looks at
 * the gone bits once more: so either it sees a slot freed meanwhile, or whoever freed it sees FULL.
 *
 * A thread that is going to use one of its slabs says so (book->use) and then looks whether it is ACTIVE; who
 * puts it away says SPARE and then looks whether it is in use, or not empty any more. Where one thread
 * allocates and another frees, slabs come and go all the time, so some stay; where many threads take turns at
 * that, each leaves behind what the next one needs.
 *
 * The slabs of one source and class are a ring. When the one in use is full, the next few are looked at,
 * where a slot may have been given back since; so each comes up for another look the longest after it was
 * used, with as much room as can be, and giving back a slot moves nothing. One that has next to none is
 * passed over: whoever went there would have to go on at once, and that takes longer than the block.
 *
 * The one in use stays when it is empty. But programs have thousands of call sites that make a block now and
 * then, and the pages of all their slabs would be more than what is in use: so a thread keeps a fixed number
 * of empty ones. The hot path asks when the last block of a word of bits goes, of a slab that is not kept
 * yet; but not of the same word time and again, when the slab was LASTING then.
 */
#include <errno.h>
#include <string.h>

#include "export_own.h"
#include "export_slots.h"

/* Slabs of the ring that are looked at before another one is made: there may be many, and all full. */
#define LOOKS_MOST  8u
/* A slab that is gone to has one slot in so many to give. */
#define ROOM_LEAST  32u
/* Memory of spare slabs, all in all: what a thread that has stopped allocating may keep from others. */
#define SPARE_BYTES (512 * KIBI)

/* ---------------------------------------------------------------- slabs without a thread */

static struct slab_book **list_of(shmcore_segment *segment, uint32_t label, uint32_t slab_class)
{
    return &segment->exports.partial[hash_mix((uint64_t)label << 32 | slab_class) % EXPORT_BINS];
}

static void list_push(shmcore_segment *segment, struct slab_book *book)
{
    struct slab_book **head = list_of(segment, book->label, book->slab_class);
    book->previous = NULL;
    book->next = *head;
    if (book->next != NULL)
        book->next->previous = book;
    *head = book;
}

static void list_drop(shmcore_segment *segment, struct slab_book *book)
{
    if (book->previous != NULL)
        book->previous->next = book->next;
    else
        *list_of(segment, book->label, book->slab_class) = book->next;
    if (book->next != NULL)
        book->next->previous = book->previous;
}

/* Those whose window is over stay in the list until they are empty. */
static struct slab_book *list_take(shmcore_segment *segment, uint32_t label, uint32_t slab_class,
                                   uint64_t sequence)
{
    struct slab_book *book = *list_of(segment, label, slab_class);
    while (book != NULL &&
           (book->label != label || book->slab_class != slab_class || !book_is_in_window(book, sequence)))
        book = book->next;
    if (book != NULL)
        list_drop(segment, book);
    return book;
}

/* With the heap locked: it is empty, and in no list and no ring. The result is for regions_return(). */
static struct region_run remove_slab(shmcore_segment *segment, struct slab_book *book)
{
    const struct region_run run = own_give_up_slab(segment, book);
    book_drop(segment, book);
    return run;
}

/* ---------------------------------------------------------------- slots */

static bool no_bits(struct slab_book *book, uint32_t words)
{
    for (uint32_t word = 0; word < words; word++)
        if ((atomic_load(&book->bits[word].live) & ~atomic_load(&book->bits[word].gone)) != 0)
            return false;
    return true;
}

static bool is_empty(struct slab_book *book)
{
    return no_bits(book, book->words);
}

/* Folds in what others have freed; was there anything? By the slab's thread, or with the heap's lock when it
 * has none. The slab's gone bits are cleared after the book's: who had composed a word of them before sees by
 * the book's that he has to compose it anew, or was done before these are cleared. */
static bool take_back(struct slab_book *book)
{
    bool any = false;
    for (uint32_t word = 0; word < book->words; word++) {
        const uint64_t gone = atomic_load(&book->bits[word].gone), live = book_live_now(book, word);
        if (gone == 0)
            continue;
        book_set_live(book, word, live & ~gone);
        atomic_fetch_and(&book->bits[word].gone, ~gone);
        atomic_fetch_and(export_gone_word(book_slab(book), book->shape, word), ~gone);
        book->hint = word;
        any = true;
    }
    return any;
}

static bool has_vacant(const struct slab_book *book, uint64_t sequence)
{
    return book_is_in_window(book, sequence) &&
           book_has_vacant(book, book->slots, (uint32_t)most(book->slots / ROOM_LEAST, 1));
}

/* Has it enough slots for sequences from there on, perhaps after a look at what others have freed? An empty
 * one gets a new window. By its thread. */
static bool has_room(struct slab_book *book, uint64_t sequence)
{
    if (is_empty(book))
        book_slab(book)->base = book->base = sequence;
    return has_vacant(book, sequence) || (take_back(book) && has_vacant(book, sequence));
}

/* ---------------------------------------------------------------- rings */

/* In use from now on, and looked at last. */
static void ring_add(struct export_source *source, struct slab_book *book)
{
    struct slab_book *in_use = source->slab[book->slab_class];
    book->next = in_use != NULL ? in_use : book;
    book->previous = in_use != NULL ? in_use->previous : book;
    book->previous->next = book;
    book->next->previous = book;
    source->slab[book->slab_class] = book;
}

static void ring_drop(struct slab_book *book)
{
    struct slab_book **in_use = &book->source->slab[book->slab_class];
    book->previous->next = book->next;
    book->next->previous = book->previous;
    if (*in_use == book)
        *in_use = book->next != book ? book->next : NULL;
}

/* It is none of the kept ones any more; the caller says what it is then. */
static void forget_kept(struct slab_book *book)
{
    struct export_kept *kept = book->source->kept;
    if (kept != NULL && book_use(book) == SLAB_KEPT)
        kept->book[book->kept_at] = NULL;
}

/* With the heap locked. */
static void make_active(struct slab_book *book, struct export_source *source)
{
    take_back(book);
    book->source = source;
    atomic_store_explicit(&book->thread, book_this_thread(), memory_order_relaxed);
    atomic_store(&book->use, SLAB_IN_USE);
    atomic_store(&book->state, SLAB_ACTIVE);
    ring_add(source, book);
}

static uint64_t memory_of(const struct slab_book *book)
{
    return (uint64_t)book->slots * book->slot_bytes;
}

/* With the heap locked. */
static void make_known(shmcore_segment *segment, struct slab_book *book, enum slab_state state)
{
    if (atomic_load(&book->state) == SLAB_SPARE)
        segment->exports.spare_bytes -= memory_of(book);
    atomic_store(&book->state, state);
}

/* With the heap locked, by its thread: a slab that was lost leaves the ring. False: it is not lost. */
static bool clear_away_lost(shmcore_segment *segment, struct slab_book *book)
{
    if (atomic_load(&book->state) != SLAB_LOST)
        return false;
    ring_drop(book);
    book_drop(segment, book);
    return true;
}

/* Its thread is about to use it. False: it was lost, and is in the ring no more. */
static bool claim(shmcore_segment *segment, struct slab_book *book)
{
    forget_kept(book);
    atomic_store(&book->use, SLAB_IN_USE);
    if (LIKELY(atomic_load(&book->state) == SLAB_ACTIVE))
        return true;
    own_lock(segment); /* then it is settled what has become of it */
    const bool lost = clear_away_lost(segment, book);
    if (!lost)
        make_known(segment, book, SLAB_ACTIVE);
    own_unlock(segment);
    return !lost;
}

/* Without a thread from now on. With the heap locked. The result is for regions_return(). */
static struct region_run let_go(shmcore_segment *segment, struct slab_book *book)
{
    struct region_run run = {0, 0};
    if (clear_away_lost(segment, book))
        return run;
    ring_drop(book);
    forget_kept(book);
    atomic_store(&book->use, SLAB_NOT_IN_USE);
    atomic_store_explicit(&book->thread, 0, memory_order_relaxed);
    make_known(segment, book, SLAB_FULL);
    take_back(book);
    if (is_empty(book)) {
        run = remove_slab(segment, book);
    } else if (book_has_vacant(book, book->slots, 1)) {
        atomic_store(&book->state, SLAB_PARTIAL);
        list_push(segment, book);
    }
    return run;
}

/* By its thread. */
static void part_with(shmcore_segment *segment, struct slab_book *book)
{
    own_lock(segment);
    const struct region_run run = let_go(segment, book);
    own_unlock(segment);
    regions_return(segment, run);
}

/* If there are any, one of them is in use, and may have room again before the next look. */
static void keep_one_in_use(shmcore_segment *segment, struct slab_book *const *in_use)
{
    while (*in_use != NULL && !claim(segment, *in_use))
        continue;
}

COLD struct slab_book *own_next_slab(shmcore_segment *segment, struct export_source *source,
                                     uint32_t slab_class, uint64_t sequence, unsigned flags)
{
    struct slab_book *first = source->slab[slab_class], *book = first;
    for (uint32_t looks = 0; book != NULL && looks < LOOKS_MOST; looks++) {
        struct slab_book *next = book->next;
        if (claim(segment, book)) {
            if (has_room(book, sequence))
                return source->slab[slab_class] = book;
            atomic_store(&book->use, SLAB_NOT_IN_USE);
        }
        book = next;
        if (book == first)
            break;
    }
    if (book != NULL)
        source->slab[slab_class] = book;
    own_lock(segment);
    struct slab_book *found = list_take(segment, source->label, slab_class, sequence);
    if (found == NULL)
        found = own_make_slab(segment, source, slab_class, sequence, flags);
    if (found != NULL)
        make_active(found, source);
    own_unlock(segment);
    if (found == NULL)
        keep_one_in_use(segment, &source->slab[slab_class]);
    return found;
}

/* Its label stays with the blocks that it has made. */
void own_retire(shmcore_segment *segment, struct export_source *source)
{
    for (uint32_t c = 0; c < SLAB_DATA_CLASSES; c++)
        while (source->slab[c] != NULL)
            part_with(segment, source->slab[c]);
    if (source->label == 0)
        return;
    own_lock(segment);
    own_label_drop(segment, source->label);
    own_unlock(segment);
    source->label = 0;
}

/* ---------------------------------------------------------------- after a slot was freed */

/* The slab in use is empty, and stays: the next block may be wanted at once. Of so many that stay the one
 * goes that has for the longest, if it is empty still. */
static void keep(struct slab_book *book)
{
    struct export_kept *kept = book->source->kept;
    atomic_store_explicit(&book->use, SLAB_KEPT, memory_order_relaxed);
    if (kept == NULL)
        return;
    const uint32_t at = kept->turn++ % EXPORT_KEPT;
    struct slab_book *former = kept->book[at];
    kept->book[at] = book;
    book->kept_at = (uint8_t)at;
    if (former == NULL)
        return;
    shmcore_segment *segment = segment_of_pointer(former->data);
    struct slab_book *const *in_use = &former->source->slab[former->slab_class];
    atomic_store_explicit(&former->use, SLAB_IN_USE, memory_order_relaxed);
    if (segment == NULL || !is_empty(former))
        return;
    part_with(segment, former);
    keep_one_in_use(segment, in_use);
}

COLD void own_slab_emptied(shmcore_segment *segment, struct slab_book *book)
{
    const int kept_errno = errno;
    const enum slab_use use = book_use(book);
    const bool empty = is_empty(book);
    if (use == SLAB_NOT_IN_USE && empty)
        part_with(segment, book);
    else if ((use == SLAB_IN_USE || use == SLAB_LASTING) && empty)
        keep(book);
    else if (use == SLAB_IN_USE)
        atomic_store_explicit(&book->use, SLAB_LASTING, memory_order_relaxed);
    errno = kept_errno;
}

/* After a slot of a slab without a thread was freed. */
static COLD void slab_changed(shmcore_segment *segment, struct slab_book *book, const void *pointer)
{
    const int kept_errno = errno;
    struct region_run run = {0, 0};
    own_lock(segment);
    if (own_book(segment, view_offset(&segment->file.view, pointer)) ==
        book) { /* else another thread was first */
        if (atomic_load(&book->state) == SLAB_FULL) {
            atomic_store(&book->state, SLAB_PARTIAL);
            list_push(segment, book);
        }
        if (atomic_load(&book->state) == SLAB_PARTIAL && is_empty(book)) {
            list_drop(segment, book);
            run = remove_slab(segment, book);
        }
    }
    own_unlock(segment);
    regions_return(segment, run);
    errno = kept_errno;
}

/* With the heap locked. */
static struct region_run keep_or_lose(shmcore_segment *segment, struct slab_book *book)
{
    const struct region_run none = {0, 0};
    atomic_store(&book->state, SLAB_SPARE);
    segment->exports.spare_bytes += memory_of(book);
    /* not empty: it was in use after it was looked at, and before it was called spare */
    if (atomic_load(&book->use) != SLAB_NOT_IN_USE || !is_empty(book)) {
        make_known(segment, book, SLAB_ACTIVE);
        return none;
    }
    if (segment->exports.spare_bytes <= SPARE_BYTES)
        return none;
    make_known(segment, book, SLAB_LOST);
    return own_give_up_slab(segment, book);
}

/* Another thread's slab, perhaps with nothing alive in it: that thread may not come to look for long. */
static COLD void put_away(shmcore_segment *segment, struct slab_book *book, const void *pointer)
{
    const int kept_errno = errno;
    struct region_run run = {0, 0};
    own_lock(segment);
    if (own_book(segment, view_offset(&segment->file.view, pointer)) == book &&
        atomic_load(&book->state) == SLAB_ACTIVE && book_slab(book)->touched == 0 && is_empty(book))
        run = keep_or_lose(segment, book);
    own_unlock(segment);
    regions_return(segment, run);
    errno = kept_errno;
}

COLD void own_slab_freed(struct slab_book *book, uint32_t words, const void *pointer, uint32_t state)
{
    shmcore_segment *segment = segment_of_pointer(pointer);
    if (segment == NULL)
        return;
    if (state != SLAB_ACTIVE)
        slab_changed(segment, book, pointer);
    else if (no_bits(book, words)) /* of the book nothing but that can be said by now */
        put_away(segment, book, pointer);
}

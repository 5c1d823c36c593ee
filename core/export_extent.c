/* SPDX-License-Identifier: MIT
 *
 * Extents of this process: exported blocks from SLOT_BYTES_END on, and what slabs and labels lie in. What is
 * free is kept for reuse, for zeroing is far cheaper than giving back and faulting in again: up to one
 * watermark for as long as the process lives, up to a higher one for a second, so that a program that makes
 * and frees a large block over and over has its pages again. The rest goes back to the pool, region by
 * region. There is no clock but that of the next call: who frees nothing any more keeps what there is, up to
 * the higher watermark.
 *
 * The few that were freed last are at *hand*: as they were, for who asks for as much. To merge them with what
 * is free beside them and to cut them off again costs several times as much. When nothing else fits they go
 * the way of the others.
 */
#include "export_own.h"

#include <errno.h>
#include <string.h>

#include "inherited.h"
#include "os.h"

#define KEPT_ALWAYS  (64 * MEBI)  /* and at most an eighth of the segment, for there are others */
#define KEPT_A_WHILE (128 * MEBI) /* a quarter */
#define WHILE        UINT64_C(1000000000)
#define AT_HAND      (4 * MEBI) /* each, and at most one part in 64 of the segment */

static struct transaction direct(const shmcore_segment *segment)
{
    return (struct transaction){.base = segment->file.view.base};
}

static struct heap heap_of(shmcore_segment *segment, struct transaction *transaction)
{
    return (struct heap){.view = &segment->file.view,
                         .bins = &segment->exports.bins,
                         .transaction = transaction,
                         .owner = OWNER_PROCESS + segment->row};
}

void own_lock(shmcore_segment *segment)
{
    pthread_mutex_lock(&segment->exports.lock);
}

void own_unlock(shmcore_segment *segment)
{
    pthread_mutex_unlock(&segment->exports.lock);
}

static bool is_usable(const shmcore_segment *segment)
{
    if (LIKELY(!segment->exports.damaged))
        return true;
    error_set(EIO, "this process's part of segment '%s' is damaged and out of use", segment->file.name);
    return false;
}

static uint64_t kept_bytes(const shmcore_segment *segment)
{
    return (segment->exports.bins.free_quanta + segment->exports.hand_quanta) << QUANTUM_SHIFT;
}

static bool keeps_much(const shmcore_segment *segment)
{
    return kept_bytes(segment) > least(KEPT_ALWAYS, segment->file.view.capacity / 8);
}

/* A change without a log cannot be taken back: a heap that turns out to be damaged is not used again. */
static uint32_t take_here(shmcore_segment *segment, uint32_t count, uint32_t alignment)
{
    struct transaction transaction = direct(segment);
    const struct heap heap = heap_of(segment, &transaction);
    const uint32_t first = heap_take(&heap, count, alignment, QUANTUM_EXPORT_INNER);
    segment->exports.damaged |= transaction.damaged;
    if (UNLIKELY(segment->exports.much_since != 0) && !keeps_much(segment))
        segment->exports.much_since = 0; /* it is in use again */
    return is_usable(segment) ? first : 0;
}

static void add_here(shmcore_segment *segment, struct region_run run)
{
    struct transaction transaction = direct(segment);
    const struct heap heap = heap_of(segment, &transaction);
    const uint32_t each = view_region_quanta(heap.view);
    heap_add(&heap, (struct extent){run.first * each, run.count * each});
    segment->exports.damaged |= transaction.damaged;
}

/* With the heap locked: is it one still? Another thread may free it at the same moment. */
static bool is_block(const shmcore_segment *segment, uint32_t first)
{
    const struct quantum *entry = &segment->file.view.quanta[first];
    return LIKELY(atomic_load_explicit(&entry->kind, memory_order_relaxed) == QUANTUM_EXPORT);
}

/* ---------------------------------------------------------------- at hand */

/* The table of quanta is everybody's to scribble over; this is not. */
static uint32_t take_from_hand(shmcore_segment *segment, uint32_t count, uint32_t alignment)
{
    struct export_heap *exports = &segment->exports;
    for (uint32_t i = 0; i < EXPORT_HAND; i++) {
        const struct extent extent = exports->hand[i];
        if (extent.count != count || extent.first % alignment != 0)
            continue;
        exports->hand[i].count = 0;
        exports->hand_quanta -= count;
        segment->file.view.quanta[extent.first].owner = OWNER_PROCESS + segment->row;
        segment->file.view.quanta[extent.first].count = count;
        return extent.first;
    }
    return 0;
}

/* A vacant one, else that which was filled longest ago. */
static struct extent *place_at_hand(struct export_heap *exports)
{
    for (uint32_t i = 0; i < EXPORT_HAND; i++)
        if (exports->hand[i].count == 0)
            return &exports->hand[i];
    return &exports->hand[exports->hand_next++ % EXPORT_HAND];
}

/* Returns which one is to be given back for it, or it itself when it cannot be kept; 0: none. */
static uint32_t keep_at_hand(shmcore_segment *segment, uint32_t first)
{
    struct export_heap *exports = &segment->exports;
    struct quantum *entry = &segment->file.view.quanta[first];
    const struct heap heap = heap_of(segment, NULL);
    const struct extent extent = {first, entry->count};
    if ((uint64_t)extent.count << QUANTUM_SHIFT > least(AT_HAND, segment->file.view.capacity / 64) ||
        exports->damaged || !heap_owns(&heap, extent))
        return first;
    struct extent *place = place_at_hand(exports);
    const struct extent displaced = *place;
    *place = extent;
    exports->hand_quanta += extent.count - displaced.count;
    own_publish(entry, QUANTUM_EXPORT_INNER);
    return displaced.count != 0 ? displaced.first : 0;
}

/* To the heap, to be merged. False: there was nothing. */
static bool empty_hand(shmcore_segment *segment)
{
    struct export_heap *exports = &segment->exports;
    struct transaction transaction = direct(segment);
    const struct heap heap = heap_of(segment, &transaction);
    if (exports->hand_quanta == 0 || exports->damaged)
        return false;
    for (uint32_t i = 0; i < EXPORT_HAND; i++) {
        if (exports->hand[i].count != 0)
            heap_give(&heap, exports->hand[i].first);
        exports->hand[i].count = 0;
    }
    exports->hand_quanta = 0;
    exports->damaged |= transaction.damaged;
    return !exports->damaged;
}

/* ---------------------------------------------------------------- */

uint32_t own_take_extent(shmcore_segment *segment, uint32_t count, uint32_t alignment)
{
    uint32_t first = is_usable(segment) ? take_here(segment, count, alignment) : 0;
    if (first == 0 && empty_hand(segment))
        first = take_here(segment, count, alignment);
    if (first != 0 || segment->exports.damaged)
        return first;
    const struct region_run run = regions_take(segment, count, alignment);
    if (run.count == 0)
        return 0;
    if (inherited_overlaps(segment, run)) { /* under copies that a parent left us: out of use while we live */
        regions_return(segment, run);
        error_set(ENOMEM, "the free part of segment '%s' lies under copies made by fork", segment->file.name);
        return 0;
    }
    add_here(segment, run);
    first = take_here(segment, count, alignment);
    if (first == 0 && !segment->exports.damaged)
        out_of_space(segment, (uint64_t)count << QUANTUM_SHIFT);
    return first;
}

/* Is more kept than may be, or has it been for too long? */
static bool keeps_too_much(shmcore_segment *segment)
{
    struct export_heap *exports = &segment->exports;
    if (!keeps_much(segment)) {
        exports->much_since = 0;
        return false;
    }
    const uint64_t now = os_clock();
    if (exports->much_since == 0)
        exports->much_since = now;
    return kept_bytes(segment) > least(KEPT_A_WHILE, segment->file.view.capacity / 4) ||
           now - exports->much_since >= WHILE;
}

/* What of a free extent can go back, when too much is kept. A forked child may still read there, in the place
 * of its own copy: then it stays. */
static struct region_run give_back(shmcore_segment *segment, const struct heap *heap, struct extent freed)
{
    const struct region_run none = {0, 0}, run = regions_inside(heap->view, freed);
    const uint32_t each = view_region_quanta(heap->view);
    if (heap->transaction->damaged || run.count == 0 || !keeps_too_much(segment) ||
        process_has_children(heap->view, segment->row))
        return none;
    heap_cut(heap, freed, (struct extent){run.first * each, run.count * each});
    pool_hand(heap->view, run, OWNER_RETURNING + segment->row); /* before a fork can look */
    return heap->transaction->damaged ? none : run;
}

struct region_run own_give_extent(shmcore_segment *segment, uint32_t first)
{
    if (segment->exports.damaged)
        return (struct region_run){0, 0};
    struct transaction transaction = direct(segment);
    const struct heap heap = heap_of(segment, &transaction);
    const struct extent freed = heap_give(&heap, first);
    const struct region_run run = give_back(segment, &heap, freed);
    segment->exports.damaged |= transaction.damaged;
    return run;
}

/* What was kept for a while and is old by now; count 0: there is nothing. */
static struct region_run give_some_back(shmcore_segment *segment)
{
    if (segment->exports.damaged || !keeps_too_much(segment))
        return (struct region_run){0, 0};
    struct transaction transaction = direct(segment);
    const struct heap heap = heap_of(segment, &transaction);
    const uint32_t each = view_region_quanta(heap.view);
    const struct region_run run = give_back(segment, &heap, heap_find(&heap, each, each));
    segment->exports.damaged |= transaction.damaged;
    return run;
}

/* ---------------------------------------------------------------- longer where it is */

static bool lengthen_here(shmcore_segment *segment, uint32_t first, uint32_t more)
{
    struct transaction transaction = direct(segment);
    const struct heap heap = heap_of(segment, &transaction);
    const bool longer = heap_lengthen(&heap, first, more);
    segment->exports.damaged |= transaction.damaged;
    return longer && !segment->exports.damaged;
}

static bool is_at_hand(const shmcore_segment *segment, uint32_t first)
{
    for (uint32_t i = 0; i < EXPORT_HAND; i++)
        if (segment->exports.hand[i].count != 0 && segment->exports.hand[i].first == first)
            return true;
    return false;
}

/* Regions that begin where what is free behind `end` ends, if nobody has them. */
static bool take_what_follows(shmcore_segment *segment, uint32_t end, uint32_t more)
{
    struct transaction transaction = direct(segment);
    const struct heap heap = heap_of(segment, &transaction);
    const uint32_t each = view_region_quanta(heap.view), free = heap_free_from(&heap, end).count;
    const struct region_run run = {(end + free) / each, (uint32_t)divide_up(more - free, each)};
    if ((end + free) % each != 0 || inherited_overlaps(segment, run) || !regions_take_these(segment, run))
        return false;
    add_here(segment, run);
    return true;
}

bool own_lengthen_extent(shmcore_segment *segment, uint32_t first, uint32_t count)
{
    own_lock(segment);
    const uint32_t now = segment->file.view.quanta[first].count, more = count - now;
    bool longer = is_usable(segment) && now < count && is_block(segment, first);
    if (longer && is_at_hand(segment, first + now))
        empty_hand(segment);
    longer = longer && (lengthen_here(segment, first, more) ||
                        (!segment->exports.damaged && take_what_follows(segment, first + now, more) &&
                         lengthen_here(segment, first, more)));
    own_unlock(segment);
    return longer;
}

/* ---------------------------------------------------------------- extents */

void own_publish(struct quantum *entry, enum quantum_kind kind)
{
    atomic_store_explicit(&entry->kind, (uint32_t)kind, memory_order_release);
}

void *own_allocate_extent(shmcore_segment *segment, const struct export_source *source, uint64_t sequence,
                          size_t bytes, size_t alignment, unsigned flags)
{
    const struct view *view = &segment->file.view;
    if (bytes > view->capacity || alignment > view->capacity) {
        out_of_space(segment, bytes);
        return NULL;
    }
    const uint32_t count = (uint32_t)most(divide_up(bytes, QUANTUM_BYTES), 1);
    const uint32_t aligned = (uint32_t)most(alignment >> QUANTUM_SHIFT, 1);
    own_lock(segment);
    uint32_t first = take_from_hand(segment, count, aligned);
    if (first == 0)
        first = own_take_extent(segment, count, aligned);
    if (first != 0)
        own_label_hold(segment, source->label);
    own_unlock(segment);
    if (first == 0)
        return NULL;
    const uint64_t offset = (uint64_t)first << QUANTUM_SHIFT;
    if ((flags & EXPORT_ZERO) != 0)
        space_zero_old(view, offset, bytes);
    if ((flags & EXPORT_TOUCH) == 0 && space_reserve(&segment->space, offset, most(bytes, 1)) != 0) {
        own_lock(segment);
        own_label_drop(segment, source->label);
        const struct region_run run = own_give_extent(segment, first);
        own_unlock(segment);
        regions_return(segment, run);
        space_refuse(&segment->space, bytes, segment->file.name);
        return NULL;
    }
    struct quantum *entry = &view->quanta[first];
    entry->label = source->label;
    entry->bytes = bytes;
    entry->sequence = sequence | export_quantum_flags(flags);
    own_publish(entry, QUANTUM_EXPORT);
    return view_at(view, offset);
}

void own_forget_touched(shmcore_segment *segment, uint32_t first, uint32_t count)
{
    space_give_back(&segment->space, (uint64_t)first << QUANTUM_SHIFT, (uint64_t)count << QUANTUM_SHIFT);
}

/* Memory that was only promised goes before anybody else can have the extent. */
static bool forget_if_touched(shmcore_segment *segment, uint32_t first)
{
    const struct quantum *entry = &segment->file.view.quanta[first];
    const struct heap heap = heap_of(segment, NULL);
    const struct extent extent = {first, entry->count};
    if ((entry->sequence & QUANTUM_TOUCHED) == 0)
        return true;
    if (!heap_owns(&heap, extent))
        return false;
    own_forget_touched(segment, first, extent.count);
    return true;
}

void own_free_extent(shmcore_segment *segment, uint32_t first)
{
    struct region_run run = {0, 0};
    const bool sound = forget_if_touched(segment, first);
    own_lock(segment);
    segment->exports.damaged |= !sound;
    if (is_block(segment, first)) {
        own_label_drop(segment, segment->file.view.quanta[first].label);
        const uint32_t given = keep_at_hand(segment, first);
        if (given != 0)
            run = own_give_extent(segment, given);
    }
    bool much = segment->exports.much_since != 0;
    own_unlock(segment);
    regions_return(segment, run);
    while (UNLIKELY(much)) {
        own_lock(segment);
        run = give_some_back(segment);
        own_unlock(segment);
        regions_return(segment, run);
        much = run.count != 0;
    }
}

/* SPDX-License-Identifier: MIT */
#include "heap.h"

/* A bin of several lengths is searched this far for a fit before a longer extent is split. */
#define SEARCH_LENGTH 32u

static struct quantum *at(const struct heap *heap, uint32_t quantum)
{
    return &heap->view->quanta[quantum];
}

static uint32_t kind_at(const struct heap *heap, uint32_t quantum)
{
    return atomic_load_explicit(&at(heap, quantum)->kind, memory_order_relaxed);
}

/* Lengths 1…16 have a bin each; then [2^k, 1.5·2^k) and [1.5·2^k, 2^(k+1)). */
static unsigned bin_of(uint32_t count)
{
    if (count <= 16)
        return count - 1;
    const unsigned power = log2_floor(count);
    const unsigned bin = 16 + 2 * (power - 4) + ((count >> (power - 1)) & 1);
    return bin < HEAP_BINS ? bin : HEAP_BINS - 1;
}

static void mark(const struct heap *heap, uint32_t quantum, enum quantum_kind kind, uint32_t count)
{
    struct quantum *entry = at(heap, quantum);
    UNDO_SET(heap->transaction, &entry->owner, heap->owner);
    UNDO_SET(heap->transaction, &entry->count, count);
    UNDO_PUBLISH(heap->transaction, &entry->kind, (uint32_t)kind);
}

static void unmark(const struct heap *heap, uint32_t quantum)
{
    UNDO_PUBLISH(heap->transaction, &at(heap, quantum)->kind, (uint32_t)QUANTUM_NONE);
}

static bool is_free_of_ours(const struct heap *heap, uint32_t quantum)
{
    return quantum < view_quantum_count(heap->view) &&
           view_quantum_belongs(heap->view, quantum, heap->owner) && kind_at(heap, quantum) == QUANTUM_FREE &&
           at(heap, quantum)->owner == heap->owner;
}

bool heap_owns(const struct heap *heap, struct extent extent)
{
    return extent.count != 0 && view_range_belongs(heap->view, extent.first, extent.count, heap->owner);
}

/* A free extent of ours that begins at `first`, both ends of which agree; count 0 when there is none. What
 * lies between is not looked at: see heap_owns(). */
static struct extent free_extent(const struct heap *heap, uint32_t first)
{
    const struct extent none = {0, 0};
    if (!is_free_of_ours(heap, first))
        return none;
    const uint32_t count = at(heap, first)->count, quanta = view_quantum_count(heap->view);
    if (count == 0 || count > quanta - first || !is_free_of_ours(heap, first + count - 1) ||
        at(heap, first + count - 1)->count != count)
        return none;
    return (struct extent){first, count};
}

/* The same for one that ends at `last`. */
static struct extent free_extent_before(const struct heap *heap, uint32_t last)
{
    const uint32_t count = at(heap, last)->count;
    return free_extent(heap, count <= last ? last + 1 - count : last);
}

/* May it be written to as a neighbour in a bin? */
static bool is_neighbour(const struct heap *heap, uint32_t quantum, unsigned bin)
{
    return quantum == 0 || (is_free_of_ours(heap, quantum) && bin_of(at(heap, quantum)->count) == bin);
}

static void link_free(const struct heap *heap, struct extent extent)
{
    struct heap_bins *bins = heap->bins;
    const unsigned bin = bin_of(extent.count);
    const uint32_t next = bins->head[bin];
    if (UNLIKELY(!is_neighbour(heap, next, bin))) {
        undo_damaged(heap->transaction);
        return;
    }
    mark(heap, extent.first, QUANTUM_FREE, extent.count);
    if (extent.count > 1)
        mark(heap, extent.first + extent.count - 1, QUANTUM_FREE, extent.count);
    UNDO_SET(heap->transaction, &at(heap, extent.first)->next, next);
    UNDO_SET(heap->transaction, &at(heap, extent.first)->previous, 0);
    if (next != 0)
        UNDO_SET(heap->transaction, &at(heap, next)->previous, extent.first);
    UNDO_SET(heap->transaction, &bins->head[bin], extent.first);
    UNDO_SET(heap->transaction, &bins->occupied, bins->occupied | (uint64_t)1 << bin);
    UNDO_SET(heap->transaction, &bins->free_quanta, bins->free_quanta + extent.count);
}

/* Out of its bin; its quanta say NONE afterwards. */
static void unlink_free(const struct heap *heap, struct extent extent)
{
    struct heap_bins *bins = heap->bins;
    const unsigned bin = bin_of(extent.count);
    const uint32_t next = at(heap, extent.first)->next, previous = at(heap, extent.first)->previous;
    if (UNLIKELY(!is_neighbour(heap, next, bin) || !is_neighbour(heap, previous, bin) ||
                 (previous == 0 && bins->head[bin] != extent.first))) {
        undo_damaged(heap->transaction);
        return;
    }
    if (next != 0)
        UNDO_SET(heap->transaction, &at(heap, next)->previous, previous);
    if (previous != 0)
        UNDO_SET(heap->transaction, &at(heap, previous)->next, next);
    else
        UNDO_SET(heap->transaction, &bins->head[bin], next);
    if (bins->head[bin] == 0)
        UNDO_SET(heap->transaction, &bins->occupied, bins->occupied & ~((uint64_t)1 << bin));
    UNDO_SET(heap->transaction, &bins->free_quanta, bins->free_quanta - extent.count);
    unmark(heap, extent.first);
    if (extent.count > 1)
        unmark(heap, extent.first + extent.count - 1);
}

struct extent heap_add(const struct heap *heap, struct extent run)
{
    if (is_free_of_ours(heap, run.first - 1)) {
        const struct extent left = free_extent_before(heap, run.first - 1);
        if (UNLIKELY(left.count == 0 || left.first + left.count != run.first)) {
            undo_damaged(heap->transaction);
            return run;
        }
        unlink_free(heap, left);
        run = (struct extent){left.first, left.count + run.count};
    }
    if (is_free_of_ours(heap, run.first + run.count)) {
        const struct extent right = free_extent(heap, run.first + run.count);
        if (UNLIKELY(right.count == 0)) {
            undo_damaged(heap->transaction);
            return run;
        }
        unlink_free(heap, right);
        run.count += right.count;
    }
    if (LIKELY(!heap->transaction->damaged))
        link_free(heap, run);
    return run;
}

/* What is asked of an extent: `count` quanta that begin at a multiple of `alignment` and end at `limit` at
 * the latest. */
struct wish {
    uint32_t count, alignment, limit;
};

static bool fits(struct extent extent, const struct wish *wish)
{
    const uint32_t first = (uint32_t)align_up(extent.first, wish->alignment);
    return extent.count >= wish->count && extent.count - wish->count >= first - extent.first &&
           first <= wish->limit && wish->count <= wish->limit - first;
}

static struct extent search_bin(const struct heap *heap, unsigned bin, const struct wish *wish)
{
    uint32_t first = heap->bins->head[bin];
    for (unsigned steps = 0; first != 0 && steps < SEARCH_LENGTH; steps++) {
        const struct extent extent = free_extent(heap, first);
        if (UNLIKELY(extent.count == 0 || bin_of(extent.count) != bin)) {
            undo_damaged(heap->transaction);
            break;
        }
        if (fits(extent, wish))
            return extent;
        first = at(heap, first)->next;
    }
    return (struct extent){0, 0};
}

static struct extent find_fit(const struct heap *heap, const struct wish *wish)
{
    for (unsigned bin = bin_of(wish->count); bin < HEAP_BINS; bin++) {
        const uint64_t occupied = heap->bins->occupied >> bin;
        if (occupied == 0)
            break;
        bin += (unsigned)__builtin_ctzll(occupied);
        const struct extent extent = search_bin(heap, bin, wish);
        if (extent.count != 0)
            return extent;
    }
    return (struct extent){0, 0};
}

struct extent heap_find(const struct heap *heap, uint32_t count, uint32_t alignment)
{
    const struct wish wish = {count, alignment, UINT32_MAX};
    const struct extent found = find_fit(heap, &wish);
    if (LIKELY(found.count == 0 || heap_owns(heap, found)))
        return found;
    undo_damaged(heap->transaction);
    return (struct extent){0, 0};
}

uint32_t heap_take(const struct heap *heap, uint32_t count, uint32_t alignment, enum quantum_kind kind)
{
    return heap_take_below(heap, count, alignment, kind, UINT32_MAX);
}

uint32_t heap_take_below(const struct heap *heap, uint32_t count, uint32_t alignment, enum quantum_kind kind,
                         uint32_t limit)
{
    const struct wish wish = {count, alignment, limit};
    const struct extent found = find_fit(heap, &wish);
    if (found.count == 0)
        return 0;
    const uint32_t first = (uint32_t)align_up(found.first, alignment);
    if (UNLIKELY(!heap_owns(heap, (struct extent){first, count})))
        undo_damaged(heap->transaction);
    else
        unlink_free(heap, found);
    if (UNLIKELY(heap->transaction->damaged))
        return 0;
    const uint32_t end = first + count, found_end = found.first + found.count;
    if (first > found.first)
        link_free(heap, (struct extent){found.first, first - found.first});
    if (found_end > end)
        link_free(heap, (struct extent){end, found_end - end});
    mark(heap, first, kind, count);
    return first;
}

/* The extent that is taken there, with no more than it says of itself; count 0: none of ours. */
static struct extent taken_extent(const struct heap *heap, uint32_t first)
{
    const struct extent extent = {first, first < view_quantum_count(heap->view) ? at(heap, first)->count : 0};
    if (UNLIKELY(!heap_owns(heap, extent) || kind_at(heap, first) == QUANTUM_FREE ||
                 kind_at(heap, first) == QUANTUM_NONE || at(heap, first)->owner != heap->owner)) {
        undo_damaged(heap->transaction);
        return (struct extent){0, 0};
    }
    return extent;
}

struct extent heap_free_from(const struct heap *heap, uint32_t quantum)
{
    return free_extent(heap, quantum);
}

bool heap_lengthen(const struct heap *heap, uint32_t first, uint32_t more)
{
    const struct extent extent = taken_extent(heap, first);
    const struct extent free = free_extent(heap, first + extent.count);
    if (extent.count == 0 || free.count < more)
        return false;
    if (UNLIKELY(!heap_owns(heap, (struct extent){free.first, more})))
        undo_damaged(heap->transaction);
    else
        unlink_free(heap, free);
    if (UNLIKELY(heap->transaction->damaged))
        return false;
    if (free.count > more)
        link_free(heap, (struct extent){free.first + more, free.count - more});
    UNDO_SET(heap->transaction, &at(heap, first)->count, extent.count + more);
    return true;
}

struct extent heap_give(const struct heap *heap, uint32_t first)
{
    const struct extent extent = taken_extent(heap, first);
    if (extent.count == 0)
        return extent;
    unmark(heap, first);
    return heap_add(heap, extent);
}

void heap_cut(const struct heap *heap, struct extent whole, struct extent cut)
{
    unlink_free(heap, whole);
    if (UNLIKELY(heap->transaction->damaged))
        return;
    if (cut.first > whole.first)
        link_free(heap, (struct extent){whole.first, cut.first - whole.first});
    const uint32_t end = cut.first + cut.count, whole_end = whole.first + whole.count;
    if (whole_end > end)
        link_free(heap, (struct extent){end, whole_end - end});
}

/* The extent at `quantum` as heap_is_sound() wants it; count 0 when it is not sound. */
static struct extent sound_extent(const struct heap *heap, uint32_t quantum, uint64_t *free_quanta)
{
    const uint32_t count = at(heap, quantum)->count;
    const uint32_t limit = view_quantum_count(heap->view);
    if (kind_at(heap, quantum) == QUANTUM_NONE || at(heap, quantum)->owner != heap->owner || count == 0 ||
        count > limit - quantum)
        return (struct extent){0, 0};
    if (kind_at(heap, quantum) == QUANTUM_FREE) {
        *free_quanta += count;
        const uint32_t last = quantum + count - 1;
        if (kind_at(heap, last) != QUANTUM_FREE || at(heap, last)->count != count ||
            is_free_of_ours(heap, quantum + count))
            return (struct extent){0, 0};
    }
    for (uint32_t q = quantum; q < quantum + count; q++)
        if (!view_quantum_belongs(heap->view, q, heap->owner))
            return (struct extent){0, 0};
    return (struct extent){quantum, count};
}

static bool bins_are_sound(const struct heap *heap, uint64_t expected_free)
{
    uint64_t found = 0;
    for (unsigned bin = 0; bin < HEAP_BINS; bin++) {
        uint32_t previous = 0;
        if ((heap->bins->head[bin] != 0) != ((heap->bins->occupied >> bin & 1) != 0))
            return false;
        for (uint32_t first = heap->bins->head[bin]; first != 0; first = at(heap, first)->next) {
            if (!is_free_of_ours(heap, first) || bin_of(at(heap, first)->count) != bin ||
                at(heap, first)->previous != previous || found > expected_free)
                return false;
            found += at(heap, first)->count;
            previous = first;
        }
    }
    return found == expected_free && heap->bins->free_quanta == expected_free;
}

bool heap_is_sound(const struct heap *heap)
{
    const uint32_t quanta = view_quantum_count(heap->view), each = view_region_quanta(heap->view);
    uint64_t free_quanta = 0;
    for (uint32_t q = heap->view->table_regions * each; q < quanta;) {
        if (!view_quantum_belongs(heap->view, q, heap->owner)) {
            q = (uint32_t)align_down(q, each) + each;
            continue;
        }
        const struct extent extent = sound_extent(heap, q, &free_quanta);
        if (extent.count == 0)
            return false;
        q += extent.count;
    }
    return bins_are_sound(heap, free_quanta);
}

/* SPDX-License-Identifier: MIT
 *
 * Getting into a shard or the pool: the one place where locks are taken and recovery runs.
 *
 * Every operation of the façade is: enter, operate in a transaction, leave. After the death of a holder the
 * lock has rolled his transaction back; what remains is a run of regions that he was carrying, and to make
 * sure of the invariants before anybody works on.
 *
 * A log is believed only as far as it speaks of words that transactions of its lock change: rolled back, any
 * other would be a store of somebody else's choice, into a lock that we hold for instance.
 *
 * A holder that does not run (it is stopped, or its lock was scribbled over) is waited for once. After that,
 * as long as nothing has moved there, its lock is only looked at, or a program with a thousand blocks to free
 * would stand still for a thousand times as long; and for a while other locks are given less time, for they
 * may have the same fate.
 */
#include <errno.h>

#include "directory.h"
#include "handle.h"
#include "os.h"

#define STUCK_LOOK    UINT64_C(2000000)
#define WARY_FOR      UINT64_C(10000000000)
#define WARY_PATIENCE UINT64_C(200000000)

/* ---------------------------------------------------------------- logs */

static bool lies_in(uint64_t offset, const struct view *view, const void *first, const void *end)
{
    return offset >= view_offset(view, first) && offset < view_offset(view, end);
}

/* Words of the shard itself, its row of counts, the quanta and the insides of its regions. */
static bool shard_changes(const struct view *view, uint32_t number, uint64_t offset)
{
    const struct shard *shard = &view->shards[number];
    const uint32_t *held = &view->held[(size_t)number * view->row_count];
    const struct quantum *blocks = &view->quanta[view->table_regions * view_region_quanta(view)];
    if (offset >= (uint64_t)view->table_regions << view->region_shift)
        return view_quantum_belongs(view, (uint32_t)(offset >> QUANTUM_SHIFT), OWNER_SHARD + number);
    return lies_in(offset, view, &shard->blocks, &shard->undo) ||
           lies_in(offset, view, held, held + view->row_count) ||
           lies_in(offset, view, blocks, &view->quanta[view_quantum_count(view)]);
}

/* Its own words, the rows, the bitmap of regions; and where a shard writes down what it carries. */
static bool pool_changes(const struct view *view, uint64_t offset)
{
    if (lies_in(offset, view, &view->pool->free_regions, &view->pool->undo) ||
        lies_in(offset, view, view->rows, view->rows + view->row_count) ||
        lies_in(offset, view, view->region_free, view->region_free + divide_up(view->region_count, 64)))
        return true;
    for (uint32_t number = 0; number < view->shard_count; number++)
        if (offset == view_offset(view, &view->shards[number].loose))
            return true;
    return false;
}

static COLD bool log_is_plausible(const struct guarded *guarded)
{
    struct view view;
    const struct undo *log = guarded->undo;
    view_make(&view, guarded->base, guarded->capacity);
    const bool of_pool = log == &view.pool->undo;
    const uint64_t inside = view_offset(&view, log) - view_offset(&view, view.shards);
    for (uint64_t i = 0; i < log->count && i < UNDO_ENTRIES; i++) {
        const uint64_t offset = log->entry[i].offset;
        if (offset >= view.capacity ||
            !(of_pool ? pool_changes(&view, offset)
                      : shard_changes(&view, (uint32_t)(inside / sizeof(struct shard)), offset)))
            return false;
    }
    return true;
}

/* ---------------------------------------------------------------- locks */

static struct guarded guard_of_shard(const shmcore_segment *segment, uint32_t number)
{
    struct shard *shard = &segment->file.view.shards[number];
    return (struct guarded){.lock = &shard->lock,
                            .undo = &shard->undo,
                            .sequence = &shard->sequence,
                            .poisoned = &shard->poisoned,
                            .base = segment->file.view.base,
                            .capacity = segment->file.view.capacity,
                            .log_is_plausible = log_is_plausible};
}

static bool refuse_entry(const shmcore_segment *segment, enum lock_result result)
{
    if (result == LOCK_BUSY || result == LOCK_OVERDUE)
        error_set(EBUSY, "a part of segment '%s' is locked by a process that does not run",
                  segment->file.name);
    else
        error_set(EIO, "a part of segment '%s' is damaged and out of use", segment->file.name);
    return false;
}

static COLD uint64_t patience_with(const shmcore_segment *segment, const struct guarded *guarded,
                                   uint32_t lock)
{
    const uint64_t stuck = atomic_load_explicit(&segment->stuck[lock], memory_order_relaxed);
    if (stuck != 0 && stuck == lock_progress(guarded))
        return STUCK_LOOK;
    return os_clock() < atomic_load_explicit(&segment->wary, memory_order_relaxed) ? WARY_PATIENCE
                                                                                   : LOCK_PATIENCE;
}

/* `lock`: the number of the shard, or SHARDS_MOST for the pool. */
static enum lock_result acquire(shmcore_segment *segment, const struct guarded *guarded, uint32_t lock)
{
    const bool wary = atomic_load_explicit(&segment->wary, memory_order_relaxed) != 0;
    const enum lock_result result =
        lock_acquire(guarded, UNLIKELY(wary) ? patience_with(segment, guarded, lock) : LOCK_PATIENCE);
    if (UNLIKELY(result == LOCK_OVERDUE)) {
        atomic_store_explicit(&segment->stuck[lock], lock_progress(guarded), memory_order_relaxed);
        atomic_store_explicit(&segment->wary, os_clock() + WARY_FOR, memory_order_relaxed);
    }
    return result;
}

bool pool_enter(shmcore_segment *segment, struct guarded *guarded)
{
    struct pool *pool = segment->file.view.pool;
    *guarded = (struct guarded){.lock = &pool->lock,
                                .undo = &pool->undo,
                                .sequence = &pool->sequence,
                                .poisoned = &pool->poisoned,
                                .base = segment->file.view.base,
                                .capacity = segment->file.view.capacity,
                                .log_is_plausible = log_is_plausible};
    const enum lock_result result = acquire(segment, guarded, SHARDS_MOST);
    if (LIKELY(result == LOCK_OK))
        return true;
    if (result == LOCK_RECOVERED)
        return lock_settle(guarded, pool_is_sound(&segment->file.view)) ||
               refuse_entry(segment, LOCK_POISONED);
    return refuse_entry(segment, result);
}

void pool_leave(const struct guarded *guarded)
{
    lock_release(guarded);
}

/* A run on its way when its carrier died goes back to the pool. Only what still belongs to the shard: a part
 * may already have been handed to a process, whose reaping returns it. */
static bool return_loose(shmcore_segment *segment, uint32_t number)
{
    const struct view *view = &segment->file.view;
    struct loose_run *loose = &view->shards[number].loose;
    struct guarded guarded;
    if (!pool_enter(segment, &guarded)) /* also settles a transaction of the pool that was writing `loose` */
        return false;
    if (loose->count != 0 && loose->first < view->region_count &&
        loose->count <= view->region_count - loose->first) {
        struct transaction transaction = transaction_begin(&guarded);
        const uint32_t end = loose->first + loose->count;
        for (uint32_t r = loose->first; r < end;) {
            const struct region_run run = pool_next_of(view, OWNER_SHARD + number, r, end - r);
            if (run.first >= end)
                break;
            const uint32_t count = (uint32_t)least(run.count, end - run.first);
            pool_give(view, &transaction, (struct region_run){run.first, count});
            r = run.first + count;
        }
        UNDO_SET(&transaction, &loose->count, 0);
        transaction_end(&guarded, &transaction);
    }
    pool_leave(&guarded);
    return true;
}

/* With the lock held. What is loose must be settled before the heap can be judged; when the pool is not to be
 * had for that, it stays loose, and whoever enters next tries again. (A pool that a living process keeps has
 * no transaction of the dead to take back that could have made something loose.) */
static COLD bool repair_shard(shmcore_segment *segment, uint32_t number, const struct guarded *guarded,
                              enum lock_result entered)
{
    const struct heap heap = shard_heap(segment, number, NULL);
    const struct shard *shard = &segment->file.view.shards[number];
    const bool settled = return_loose(segment, number) || (errno == EBUSY && shard->loose.count == 0);
    const bool later = !settled && errno == EBUSY;
    const bool sound =
        later || (settled && heap_is_sound(&heap) && directory_is_sound(heap.view, shard, heap.owner));
    if (entered == LOCK_RECOVERED || !sound) {
        if (!lock_settle(guarded, sound))
            return refuse_entry(segment, LOCK_POISONED);
    }
    if (later)
        lock_release(guarded);
    return !later;
}

bool shard_enter(shmcore_segment *segment, uint32_t shard, struct guarded *guarded)
{
    *guarded = guard_of_shard(segment, shard);
    if (LIKELY(segment->row != ROW_NONE))
        process_note_shard(&segment->file.view, segment->row, shard);
    const enum lock_result result = acquire(segment, guarded, shard);
    if (LIKELY(result == LOCK_OK && segment->file.view.shards[shard].loose.count == 0))
        return true;
    if (result == LOCK_OK || result == LOCK_RECOVERED)
        return repair_shard(segment, shard, guarded, result);
    return refuse_entry(segment, result);
}

void shard_leave(const struct guarded *guarded)
{
    lock_release(guarded);
}

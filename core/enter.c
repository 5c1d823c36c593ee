/* SPDX-License-Identifier: MIT
 *
 * Getting into a shard or the pool: the one place where locks are taken and recovery runs.
 *
 * Every operation of the façade is: enter, operate in a transaction, leave. After the death of a holder the
 * lock has rolled his transaction back; what remains is a run of regions that he was carrying, and to make
 * sure of the invariants before anybody works on.
 */
#include <errno.h>

#include "directory.h"
#include "handle.h"

static struct guarded guard_of_shard(const shmcore_segment *segment, uint32_t number)
{
    struct shard *shard = &segment->file.view.shards[number];
    return (struct guarded){.lock = &shard->lock,
                            .undo = &shard->undo,
                            .sequence = &shard->sequence,
                            .poisoned = &shard->poisoned,
                            .base = segment->file.view.base,
                            .capacity = segment->file.view.capacity};
}

static bool refuse_entry(const shmcore_segment *segment, enum lock_result result)
{
    if (result == LOCK_BUSY)
        error_set(EBUSY, "a part of segment '%s' is locked by a process that does not run",
                  segment->file.name);
    else
        error_set(EIO, "a part of segment '%s' is damaged and out of use", segment->file.name);
    return false;
}

bool pool_enter(shmcore_segment *segment, struct guarded *guarded)
{
    struct pool *pool = segment->file.view.pool;
    *guarded = (struct guarded){.lock = &pool->lock,
                                .undo = &pool->undo,
                                .sequence = &pool->sequence,
                                .poisoned = &pool->poisoned,
                                .base = segment->file.view.base,
                                .capacity = segment->file.view.capacity};
    const enum lock_result result = lock_acquire(guarded);
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

static COLD bool repair_shard(shmcore_segment *segment, uint32_t number, const struct guarded *guarded)
{
    const struct heap heap = shard_heap(segment, number, NULL);
    const struct shard *shard = &segment->file.view.shards[number];
    const bool sound = return_loose(segment, number) && heap_is_sound(&heap) &&
                       directory_is_sound(heap.view, shard, heap.owner);
    return lock_settle(guarded, sound);
}

bool shard_enter(shmcore_segment *segment, uint32_t shard, struct guarded *guarded)
{
    *guarded = guard_of_shard(segment, shard);
    const enum lock_result result = lock_acquire(guarded);
    if (LIKELY(result == LOCK_OK))
        return true;
    if (result == LOCK_RECOVERED)
        return repair_shard(segment, shard, guarded) || refuse_entry(segment, LOCK_POISONED);
    return refuse_entry(segment, result);
}

void shard_leave(const struct guarded *guarded)
{
    lock_release(guarded);
}

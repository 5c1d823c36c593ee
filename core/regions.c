/* SPDX-License-Identifier: MIT
 *
 * Regions on the move between the pool, shards and this process.
 *
 * A run on its way to or from a shard is written down in shard.loose while it is in nobody's structures, so
 * that a death in between loses nothing. On its way out it is first this process's to return, and whoever
 * reaps the process would: taking the memory away is slow and must not happen with a lock held.
 */
#include <errno.h>

#include "handle.h"
#include "os.h"

/* Their memory is taken away meanwhile. */
#define RETURN_PATIENCE UINT64_C(5000000000)
#define RETURN_STEP     UINT64_C(1000000)

int out_of_space(const shmcore_segment *segment, uint64_t bytes)
{
    char wanted[ERROR_SIZE_BYTES], capacity[ERROR_SIZE_BYTES];
    error_size(wanted, bytes);
    error_size(capacity, segment->file.view.capacity);
    return error_set(ENOMEM, "segment '%s' (%s) has no room for %s; make it larger (size=)",
                     segment->file.name, capacity, wanted);
}

/* How many regions to ask for: what is needed, and rather a MiB than a single small region. */
static uint32_t regions_for(const struct view *view, uint32_t quanta, uint32_t *alignment)
{
    const uint32_t each = view_region_quanta(view);
    *alignment = (uint32_t)divide_up(*alignment, each);
    return (uint32_t)divide_up(quanta, each);
}

/* With the pool entered: from here on whoever reaps this process looks for regions. Not logged, for the
 * owners of regions are not either: a transaction that is taken back may leave some that are this process's.
 */
static void note_regions(const shmcore_segment *segment)
{
    __atomic_store_n(&segment->file.view.rows[segment->row].had_regions, 1, __ATOMIC_RELEASE);
}

/* Gives the tables of a run that is free memory, and the run to `owner`; `also` is stored in the same
 * transaction. With the pool entered. */
static struct region_run take_this(shmcore_segment *segment, const struct guarded *guarded,
                                   struct region_run run, uint32_t owner, struct loose_run *also)
{
    const struct view *view = &segment->file.view;
    const struct region_run none = {0, 0};
    if (space_reserve_tables(&segment->space, run.first, run.count) != 0) {
        space_refuse(&segment->space, (uint64_t)run.count << view->region_shift, segment->file.name);
        return none;
    }
    struct transaction transaction = transaction_begin(guarded);
    pool_take(view, &transaction, run, owner);
    if (owner >= OWNER_PROCESS)
        note_regions(segment);
    if (also != NULL) {
        UNDO_SET(&transaction, &also->first, run.first);
        UNDO_SET(&transaction, &also->count, run.count);
    }
    if (transaction_end(guarded, &transaction))
        return run;
    out_of_space(segment, (uint64_t)run.count << view->region_shift);
    return none;
}

static struct region_run take_run(shmcore_segment *segment, const struct guarded *guarded, uint32_t count,
                                  uint32_t alignment, uint32_t owner, bool low, struct loose_run *also)
{
    const struct region_run run = pool_find(&segment->file.view, count, alignment, low);
    if (run.count != 0)
        return take_this(segment, guarded, run, owner, also);
    out_of_space(segment, (uint64_t)count << segment->file.view.region_shift);
    return run;
}

static struct extent extent_of(const struct view *view, struct region_run run)
{
    const uint32_t each = view_region_quanta(view);
    return (struct extent){run.first * each, run.count * each};
}

int shard_refill(shmcore_segment *segment, uint32_t number, const struct guarded *guarded, uint32_t count,
                 uint32_t alignment, bool low)
{
    struct shard *shard = &segment->file.view.shards[number];
    struct guarded pool;
    const uint32_t regions = regions_for(&segment->file.view, count, &alignment);
    if (!pool_enter(segment, &pool))
        return -1;
    const struct region_run run =
        take_run(segment, &pool, regions, alignment, OWNER_SHARD + number, low, &shard->loose);
    pool_leave(&pool);
    if (run.count == 0)
        return -1;
    struct transaction transaction = transaction_begin(guarded);
    const struct heap heap = shard_heap(segment, number, &transaction);
    heap_add(&heap, extent_of(heap.view, run));
    UNDO_SET(&transaction, &shard->loose.count, 0);
    return transaction_end(guarded, &transaction) ? 0 : error_set(EIO, "the undo log is too small");
}

struct region_run regions_inside(const struct view *view, struct extent extent)
{
    const uint32_t each = view_region_quanta(view);
    const uint32_t first = (uint32_t)divide_up(extent.first, each);
    const uint32_t end = (extent.first + extent.count) / each;
    return (struct region_run){first, end > first ? end - first : 0};
}

/* Takes the regions inside a free extent away from the shard: they are this process's to return. */
static struct region_run shed(shmcore_segment *segment, uint32_t number, const struct guarded *guarded,
                              struct extent freed)
{
    const struct view *view = &segment->file.view;
    struct shard *shard = &view->shards[number];
    const struct region_run none = {0, 0}, run = regions_inside(view, freed);
    struct guarded pool;
    if (run.count == 0 || segment->row == ROW_NONE) /* while attaching nobody could be its owner on the way */
        return none;
    struct transaction transaction = transaction_begin(guarded);
    const struct heap heap = shard_heap(segment, number, &transaction);
    heap_cut(&heap, freed, extent_of(view, run));
    UNDO_SET(&transaction, &shard->loose.first, run.first);
    UNDO_SET(&transaction, &shard->loose.count, run.count);
    if (!transaction_end(guarded, &transaction) || !pool_enter(segment, &pool))
        return none; /* stays loose: whoever enters next sees to it */
    struct transaction handing = transaction_begin(&pool);
    UNDO_SET(&handing, &shard->loose.count, 0);
    note_regions(segment);
    pool_hand(view, run, OWNER_RETURNING + segment->row);
    transaction_end(&pool, &handing);
    pool_leave(&pool);
    return run;
}

/* Shards keep what they have freed last to themselves, so that a block made and freed over and over costs no
 * system call; what is more than a region beside that they give away. */
struct region_run shard_shed(shmcore_segment *segment, uint32_t number, const struct guarded *guarded,
                             struct extent freed)
{
    const struct view *view = &segment->file.view;
    const uint64_t keep = view_region_quanta(view);
    if (view->shards[number].bins.free_quanta < keep + regions_inside(view, freed).count * keep)
        return (struct region_run){0, 0};
    return shed(segment, number, guarded, freed);
}

static struct region_run shed_any(shmcore_segment *segment, uint32_t number, const struct guarded *guarded)
{
    const uint32_t each = view_region_quanta(&segment->file.view);
    struct transaction transaction = transaction_begin(guarded);
    const struct heap heap = shard_heap(segment, number, &transaction);
    const struct extent found = heap_find(&heap, each, each);
    if (!transaction_end(guarded, &transaction) || found.count == 0)
        return (struct region_run){0, 0};
    return shed(segment, number, guarded, found);
}

bool regions_gather(shmcore_segment *segment)
{
    bool gathered = false;
    for (uint32_t number = 0; number < segment->file.view.shard_count; number++) {
        struct region_run run = {0, 1};
        struct guarded guarded;
        while (run.count != 0 && shard_enter(segment, number, &guarded)) {
            run = shed_any(segment, number, &guarded);
            shard_leave(&guarded);
            regions_return(segment, run);
            gathered |= run.count != 0;
        }
    }
    return gathered;
}

/* A process that lives and has regions on their way back, as the owners tell: a glance, without the pool. */
static bool somebody_returns(const shmcore_segment *segment)
{
    const struct view *view = &segment->file.view;
    uint32_t row, dead = ROW_NONE;
    for (uint32_t region = 0; (region = pool_next_returning(view, region, &row)) < view->region_count;
         region++) {
        if (row != dead && !process_is_dead(view, row, segment->file.device, segment->file.inode))
            return true;
        dead = row;
    }
    return false;
}

bool regions_await(const shmcore_segment *segment)
{
    const uint64_t until = os_clock() + RETURN_PATIENCE;
    bool waited = false;
    while (somebody_returns(segment) && os_clock() < until) {
        os_pause(RETURN_STEP);
        waited = true;
    }
    /* what was on its way when the caller looked may have come before it was looked for here: a glance */
    return waited || __atomic_load_n(&segment->file.view.pool->free_regions, __ATOMIC_RELAXED) != 0;
}

struct region_run regions_take(shmcore_segment *segment, uint32_t quanta, uint32_t alignment)
{
    struct guarded pool;
    const uint32_t regions = regions_for(&segment->file.view, quanta, &alignment);
    if (!pool_enter(segment, &pool))
        return (struct region_run){0, 0};
    const struct region_run run =
        take_run(segment, &pool, regions, alignment, OWNER_PROCESS + segment->row, false, NULL);
    pool_leave(&pool);
    return run;
}

bool regions_take_these(shmcore_segment *segment, struct region_run run)
{
    struct guarded pool;
    bool taken = false;
    if (!pool_enter(segment, &pool))
        return false;
    if (pool_has(&segment->file.view, run))
        taken = take_this(segment, &pool, run, OWNER_PROCESS + segment->row, NULL).count != 0;
    pool_leave(&pool);
    return taken;
}

void regions_return(shmcore_segment *segment, struct region_run run)
{
    const struct view *view = &segment->file.view;
    struct guarded pool;
    if (run.count == 0)
        return;
    pool_hand(view, run, OWNER_RETURNING + segment->row);
    space_give_back(&segment->space, (uint64_t)run.first << view->region_shift,
                    (uint64_t)run.count << view->region_shift);
    if (!pool_enter(segment, &pool))
        return; /* they stay this process's and go with it */
    struct transaction transaction = transaction_begin(&pool);
    pool_give(view, &transaction, run);
    if (transaction_end(&pool, &transaction))
        pool_forget(view, run);
    pool_leave(&pool);
}

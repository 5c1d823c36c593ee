/* SPDX-License-Identifier: MIT
 *
 * What a dead process held is given back: an ordinary detach of everything its row has.
 *
 *   ALIVE, FORKING, EXITING → REAPING(by me)   nobody else starts
 *   its references, in each shard that it has   each drop is a transaction; repeating is harmless
 *   been in, as its row says
 *   canonical copies that it held               likewise
 *   its regions' memory and quanta              nobody else writes there; not while forked children read them
 *   REAPING → FREE, regions to the pool         or PINNED while forked children have private pages over them
 * A reaper that dies in the middle is found dead itself, and the next one starts over.
 */
#include <errno.h>
#include <string.h>

#include "handle.h"
#include "os.h"
#include "private.h"
#include "promise.h"

/* A search for the dead is not repeated before this many times its own duration has passed: a program that
 * goes on asking a full segment pays two percent for it at the most. */
#define SEARCH_PAUSE 50u

/* True when the row is ours to reap now. `nonce` is what the caller found dead: the row may be another's by
 * now. *before: its state until now. */
static bool claim(shmcore_segment *segment, uint32_t index, uint64_t nonce, enum row_state *before)
{
    struct guarded pool;
    struct process_row *row = &segment->file.view.rows[index];
    bool mine = false;
    if (!pool_enter(segment, &pool))
        return false;
    const enum row_state state = process_state(&segment->file.view, index);
    *before = state;
    if (state != ROW_FREE && row->nonce == nonce &&
        (state != ROW_REAPING || row->reaper_nonce == segment->self.nonce ||
         (row->reaper != segment->self.pid &&
          process_is_dead(&segment->file.view, index, segment->file.device, segment->file.inode)))) {
        struct transaction transaction = transaction_begin(&pool);
        UNDO_SET(&transaction, &row->reaper, segment->self.pid);
        UNDO_SET(&transaction, &row->reaper_start, segment->self.start_time);
        UNDO_SET(&transaction, &row->reaper_nonce, segment->self.nonce);
        process_set_state(&segment->file.view, &transaction, index, ROW_REAPING);
        mine = transaction_end(&pool, &transaction);
    }
    pool_leave(&pool);
    return mine;
}

/* Names go first, then memory. */
static void clear_regions_of(shmcore_segment *segment, uint32_t row, uint32_t owner)
{
    const struct view *view = &segment->file.view;
    if (view->rows[row].had_regions == 0)
        return;
    const uint32_t each = view_region_quanta(view);
    struct region_run run = {0, 0};
    while ((run = pool_next_of(view, owner, run.first, UINT32_MAX)).count != 0) {
        memset(&view->quanta[run.first * each], 0, (size_t)run.count * each * sizeof(struct quantum));
        space_give_back(&segment->space, (uint64_t)run.first << view->region_shift,
                        (uint64_t)run.count << view->region_shift);
        run.first += run.count;
    }
}

/* With the pool entered. */
static bool return_regions_of(const struct view *view, const struct guarded *pool, uint32_t row,
                              uint32_t owner)
{
    struct region_run run = {0, 0};
    if (view->rows[row].had_regions == 0)
        return true;
    while ((run = pool_next_of(view, owner, run.first, 4096)).count != 0) {
        struct transaction transaction = transaction_begin(pool);
        pool_give(view, &transaction, run);
        if (!transaction_end(pool, &transaction))
            return false;
        pool_forget(view, run);
        run.first += run.count;
    }
    return true;
}

/* Forked children read its pages: then they keep their memory, and its quanta stay, until they are gone. */
static bool children_read(const struct view *view, uint32_t row)
{
    return view->rows[row].read_by_children != 0 && process_has_children(view, row);
}

/* With the pool entered. A row without regions need not stay for its children's sake: what they have copies
 * over belongs to its own parent, if to anybody. So a line of daemons does not fill the table. */
static void hand_on_children(const struct view *view, const struct guarded *pool, uint32_t index)
{
    if (view->rows[index].had_regions != 0 && pool_next_of(view, OWNER_PROCESS + index, 0, 1).count != 0)
        return;
    const uint32_t used = process_rows_used(view), grandparent = view->rows[index].parent;
    for (uint32_t row = 0; row < used; row++) {
        if (process_state(view, row) == ROW_FREE || view->rows[row].parent != index + 1)
            continue;
        struct transaction transaction = transaction_begin(pool);
        UNDO_SET(&transaction, &view->rows[row].parent, grandparent);
        transaction_end(pool, &transaction);
    }
}

/* Which row need not stay pinned any longer, now that a child of it is gone? ROW_NONE: none. */
static uint32_t unpinned(const struct view *view, uint32_t row)
{
    return row < view->row_count && process_state(view, row) == ROW_PINNED && !process_has_children(view, row)
               ? row
               : ROW_NONE;
}

/* `kept`: its regions were not cleared. Returns the row to go on with, or ROW_NONE. */
static uint32_t finish(shmcore_segment *segment, uint32_t index, bool kept)
{
    const struct view *view = &segment->file.view;
    struct guarded pool;
    if (!pool_enter(segment, &pool))
        return ROW_NONE;
    const uint32_t parent = view->rows[index].parent;
    return_regions_of(view, &pool, index, OWNER_RETURNING + index);
    hand_on_children(view, &pool, index);
    const bool freed = !kept && !process_has_children(view, index) &&
                       return_regions_of(view, &pool, index, OWNER_PROCESS + index);
    struct transaction transaction = transaction_begin(&pool);
    if (freed)
        UNDO_SET(&transaction, &view->rows[index].parent, 0);
    process_set_state(view, &transaction, index, freed ? ROW_FREE : ROW_PINNED);
    transaction_end(&pool, &transaction);
    pool_leave(&pool);
    if (kept) /* the last child may have gone meanwhile */
        return unpinned(view, index);
    return freed && parent != 0 ? unpinned(view, parent - 1) : ROW_NONE;
}

/* A lock was not to be had: the row goes on being what it was, and somebody finds it dead again. */
static void give_up(shmcore_segment *segment, uint32_t row, enum row_state before)
{
    struct guarded pool;
    if (!pool_enter(segment, &pool))
        return; /* stays REAPING, to be done again by this process, or by anybody when that is dead */
    struct transaction transaction = transaction_begin(&pool);
    process_set_state(&segment->file.view, &transaction, row, before);
    transaction_end(&pool, &transaction);
    pool_leave(&pool);
}

/* False: a lock was not to be had. A shard that is poisoned keeps what it has. */
static bool drop_references(shmcore_segment *segment, uint32_t row)
{
    const struct view *view = &segment->file.view;
    for (uint32_t shard = 0; shard < view->shard_count; shard++)
        if (process_has_entered(view, row, shard) && block_drop_all_of(segment, shard, row) != 0 &&
            errno == EBUSY)
            return false;
    return true;
}

static bool reap_claimed(shmcore_segment *segment, uint32_t row, uint64_t nonce)
{
    const struct view *view = &segment->file.view;
    for (uint32_t steps = 0; row < view->row_count && steps < view->row_count; steps++) {
        enum row_state before;
        if (!claim(segment, row, nonce, &before))
            return true;
        if (!drop_references(segment, row)) {
            give_up(segment, row, before);
            return false;
        }
        private_drop_row(segment, row);
        const bool kept = children_read(view, row);
        clear_regions_of(segment, row, OWNER_RETURNING + row);
        if (!kept)
            clear_regions_of(segment, row, OWNER_PROCESS + row);
        row = finish(segment, row, kept);
        if (row != ROW_NONE)
            nonce = view->rows[row].nonce;
    }
    return true;
}

/* One thread of a process at a time: to the others a row that this process has claimed would look like theirs
 * to go on with, and it may be a living process's again by then. */
bool reap_row(shmcore_segment *segment, uint32_t row, uint64_t nonce)
{
    if (atomic_exchange(&segment->reaping, true))
        return false;
    const bool done = reap_claimed(segment, row, nonce);
    atomic_store(&segment->reaping, false);
    return done;
}

uint32_t reap_some(shmcore_segment *segment, uint32_t examine)
{
    const struct view *view = &segment->file.view;
    const uint32_t used = process_rows_used(view);
    struct promises promises = {.examined = 0};
    uint32_t reaped = 0;
    uint32_t row = __atomic_load_n(&view->pool->next_row, __ATOMIC_RELAXED);
    if (examine >= ROWS_MOST)
        promises_examine(&promises, view, segment->file.device, segment->file.inode);
    for (uint32_t looked = 0, seen = 0; looked < used && seen < examine; looked++) {
        row = row + 1 < used ? row + 1 : 0;
        if (row == segment->row || process_state(view, row) == ROW_FREE)
            continue;
        seen++;
        const uint64_t nonce = view->rows[row].nonce;
        if (promise_is_broken(&promises, view, row) ||
            process_is_dead(view, row, segment->file.device, segment->file.inode)) {
            if (!reap_row(segment, row, nonce))
                break;
            reaped++;
        }
    }
    __atomic_store_n(&view->pool->next_row, row, __ATOMIC_RELAXED); /* a hint */
    return reaped;
}

uint32_t reap_vanished(shmcore_segment *segment, uint32_t examine)
{
    const struct view *view = &segment->file.view;
    const uint32_t used = process_rows_used(view);
    uint32_t reaped = 0;
    uint32_t row = __atomic_load_n(&view->pool->next_row, __ATOMIC_RELAXED);
    for (uint32_t looked = 0, found_none = 0; looked < used && found_none < examine; looked++) {
        row = row + 1 < used ? row + 1 : 0;
        const enum row_state state = process_state(view, row);
        const uint64_t nonce = view->rows[row].nonce;
        if ((state != ROW_ALIVE && state != ROW_EXITING) || row == segment->row)
            continue;
        found_none++;
        if (!os_process_exists(view->rows[row].pid)) {
            if (!reap_row(segment, row, nonce))
                break;
            reaped++;
            found_none = 0;
        }
    }
    __atomic_store_n(&view->pool->next_row, row, __ATOMIC_RELAXED); /* a hint */
    return reaped;
}

bool reap_for_room(shmcore_segment *segment)
{
    uint32_t reaped = 0;
    const uint64_t start = os_clock();
    if (start >= segment->next_look) {
        reaped = reap_vanished(segment, ROWS_MOST);
        const uint64_t end = os_clock();
        segment->next_look = end + SEARCH_PAUSE * (end - start);
    }
    if (reaped == 0 && start >= segment->next_search) {
        reaped = reap_some(segment, ROWS_MOST);
        const uint64_t end = os_clock();
        segment->next_search = end + SEARCH_PAUSE * (end - start);
    }
    return reaped > 0;
}

bool nobody_else_lives(const struct view *view, uint32_t own_row, uint64_t device, uint64_t inode)
{
    const uint32_t used = process_rows_used(view);
    struct promises promises;
    promises_examine(&promises, view, device, inode);
    for (uint32_t row = 0; row < used; row++) {
        const enum row_state state = process_state(view, row);
        const bool counts =
            state == ROW_ALIVE || (state == ROW_FORKING && !promise_is_broken(&promises, view, row));
        if (row != own_row && counts && !process_is_dead(view, row, device, inode))
            return false;
    }
    return true;
}

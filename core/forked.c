/* SPDX-License-Identifier: MIT
 *
 * After fork() parent and child share the segment's pages, so without help each would see the other's writes
 * to exported blocks, which malloc'd memory never shows.
 *
 * prepare: a row is made for the child, with a reference to every named block the parent holds, so that no
 * death in between loses them; then what the child is to see of the parent's exported blocks is got ready
 * (forked_run.c). child: lays that over the ranges, at the same addresses, and moves into its row: blocks
 * inherited from the parent are its own private memory now. What is allocated from here on comes from regions
 * of the child's own row. parent: drops what it got ready, and the row is dead by itself if there is no
 * child.
 *
 * What a process inherited itself is private already and needs nothing when it forks.
 *
 * As long as a descendant has private pages over the regions of a row, nobody else may get these regions: he
 * would see the segment there and the descendant its copy. The row is pinned, see reap.c; and where the
 * descendant reads the parent's own pages, they keep their memory too.
 */
#include "forked.h"

#include <errno.h>
#include <string.h>

#include "export_book.h"
#include "forked_run.h"
#include "os.h"
#include "private.h"

/* How the last fork went, for this thread: handlers and forked_worst() are called by the one that forks. */
static _Thread_local enum forked_lapse worst_lapse;

static void note_lapse(enum forked_lapse lapse)
{
    worst_lapse = lapse > worst_lapse ? lapse : worst_lapse;
}

enum forked_lapse forked_worst(void)
{
    return worst_lapse;
}

/* ---------------------------------------------------------------- prepare */

/* Whose child is to come, so that others can tell when nobody will: see promise.h. */
static void sign_promise(struct process_row *row, struct transaction *transaction,
                         const shmcore_segment *segment)
{
    UNDO_SET(transaction, &row->parent, segment->row + 1);
    UNDO_SET(transaction, &row->reaper, segment->self.pid);
    UNDO_SET(transaction, &row->reaper_start, segment->self.start_time);
}

/* ROW_NONE: there is no row left, or its lock is not to be had. */
static uint32_t take_child_row(shmcore_segment *segment)
{
    struct guarded pool;
    const struct view *view = &segment->file.view;
    if (!pool_enter(segment, &pool))
        return ROW_NONE;
    struct transaction transaction = transaction_begin(&pool);
    const uint32_t row = process_take_row(view, &transaction, &segment->child, ROW_FORKING);
    if (row != ROW_NONE)
        sign_promise(&view->rows[row], &transaction, segment);
    const bool taken = transaction_end(&pool, &transaction);
    pool_leave(&pool);
    return taken ? row : ROW_NONE;
}

/* There is no child to come any more, or none that will move in. A child that was quick may have ended, and
 * its row be another's: then this word means nothing there. */
static void end_promise(const shmcore_segment *segment)
{
    if (segment->child_row != ROW_NONE)
        atomic_store_explicit(&segment->file.view.rows[segment->child_row].fork_over, segment->child.nonce,
                              memory_order_release);
}

/* A child that could not have a reference to each block of its parent gets no part in the segment. */
static void make_child_row(shmcore_segment *segment)
{
    segment->child = (struct process_identity){.nonce = os_random()};
    reap_vanished(segment, 2); /* or those who fork over and over would fill the table */
    segment->child_row = take_child_row(segment);
    if (segment->child_row == ROW_NONE && reap_some(segment, ROWS_MOST) > 0)
        segment->child_row = take_child_row(segment);
    if (segment->child_row == ROW_NONE || block_copy_all_of(segment, segment->row, segment->child_row) == 0)
        return;
    end_promise(segment);
    segment->child_row = ROW_NONE;
}

static bool takes_part(const shmcore_segment *segment)
{
    return segment != NULL && segment->row != ROW_NONE && segment->self.pid == os_process();
}

/* Children read this process's pages: should it die, they stay until the children are gone. */
static void note_readers(shmcore_segment *segment)
{
    struct guarded pool;
    uint32_t *read = &segment->file.view.rows[segment->row].read_by_children;
    if (*read != 0 || !pool_enter(segment, &pool))
        return;
    struct transaction transaction = transaction_begin(&pool);
    UNDO_SET(&transaction, read, 1);
    transaction_end(&pool, &transaction);
    pool_leave(&pool);
}

static void prepare_segment(shmcore_segment *segment)
{
    bool read;
    make_child_row(segment);
    pthread_mutex_lock(&segment->exports.lock);
    note_lapse(forked_runs_make(segment, &read));
    if (read)
        note_readers(segment);
}

void forked_prepare(void)
{
    store_lock();
    private_fork_prepare();
    worst_lapse = FORKED_AS_ASKED;
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        shmcore_segment *segment = segment_handle(i);
        if (takes_part(segment))
            prepare_segment(segment);
        else if (segment !=
                 NULL) /* a child of _Fork: the tables are its parent's, and all there is to read */
            segment->tables_lost_by_fork = true;
    }
}

/* ---------------------------------------------------------------- parent */

void forked_parent(void)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        shmcore_segment *segment = segment_handle(i);
        if (!takes_part(segment))
            continue;
        forked_runs_drop(segment);
        end_promise(segment);
        pthread_mutex_unlock(&segment->exports.lock);
        segment->child_row = ROW_NONE;
    }
    private_fork_parent();
    store_unlock();
}

/* ---------------------------------------------------------------- child */

/* The promise becomes a process. Without a row the child has no part in the segment any more. */
static void adopt_row(shmcore_segment *segment)
{
    struct guarded pool;
    const uint32_t row = segment->child_row;
    segment->self = process_identify();
    segment->row = ROW_NONE;
    segment->child_row = ROW_NONE;
    if (row == ROW_NONE || !pool_enter(segment, &pool))
        return;
    struct process_row *entry = &segment->file.view.rows[row];
    if (process_state(&segment->file.view, row) == ROW_FORKING && entry->nonce == segment->child.nonce) {
        struct transaction transaction = transaction_begin(&pool);
        UNDO_SET(&transaction, &entry->pid, segment->self.pid);
        UNDO_SET(&transaction, &entry->start_time, segment->self.start_time);
        UNDO_SET(&transaction, &entry->nonce, segment->self.nonce);
        process_set_state(&segment->file.view, &transaction, row, ROW_ALIVE);
        if (transaction_end(&pool, &transaction))
            segment->row = row;
    }
    pool_leave(&pool);
}

void forked_child(void)
{
    worst_lapse = FORKED_AS_ASKED; /* of what was got ready the parent speaks */
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        shmcore_segment *segment = segment_handle(i);
        if (segment == NULL || segment->file.read_only)
            continue;
        note_lapse(forked_runs_adopt(segment));
        book_forget_all(segment);
        memset(&segment->exports, 0, sizeof segment->exports);
        pthread_mutex_init(&segment->exports.lock, NULL);
        atomic_store(&segment->credit, SPACE_FIRST_CREDIT);
        atomic_store(&segment->reaping, false);
        adopt_row(segment);
    }
    private_fork_child();
    store_unlock();
}

/* ---------------------------------------------------------------- registering */

static _Atomic bool handled;

void forked_take_over(void)
{
    atomic_store(&handled, true);
}

void forked_register(void)
{
    if (!atomic_exchange(&handled, true) && os_on_fork(forked_prepare, forked_parent, forked_child) != 0)
        atomic_store(&handled, false);
}

/* SPDX-License-Identifier: MIT
 *
 * fork=copy. After fork() parent and child share the segment's pages, so without help each would see the
 * other's writes to exported blocks, which malloc'd memory never shows.
 *
 * prepare: every run of regions that this process owns is copied, taken extents only, to anonymous memory,
 * and so is its part of the quanta table; a row is made for the child, with a reference to every named block
 * the parent holds, so that no death in between loses them. child:   moves the copies over the ranges, at the
 * same addresses: blocks inherited from the parent are ordinary private memory now. What is allocated from
 * here on comes from regions of the child's own row. parent:  drops its copies, and the row if there is no
 * child.
 *
 * The copies a process inherited itself are private already and need nothing when it forks.
 *
 * As long as a descendant has copies over the regions of a row, nobody else may get these regions: he would
 * see the segment there and the descendant its copy. The row is pinned, see reap.c.
 */
#include "forked.h"

#include <errno.h>
#include <string.h>

#include "handle.h"
#include "os.h"

/* One run of regions on its way to the child. Lies at the start of a mapping of its own. */
struct copied_run {
    struct copied_run *next;
    void *memory;                   /* the copy */
    uint64_t offset, length;        /* of the range in the segment */
    struct inherited_run inherited; /* must be last */
};

/* ---------------------------------------------------------------- prepare */

static void copy_reserved(const struct view *view, uint64_t from, uint64_t to, unsigned char *copy)
{
    for (uint64_t at = from; at < to; at += PAGE_BYTES)
        if (space_is_reserved(view, at, PAGE_BYTES))
            memcpy(copy + (at - from), view_at(view, at), PAGE_BYTES);
}

/* Of touched memory the file system knows which pages there are; reading the others would make them. */
static void copy_touched(const shmcore_segment *segment, uint64_t from, uint64_t to, unsigned char *copy)
{
    const struct view *view = &segment->file.view;
    const int descriptor = os_open_file(segment->file.path, OS_READ);
    struct os_file file;
    uint64_t start, stop, at = from;
    if (descriptor < 0 || os_stat_file(descriptor, &file) != 0 || file.inode != segment->file.inode) {
        memcpy(copy, view_at(view, from), to - from); /* the file's name is gone: there is no other way */
    } else {
        for (; at < to && os_next_data(descriptor, at, to, &start, &stop) == 1; at = stop)
            memcpy(copy + (start - from), view_at(view, start), stop - start);
    }
    if (descriptor >= 0)
        os_close(descriptor);
}

/* Copies the taken extents of the run; free ones are nobody's business. */
static void copy_extents(const shmcore_segment *segment, struct copied_run *run)
{
    const struct view *view = &segment->file.view;
    const uint32_t end = run->inherited.first + run->inherited.count;
    for (uint32_t q = run->inherited.first, count; q < end; q += count) {
        const struct quantum *entry = &view->quanta[q];
        const uint32_t kind = atomic_load_explicit(&entry->kind, memory_order_relaxed);
        const bool whole = kind != QUANTUM_NONE && kind != QUANTUM_EXPORT_INNER;
        const uint64_t from = (uint64_t)q << QUANTUM_SHIFT;
        count = whole ? (uint32_t)least(most(entry->count, 1), end - q) : 1;
        if (!whole || kind == QUANTUM_FREE)
            continue;
        const uint64_t to = from + ((uint64_t)count << QUANTUM_SHIFT);
        unsigned char *copy = (unsigned char *)run->memory + (from - run->offset);
        if ((entry->sequence & QUANTUM_TOUCHED) != 0)
            copy_touched(segment, from, to, copy);
        else
            copy_reserved(view, from, to, copy);
    }
}

static struct copied_run *copy_run(const shmcore_segment *segment, struct region_run regions)
{
    const struct view *view = &segment->file.view;
    const uint32_t each = view_region_quanta(view);
    const uint32_t count = regions.count * each;
    const uint64_t bytes = align_up(sizeof(struct copied_run) + count * sizeof(struct quantum), PAGE_BYTES);
    void *place, *memory;
    if (os_map_private(bytes, &place) != 0)
        return NULL;
    const uint64_t length = (uint64_t)regions.count << view->region_shift;
    if (os_map_private(length, &memory) != 0) {
        os_unmap(place, bytes);
        return NULL;
    }
    struct copied_run *run = place;
    run->inherited.mapping = place;
    run->inherited.mapping_bytes = bytes;
    run->memory = memory;
    run->offset = (uint64_t)regions.first << view->region_shift;
    run->length = length;
    run->inherited.first = regions.first * each;
    run->inherited.count = count;
    memcpy(run->inherited.quanta, &view->quanta[run->inherited.first], count * sizeof(struct quantum));
    copy_extents(segment, run);
    return run;
}

static void copy_all(shmcore_segment *segment)
{
    const struct view *view = &segment->file.view;
    struct region_run run = {0, 0};
    while ((run = pool_next_of(view, OWNER_PROCESS + segment->row, run.first, UINT32_MAX)).count != 0) {
        struct copied_run *copy = copy_run(segment, run);
        if (copy != NULL) {
            copy->next = segment->copies;
            segment->copies = copy;
        }
        run.first += run.count;
    }
}

static void make_child_row(shmcore_segment *segment)
{
    struct guarded pool;
    segment->child = (struct process_identity){.nonce = os_random()};
    segment->child_row = ROW_NONE;
    reap_some(segment, 2);
    for (int tries = 0; tries < 2 && segment->child_row == ROW_NONE; tries++) {
        if (tries == 1 && reap_some(segment, ROWS_MOST) == 0)
            return;
        if (!pool_enter(segment, &pool))
            return;
        struct transaction transaction = transaction_begin(&pool);
        const uint32_t row =
            process_take_row(&segment->file.view, &transaction, &segment->child, ROW_FORKING);
        if (row != ROW_NONE)
            UNDO_SET(&transaction, &segment->file.view.rows[row].parent, segment->row + 1);
        segment->child_row = transaction_end(&pool, &transaction) ? row : ROW_NONE;
        pool_leave(&pool);
    }
    if (segment->child_row != ROW_NONE)
        block_copy_all_of(segment, segment->row, segment->child_row);
}

static bool takes_part(const shmcore_segment *segment)
{
    return segment != NULL && !segment->file.read_only && segment->self.pid == os_process();
}

void forked_prepare(void)
{
    store_lock();
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        shmcore_segment *segment = segment_handle(i);
        if (!takes_part(segment))
            continue;
        segment->copies = NULL;
        make_child_row(segment);
        pthread_mutex_lock(&segment->exports.lock);
        copy_all(segment);
    }
}

/* ---------------------------------------------------------------- parent */

/* Whether there is a child at all is not known here: a promise that nobody keeps runs out by itself. */
void forked_parent(void)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        shmcore_segment *segment = segment_handle(i);
        if (!takes_part(segment))
            continue;
        while (segment->copies != NULL) {
            struct copied_run *run = segment->copies;
            segment->copies = run->next;
            os_unmap(run->memory, run->length);
            os_unmap(run->inherited.mapping, run->inherited.mapping_bytes);
        }
        pthread_mutex_unlock(&segment->exports.lock);
        segment->child_row = ROW_NONE;
    }
    store_unlock();
}

/* ---------------------------------------------------------------- child */

static void adopt_copies(shmcore_segment *segment)
{
    while (segment->copies != NULL) {
        struct copied_run *run = segment->copies;
        segment->copies = run->next;
        os_move_over(run->memory, run->length, view_at(&segment->file.view, run->offset));
        run->inherited.next = segment->inherited;
        segment->inherited = &run->inherited;
    }
}

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
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        shmcore_segment *segment = segment_handle(i);
        if (segment == NULL || segment->file.read_only)
            continue;
        adopt_copies(segment);
        memset(&segment->exports, 0, sizeof segment->exports);
        pthread_mutex_init(&segment->exports.lock, NULL);
        atomic_store(&segment->credit, 0);
        adopt_row(segment);
    }
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
    if (!atomic_exchange(&handled, true) && pthread_atfork(forked_prepare, forked_parent, forked_child) != 0)
        atomic_store(&handled, false);
}

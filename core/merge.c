/* SPDX-License-Identifier: MIT */
#include "merge.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "merge_pages.h"
#include "os.h"
#include "shortage.h"

#define NO_SHEET UINT32_MAX

/* Below this share of a chunk's pages, or this number, a join is not worth its mapping. */
#define WORTH_SHARE 4u
#define WORTH_PAGES 1u

/* One chunk in work. */
struct chunk_work {
    struct merge_pass *pass;
    uint32_t chunk;
    unsigned char *here;    /* the program's */
    unsigned char *replica; /* what is to take its place */
    bool mapped;            /* pages that are not its own are a file's, else zero */
    bool same_file;         /* … and that file is the canonical copy */
    uint64_t own[CHUNK_WORDS];
    uint64_t holes[CHUNK_WORDS];   /* of the file that is mapped, as far as known */
    uint64_t zero[CHUNK_WORDS];    /* of the canonical copy: it has no such page */
    uint64_t written[CHUNK_WORDS]; /* of the replica: it has a page of its own */
};

static unsigned char *address_of(const struct merge_index *index, uint32_t chunk)
{
    return (unsigned char *)(uintptr_t)index->base + (uint64_t)chunk * MERGE_CHUNK;
}

/* Has the page contents that must be read? Otherwise it is zero, and is not touched. */
static bool has_contents(const struct chunk_work *work, uint32_t page)
{
    return pages_has(work->own, page) || (work->mapped && !pages_has(work->holes, page));
}

/* ---------------------------------------------------------------- the pass */

bool merge_pass_begin(struct merge_pass *pass, struct merge_index *index, uint32_t row, enum hold_way best)
{
    *pass = (struct merge_pass){.index = index, .row = row, .replica = replica_none()};
    pass->mappings_left = UINT32_MAX;
    if (os_locked_bytes() != 0) {
        error_set(ENOTSUP, "memory of this process is locked (mlock), so none of it is merged");
        return false;
    }
    if (hold_open(&pass->hold, best))
        return true;
    error_set(ENOTSUP, "this process's writers cannot be held (it uses io_uring, has no descriptor left, or "
                       "may not read what "
                       "/proc says of it), so its memory is not merged");
    return false;
}

void merge_pass_end(struct merge_pass *pass)
{
    replica_drop(&pass->replica);
    hold_close(&pass->hold);
}

/* ---------------------------------------------------------------- publishing */

static bool there_is_room(const struct merge_index *index)
{
    return os_memory_left(index->segment->directory) > SHORTAGE_MARGIN + 2 * MERGE_CHUNK;
}

/* Runs of pages go in one write each. */
static int copy_out(const struct chunk_work *work, int descriptor, uint64_t zero[CHUNK_WORDS],
                    uint32_t *pages)
{
    const uint64_t offset = merge_index_offset(work->chunk);
    uint32_t first = 0;
    *pages = 0;
    for (uint32_t page = 0; page <= CHUNK_PAGES; page++) {
        const bool skip =
            page == CHUNK_PAGES || !has_contents(work, page) || page_is_zero(work->here + page * PAGE_BYTES);
        if (page < CHUNK_PAGES && skip)
            pages_mark(zero, page);
        if (!skip)
            continue;
        if (page > first) {
            const int error = os_write_at(descriptor, work->here + first * PAGE_BYTES,
                                          (page - first) * PAGE_BYTES, offset + first * PAGE_BYTES);
            if (error != 0)
                return error;
            *pages += page - first;
        }
        first = page + 1;
    }
    return 0;
}

/* A copy in one piece is read as fast as the program's own huge pages, and published sooner. Where the kernel
 * makes none, or has to look for them for long, the rest of the pass goes page by page. */
static void want_huge_page(struct merge_pass *pass, int descriptor, uint64_t offset)
{
    if (pass->page_by_page)
        return;
    const uint64_t begin = os_clock();
    pass->page_by_page =
        os_huge_page_of_file(descriptor, offset) != 0 || os_clock() - begin > OS_HUGE_PAGE_PATIENCE;
}

/* Of zeros nothing is kept, so only a chunk without any may take all of its memory at once. */
static bool is_full(const struct chunk_work *work)
{
    uint32_t page = 0;
    while (page < CHUNK_PAGES && has_contents(work, page) && !page_is_zero(work->here + page * PAGE_BYTES))
        page++;
    return page == CHUNK_PAGES;
}

/* `file`: that of the copy whose place this one takes, 0: there is none. */
static enum merge_outcome publish(struct chunk_work *work, uint32_t file)
{
    struct merge_pass *pass = work->pass;
    uint64_t zero[CHUNK_WORDS] = {0};
    uint32_t number, pages;
    const uint64_t start = os_clock();
    if (!there_is_room(pass->index)) {
        errno = ENOSPC;
        return MERGE_FULL;
    }
    const int descriptor = file == 0 ? merge_index_begin(pass->index, pass->row, work->chunk, &number)
                                     : merge_index_renew(pass->index, pass->row, work->chunk, file, &number);
    if (descriptor == -EBUSY)
        return MERGE_AWAITED;
    if (descriptor < 0) {
        errno = -descriptor;
        return MERGE_FULL;
    }
    if (is_full(work))
        want_huge_page(pass, descriptor, merge_index_offset(work->chunk));
    const int error = copy_out(work, descriptor, zero, &pages);
    os_close(descriptor);
    if (error == 0)
        merge_index_publish(pass->index, pass->row, work->chunk, number, pages, zero);
    else
        merge_index_abandon(pass->index, work->chunk);
    pass->publishing += os_clock() - start;
    pass->published += MERGE_CHUNK;
    errno = -error;
    return error == 0 ? MERGE_DONE : MERGE_FULL;
}

/* ---------------------------------------------------------------- joining */

/* Makes the page of the replica what it is here, if it is not. */
static void bring_up_to_date(struct chunk_work *work, uint32_t page)
{
    const unsigned char *here = work->here + page * PAGE_BYTES;
    unsigned char *there = work->replica + page * PAGE_BYTES;
    const bool absent =
        pages_has(work->zero, page) && !pages_has(work->written, page); /* not touched: it would get memory */
    if (!has_contents(work, page)) {
        if (absent)
            return;
        memset(there, 0, PAGE_BYTES);
    } else if (absent ? page_is_zero(here) : pages_are_equal(here, there)) {
        return;
    } else {
        memcpy(there, here, PAGE_BYTES);
    }
    pages_mark(work->written, page);
}

static void bring_all_up_to_date(struct chunk_work *work)
{
    for (uint32_t page = 0; page < CHUNK_PAGES; page++)
        if (!work->same_file || pages_has(work->own, page))
            bring_up_to_date(work, page);
}

/* With nobody writing. A page may have got contents, or lost them, since it was looked at. */
static bool catch_up(struct chunk_work *work)
{
    uint64_t since[CHUNK_WORDS];
    hold_written(&work->pass->hold, work->here, CHUNK_PAGES, since);
    const uint32_t before = pages_count(work->own);
    if (os_pages_own(work->pass->hold.pagemap, work->here, CHUNK_PAGES, work->own) != 0)
        return false;
    if (work->replica == NULL)
        return true;
    const bool fewer = pages_count(work->own) < before; /* madvise, past our hooks: look at all */
    for (uint32_t page = 0; page < CHUNK_PAGES; page++)
        if ((fewer || pages_has(since, page)) && (!work->same_file || pages_has(work->own, page)))
            bring_up_to_date(work, page);
    return true;
}

static uint32_t shared_pages(const struct chunk_work *work)
{
    uint32_t shared = 0;
    for (uint32_t word = 0; word < CHUNK_WORDS; word++)
        shared += (uint32_t)__builtin_popcountll(~work->zero[word] & ~work->written[word]);
    return shared;
}

static bool is_worth(const struct chunk_work *work)
{
    const uint32_t shared = shared_pages(work), other = pages_count(work->written);
    return shared >= WORTH_PAGES && shared >= (shared + other) / WORTH_SHARE;
}

/* Does no other process write into this one's memory, of those that ask? */
static bool nobody_writes(const struct merge_pass *pass)
{
    const struct view *view = &pass->index->segment->view;
    const uint32_t rows = (uint32_t)least(process_rows_used(view), MERGE_ROWS);
    for (uint32_t row = 0; row < rows; row++)
        if (row != pass->row && atomic_load(&pass->index->file->rows[row].writing) != 0 &&
            process_state(view, row) == ROW_ALIVE &&
            !process_is_gone(view->rows[row].pid, view->rows[row].start_time))
            return false;
    return true;
}

/* Other processes are kept out as far as they ask. */
static bool close_gate(const struct merge_pass *pass)
{
    atomic_store(&pass->index->file->rows[pass->row].closed, 1);
    return nobody_writes(pass);
}

/* Whoever began to write before that is not noticed: the kernel has the pages in hand already. What it writes
 * next may have been compared by then, and it may be done when the gate is closed. */
static enum hold_answer watch(const struct chunk_work *work)
{
    struct hold *hold = &work->pass->hold;
    const enum hold_answer answer = hold_watch(hold, work->here, MERGE_CHUNK);
    if (answer != HOLD_YES || nobody_writes(work->pass))
        return answer;
    hold_forget(hold, work->here, MERGE_CHUNK);
    return HOLD_LATER;
}

static void open_gate(const struct merge_pass *pass)
{
    atomic_store(&pass->index->file->rows[pass->row].closed, 0);
    os_wake(&pass->index->file->rows[pass->row].closed);
}

static enum merge_outcome outcome_of(enum hold_answer answer)
{
    if (answer == HOLD_YES)
        return MERGE_DONE;
    return answer == HOLD_LATER ? MERGE_BUSY : MERGE_NEVER;
}

/* The chunk becomes what `take_its_place` makes it, in a moment without writers. */
static enum merge_outcome replace(struct chunk_work *work, int (*take_its_place)(struct chunk_work *work))
{
    struct merge_pass *pass = work->pass;
    int error = -EAGAIN;
    enum hold_answer answer = HOLD_LATER;
    os_announce(work->here, MERGE_CHUNK);
    if (close_gate(pass))
        answer = hold_begin(&pass->hold, work->here, MERGE_CHUNK);
    if (answer == HOLD_YES) {
        if (catch_up(work))
            error = take_its_place(work);
        hold_end(&pass->hold, work->here, MERGE_CHUNK);
    } else {
        hold_forget(&pass->hold, work->here, MERGE_CHUNK);
    }
    open_gate(pass);
    os_announce(work->here, MERGE_CHUNK);
    if (answer != HOLD_YES)
        return outcome_of(answer);
    errno = -error;
    return error == 0 ? MERGE_DONE : error == -EAGAIN ? MERGE_BUSY : MERGE_FULL;
}

static int move_over(struct chunk_work *work)
{
    return os_take_place(work->replica, MERGE_CHUNK, work->here);
}

static int move_replica(struct chunk_work *work)
{
    const int error = move_over(work);
    if (error == 0)
        replica_moved(&work->pass->replica, work->chunk);
    return error;
}

static enum merge_outcome join_file(struct chunk_work *work, uint32_t file, int descriptor)
{
    struct merge_pass *pass = work->pass;
    const int error = replica_for(&pass->replica, work->chunk, file, descriptor, &work->replica);
    if (error != 0) {
        errno = -error;
        return MERGE_FULL;
    }
    const enum hold_answer answer = watch(work);
    if (answer != HOLD_YES)
        return outcome_of(answer);
    /* what has been written since look() is noticed by nobody: hold_watch() notes only what comes later */
    if (os_pages_own(pass->hold.pagemap, work->here, CHUNK_PAGES, work->own) != 0) {
        hold_forget(&pass->hold, work->here, MERGE_CHUNK);
        return MERGE_NEVER;
    }
    bring_all_up_to_date(work);
    enum merge_outcome outcome = MERGE_DIFFERS;
    if (is_worth(work))
        outcome = replace(work, move_replica);
    else
        hold_forget(&pass->hold, work->here, MERGE_CHUNK);
    if (outcome != MERGE_DONE)
        replica_spoilt(&pass->replica, work->chunk);
    return outcome;
}

static enum merge_outcome join(struct chunk_work *work, struct merge_local *local)
{
    struct merge_pass *pass = work->pass;
    const uint64_t start = os_clock();
    uint32_t file;
    const int descriptor = merge_index_hold(pass->index, pass->row, work->chunk, &file, work->zero);
    if (descriptor < 0) {
        errno = -descriptor;
        return descriptor == -EAGAIN ? MERGE_AWAITED : MERGE_FULL;
    }
    work->same_file = local->file == file && !local->has_holes;
    const enum merge_outcome outcome = join_file(work, file, descriptor);
    os_close(descriptor);
    if (outcome == MERGE_DONE) {
        local->file = file;
        local->has_holes = false;
        local->shared = (uint16_t)shared_pages(work);
        local->holds = true;
        merge_index_note_shared(pass->index, pass->row, work->chunk, local->shared);
        pass->mappings_left -= (uint32_t)least(pass->mappings_left, 2);
    } else if (outcome == MERGE_BUSY) {
        local->holds = true; /* the copy is wanted: soon again */
    } else if (outcome == MERGE_DIFFERS || !local->holds || !work->same_file) {
        merge_index_release(pass->index, pass->row, work->chunk, true);
        local->holds = false;
    }
    pass->joining += os_clock() - start;
    pass->joined += MERGE_CHUNK;
    return outcome;
}

/* ---------------------------------------------------------------- zero */

static bool all_is_zero(const struct chunk_work *work)
{
    for (uint32_t page = 0; page < CHUNK_PAGES; page++)
        if (has_contents(work, page) && !page_is_zero(work->here + page * PAGE_BYTES))
            return false;
    return true;
}

static int become_untouched(struct chunk_work *work)
{
    return all_is_zero(work) ? os_map_private_over(work->here, MERGE_CHUNK) : -EAGAIN;
}

static enum merge_outcome drop_zeros(struct chunk_work *work, struct merge_local *local)
{
    const enum hold_answer answer = watch(work);
    if (answer != HOLD_YES)
        return outcome_of(answer);
    const enum merge_outcome outcome = replace(work, become_untouched);
    if (outcome == MERGE_DONE) {
        if (local->holds)
            merge_index_release(work->pass->index, work->pass->row, work->chunk, true);
        local->file = 0;
        local->has_holes = false;
        local->shared = 0;
        local->holds = false;
    }
    return outcome;
}

/* ---------------------------------------------------------------- a chunk */

static bool look(struct chunk_work *work, struct merge_pass *pass, uint32_t chunk,
                 const struct merge_local *local)
{
    *work = (struct chunk_work){
        .pass = pass, .chunk = chunk, .here = address_of(pass->index, chunk), .mapped = local->file != 0};
    return os_pages_own(pass->hold.pagemap, work->here, CHUNK_PAGES, work->own) == 0;
}

/* Who joins while the first one is not done with filling the chunk has what is filled later for himself, and
 * so have all others. */
static bool is_outdated(const struct chunk_work *work)
{
    return merge_index_is_outdated(work->pass->index, work->pass->row, work->chunk, shared_pages(work),
                                   pages_count(work->written));
}

/* It shares what it can of the old copy, whatever becomes of the new one. */
static enum merge_outcome renew(const struct chunk_work *old, struct merge_local *local)
{
    struct chunk_work work;
    if (!look(&work, old->pass, old->chunk, local))
        return MERGE_DONE;
    memcpy(work.holes, old->zero, sizeof work.holes);
    if (publish(&work, local->file) != MERGE_DONE)
        return MERGE_DONE;
    memset(work.holes, 0, sizeof work.holes);
    return join(&work, local);
}

enum merge_outcome merge_chunk(struct merge_pass *pass, uint32_t chunk, struct merge_local *local)
{
    struct chunk_work work;
    if (!look(&work, pass, chunk, local))
        return MERGE_NEVER;
    struct chunk_status status = merge_index_status(pass->index, chunk);
    const bool nothing_own = pages_count(work.own) == 0;
    if (nothing_own && (!work.mapped || (status.state == CHUNK_READY && status.file == local->file &&
                                         local->holds && !local->has_holes)))
        return MERGE_DONE;
    const bool all_own = pages_count(work.own) == CHUNK_PAGES; /* to read a hole of a file would fill it */
    if ((all_own || !work.mapped) && all_is_zero(&work))
        return nothing_own ? MERGE_DONE : drop_zeros(&work, local);
    if (status.state == CHUNK_EMPTY) {
        const enum merge_outcome outcome = publish(&work, 0);
        if (outcome != MERGE_DONE)
            return outcome;
    } else if (status.state != CHUNK_READY) {
        return MERGE_AWAITED;
    }
    if (pass->mappings_left < 2 && !work.mapped) {
        errno = ENOMEM;
        return MERGE_FULL;
    }
    const enum merge_outcome outcome = join(&work, local);
    return outcome == MERGE_DONE && is_outdated(&work) ? renew(&work, local) : outcome;
}

enum merge_outcome merge_restore(struct merge_pass *pass, uint32_t chunk, struct merge_local *local)
{
    struct chunk_work work;
    void *memory;
    if (!look(&work, pass, chunk, local) || os_map_private(2 * MERGE_CHUNK, &memory) != 0)
        return MERGE_FULL;
    work.replica = (unsigned char *)align_up((uintptr_t)memory, MERGE_CHUNK);
    memset(work.zero, 0xff, sizeof work.zero); /* the replica has nothing yet */
    enum merge_outcome outcome = outcome_of(watch(&work));
    if (outcome == MERGE_DONE) {
        bring_all_up_to_date(&work);
        outcome = replace(&work, move_over);
    }
    os_unmap(memory, 2 * MERGE_CHUNK);
    if (outcome == MERGE_DONE) {
        merge_index_release(pass->index, pass->row, chunk, true);
        *local = (struct merge_local){.used = local->used, .barred = local->barred};
    }
    return outcome;
}

GLANCES uint64_t merge_signature(const struct merge_pass *pass, uint32_t chunk)
{
    uint64_t own[CHUNK_WORDS], hash = chunk;
    const unsigned char *here = address_of(pass->index, chunk);
    if (os_pages_own(pass->hold.pagemap, here, CHUNK_PAGES, own) != 0)
        return 0;
    for (uint32_t page = 0; page < CHUNK_PAGES; page++) {
        if (page % 64 == 0)
            hash = hash_mix(hash ^ own[page / 64]);
        if (!pages_has(own, page))
            continue;
        const uint64_t line = hash_mix(page + chunk * UINT64_C(0x9e3779b97f4a7c15)) % (PAGE_BYTES / 64);
        const uint64_t *word = (const uint64_t *)(const void *)(here + page * PAGE_BYTES + line * 64);
        uint64_t sum = 0;
        for (unsigned i = 0; i < 8; i++)
            sum = (sum ^ word[i]) * UINT64_C(0x9e3779b97f4a7c15);
        hash = hash_mix(hash + sum + page);
    }
    return hash;
}

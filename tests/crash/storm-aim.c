/* SPDX-License-Identifier: MIT */
#include "storm-aim.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "merge_layout.h"
#include "segment.h"
#include "storm-api.h"

#define LOOK_AGAIN UINT64_C(500000000) /* the file may have been made anew */

static struct {
    int descriptor; /* of the segment's file, when `open` */
    int index;      /* of the index of merged memory, or -1 */
    uint64_t index_inode;
    bool open;
    uint64_t opened;
} eye;

static void see_index(const struct storm_board *board)
{
    char path[512];
    struct header header;
    struct stat status;
    eye.index = -1;
    if (pread(eye.descriptor, &header, sizeof header, 0) != sizeof header)
        return;
    snprintf(path, sizeof path, "%s/shmcore-merge.%u.%" PRIx64 ".index", board->directory, geteuid(),
             header.nonce);
    eye.index = open(path, O_RDONLY | O_CLOEXEC);
    eye.index_inode = eye.index >= 0 && fstat(eye.index, &status) == 0 ? status.st_ino : 0;
}

static bool see(const struct storm_board *board)
{
    char path[512];
    const uint64_t now = storm_clock();
    if (eye.open && now - eye.opened < LOOK_AGAIN)
        return true;
    if (eye.open)
        close(eye.descriptor);
    if (eye.open && eye.index >= 0)
        close(eye.index);
    segment_path(path, board->directory, geteuid(), STORM_JOB, STORM_SEGMENT);
    eye.descriptor = open(path, O_RDONLY | O_CLOEXEC);
    eye.open = eye.descriptor >= 0;
    eye.opened = now;
    if (eye.open)
        see_index(board);
    return eye.open;
}

/* A robust mutex begins with a futex: the thread that holds it, and flags. */
static uint32_t holder_of(uint64_t lock)
{
    uint32_t word = 0;
    if (pread(eye.descriptor, &word, sizeof word, (off_t)lock) != sizeof word)
        return 0;
    return word & FUTEX_TID_MASK;
}

static unsigned place_of(const struct storm_board *board, uint32_t thread)
{
    for (unsigned i = 0; thread != 0 && i < STORM_LINES; i++) {
        const struct storm_place *place = &board->place[i / STORM_THREADS];
        if (atomic_load(&place->pid) != 0 &&
            atomic_load(&place->line[i % STORM_THREADS].thread) == (int32_t)thread)
            return i / STORM_THREADS;
    }
    return STORM_PLACES;
}

static unsigned place_of_process(const struct storm_board *board, int32_t pid)
{
    unsigned place = 0;
    while (place < STORM_PLACES && (pid == 0 || atomic_load(&board->place[place].pid) != pid))
        place++;
    return place;
}

/* ---------------------------------------------------------------- merging */

/* Who has locked the index? */
static int32_t index_holder(void)
{
    char line[256];
    int32_t holder = 0;
    FILE *locks = fopen("/proc/locks", "re");
    while (locks != NULL && holder == 0 && fgets(line, sizeof line, locks) != NULL) {
        int32_t pid;
        uint64_t inode;
        if (sscanf(line, "%*s FLOCK %*s %*s %d %*x:%*x:%" SCNu64, &pid, &inode) == 2 &&
            inode == eye.index_inode)
            holder = pid;
    }
    if (locks != NULL)
        fclose(locks);
    return holder;
}

static int32_t pid_of_row(const struct view *view, uint32_t row)
{
    struct process_row entry;
    const off_t at = (off_t)view_offset(view, &view->rows[row]);
    return pread(eye.descriptor, &entry, sizeof entry, at) == sizeof entry ? entry.pid : 0;
}

/* Whose memory is being replaced. */
static uint32_t replaced_row(void)
{
    struct merge_row rows[64];
    if (pread(eye.index, rows, sizeof rows, offsetof(struct merge_file, rows)) != sizeof rows)
        return UINT32_MAX;
    for (uint32_t row = 0; row < COUNT_OF(rows); row++)
        if (atomic_load(&rows[row].closed) != 0)
            return row;
    return UINT32_MAX;
}

/* Who copies a chunk, or lets go of its copy. */
static uint32_t copying_row(void)
{
    static struct merge_chunk chunks[512];
    if (pread(eye.index, chunks, sizeof chunks, offsetof(struct merge_file, chunks)) != sizeof chunks)
        return UINT32_MAX;
    for (uint32_t i = 0; i < COUNT_OF(chunks); i++) {
        const uint64_t word = atomic_load(&chunks[i].state);
        if ((word & CHUNK_STATE_MASK) == CHUNK_PUBLISHING || (word & CHUNK_STATE_MASK) == CHUNK_CLOSING)
            return (uint32_t)(word >> CHUNK_ROW_SHIFT & CHUNK_ROW_MASK);
    }
    return UINT32_MAX;
}

/* The first one that is in the middle of a merge and is `wanted`, as below. */
static unsigned look_for_merging(const struct storm_board *board, const struct view *view, unsigned wanted)
{
    if (eye.index < 0)
        return STORM_PLACES;
    const unsigned locker = place_of_process(board, index_holder());
    if (locker != STORM_PLACES && (wanted == STORM_PLACES || locker == wanted))
        return locker;
    const uint32_t rows[] = {copying_row(), replaced_row()};
    for (unsigned i = 0; i < COUNT_OF(rows); i++) {
        const unsigned place =
            rows[i] < view->row_count ? place_of_process(board, pid_of_row(view, rows[i])) : STORM_PLACES;
        if (place != STORM_PLACES && (wanted == STORM_PLACES || place == wanted))
            return place;
    }
    return STORM_PLACES;
}

/* ---------------------------------------------------------------- both */

/* The first one that holds a lock and is `wanted`, or anybody when that is STORM_PLACES. */
static unsigned look_for(const struct storm_board *board, unsigned wanted)
{
    struct view view;
    if (!see(board))
        return STORM_PLACES;
    view_make(&view, (unsigned char *)(uintptr_t)WINDOW_BASE,
              board->capacity); /* for offsets; nothing is there */
    for (uint32_t i = 0; i <= view.shard_count; i++) {
        const struct lock *lock = i < view.shard_count ? &view.shards[i].lock : &view.pool->lock;
        const uint32_t thread = holder_of(view_offset(&view, lock));
        const unsigned place = place_of(board, thread);
        if (place != STORM_PLACES && (wanted == STORM_PLACES || place == wanted))
            return place;
    }
    return look_for_merging(board, &view, wanted);
}

unsigned storm_holder(const struct storm_board *board)
{
    return look_for(board, STORM_PLACES);
}

bool storm_holds(const struct storm_board *board, unsigned place)
{
    return look_for(board, place) == place;
}

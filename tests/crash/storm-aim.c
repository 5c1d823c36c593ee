/* SPDX-License-Identifier: MIT */
#include "storm-aim.h"

#include <fcntl.h>
#include <linux/futex.h>
#include <unistd.h>

#include "segment.h"
#include "storm-api.h"

#define LOOK_AGAIN UINT64_C(500000000) /* the file may have been made anew */

static struct {
    int descriptor; /* of the segment's file, when `open` */
    bool open;
    uint64_t opened;
} eye;

static bool see(const struct storm_board *board)
{
    char path[512];
    const uint64_t now = storm_clock();
    if (eye.open && now - eye.opened < LOOK_AGAIN)
        return true;
    if (eye.open)
        close(eye.descriptor);
    segment_path(path, board->directory, geteuid(), STORM_JOB, STORM_SEGMENT);
    eye.descriptor = open(path, O_RDONLY | O_CLOEXEC);
    eye.open = eye.descriptor >= 0;
    eye.opened = now;
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
    return STORM_PLACES;
}

unsigned storm_holder(const struct storm_board *board)
{
    return look_for(board, STORM_PLACES);
}

bool storm_holds(const struct storm_board *board, unsigned place)
{
    return look_for(board, place) == place;
}

/* SPDX-License-Identifier: MIT */
#include "storm-aim.h"

#include <linux/futex.h>
#include <string.h>
#include <unistd.h>

#include "segment.h"
#include "storm-api.h"

#define LOOK_AGAIN UINT64_C(500000000) /* the file may have been made anew */

static struct {
    struct segment file;
    bool open;
    uint64_t opened;
} view;

static bool see(const struct storm_board *board)
{
    const struct segment_request request = {.name = STORM_SEGMENT,
                                            .directory = board->directory,
                                            .job = STORM_JOB,
                                            .read_only = true,
                                            .uid = geteuid()};
    const uint64_t now = storm_clock();
    if (view.open && now - view.opened < LOOK_AGAIN)
        return true;
    if (view.open)
        segment_unmap(&view.file);
    view.open = segment_open(&view.file, &request, NULL, NULL) == 0;
    view.opened = now;
    return view.open;
}

/* A robust mutex begins with a futex: the thread that holds it, and flags. */
static uint32_t holder_of(const struct lock *lock)
{
    uint32_t word;
    memcpy(&word, lock->opaque, sizeof word);
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
    if (!see(board))
        return STORM_PLACES;
    const struct view *inside = &view.file.view;
    for (uint32_t lock = 0; lock <= inside->shard_count; lock++) {
        const uint32_t thread =
            holder_of(lock < inside->shard_count ? &inside->shards[lock].lock : &inside->pool->lock);
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

void storm_aim_no_more(void)
{
    if (view.open)
        segment_unmap(&view.file);
    view.open = false;
}

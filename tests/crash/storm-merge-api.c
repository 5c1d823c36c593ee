/* SPDX-License-Identifier: MIT */
#include "storm-merge.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "export.h"
#include "hold.h"
#include "private.h"
#include "shmcore.h"
#include "storm-api.h"

static struct {
    struct storm_board *board;
    shmcore_segment *segment;
} here;

bool storm_memory_begin(struct storm_board *board)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.size = board->capacity;
    traits.dir = board->directory;
    traits.job = STORM_JOB;
    here.board = board;
    private_set_hold(storm_place() % (HOLD_COMPARE + 1)); /* each way of holding writers */
    while (here.segment == NULL && !storm_is_over(board)) {
        storm_begin(STORM_OPEN);
        here.segment = shmcore_open(STORM_SEGMENT, &traits);
        const bool stopped = storm_end();
        if (here.segment == NULL && !(errno == EBUSY && stopped))
            storm_complain(board, "open: %s", shmcore_error());
    }
    return here.segment != NULL;
}

void *storm_memory_make(unsigned thread, size_t bytes)
{
    char name[32];
    snprintf(name, sizeof name, "of thread %u", thread);
    storm_begin(STORM_ALLOCATE);
    void *memory = shmcore_private(here.segment, name, bytes);
    const bool stopped = storm_end();
    if (memory == NULL && !stopped)
        storm_complain(here.board, "no private memory: %s", shmcore_error());
    return memory;
}

void storm_memory_free(void *memory)
{
    storm_begin(STORM_FREE);
    const int freed = shmcore_deallocate(here.segment, memory);
    storm_end();
    if (freed != 0)
        storm_complain(here.board, "free of %p: %s", memory, shmcore_error());
}

void storm_memory_merge(void *memory)
{
    storm_begin(STORM_MERGE);
    const ssize_t merged = shmcore_merge(here.segment, memory);
    storm_end();
    if (merged < 0)
        storm_complain(here.board, "merge: %s", shmcore_error());
}

bool storm_memory_is_ours(void)
{
    return export_is_member(here.segment);
}

void storm_memory_end(void)
{
    storm_begin(STORM_CLOSE);
    shmcore_close(here.segment);
    storm_end();
}

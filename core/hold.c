/* SPDX-License-Identifier: MIT */
#include "hold.h"

#include <string.h>

#include "error.h"
#include "os.h"
#include "park.h"

static int is_ring(const char *name, void *argument)
{
    char target[64];
    return os_read_link(argument, name, target, sizeof target) > 0 &&
           strcmp(target, "anon_inode:[io_uring]") == 0;
}

/* Each thread may have a table of its own, as the one has that merges. */
static int has_ring(int32_t thread, void *argument)
{
    char path[64];
    (void)argument;
    error_format(path, sizeof path, "/proc/self/task/%d/fd", thread);
    return os_list(path, is_ring, path) > 0;
}

static void open_watch(struct hold *hold, enum hold_way best)
{
    if (best == HOLD_USERFAULT && (hold->watch = os_watch_open(OS_WATCH_WAITING)) >= 0) {
        hold->way = HOLD_USERFAULT;
        return;
    }
    if (best <= HOLD_SCAN && (hold->watch = os_watch_open(OS_WATCH_NOTING)) >= 0) {
        hold->way = HOLD_SCAN;
        return;
    }
    hold->way = HOLD_COMPARE;
}

bool hold_open(struct hold *hold, enum hold_way best)
{
    *hold = (struct hold){.watch = -1, .pagemap = os_pagemap_open()};
    if (hold->pagemap < 0)
        return false;
    open_watch(hold, best);
    const bool possible = os_each_thread(has_ring, NULL) <= 0; /* it writes past all page faults */
    if (!possible)
        hold_close(hold);
    return possible;
}

void hold_close(struct hold *hold)
{
    if (hold->watch >= 0)
        os_close(hold->watch);
    if (hold->pagemap >= 0)
        os_close(hold->pagemap);
    hold->watch = hold->pagemap = -1;
}

enum hold_answer hold_watch(struct hold *hold, void *address, uint64_t bytes)
{
    int error = 0;
    if (hold->way != HOLD_COMPARE)
        error = os_watch_range(hold->watch, address, bytes);
    if (error == 0 && hold->way == HOLD_SCAN)
        error = os_pages_note(hold->pagemap, address, (uint32_t)(bytes / PAGE_BYTES));
    if (error == 0 && hold->way == HOLD_USERFAULT)
        error = os_watch_protect(hold->watch, address, bytes);
    if (error != 0)
        hold_forget(hold, address, bytes);
    return error == 0 ? HOLD_YES : HOLD_NO;
}

enum hold_answer hold_begin(struct hold *hold, void *address, uint64_t bytes)
{
    if (hold->way == HOLD_USERFAULT)
        return HOLD_YES;
    switch (park_begin(address, bytes)) {
    case PARKED:
        return HOLD_YES;
    case PARK_BLOCKED:
    case PARK_LATE:
        return HOLD_LATER;
    default:
        return HOLD_NO;
    }
}

void hold_written(struct hold *hold, void *address, uint32_t count, uint64_t *bits)
{
    const size_t bytes = divide_up(count, 64) * sizeof *bits;
    if (hold->way == HOLD_USERFAULT)
        memset(bits, 0, bytes);
    else if (hold->way == HOLD_COMPARE || os_pages_written(hold->pagemap, address, count, bits) != 0)
        memset(bits, 0xff, bytes);
}

void hold_end(struct hold *hold, void *address, uint64_t bytes)
{
    if (hold->way != HOLD_USERFAULT)
        park_end();
    hold_forget(hold, address, bytes);
}

void hold_forget(struct hold *hold, void *address, uint64_t bytes)
{
    if (hold->way != HOLD_COMPARE)
        os_watch_release(hold->watch, address, bytes);
}

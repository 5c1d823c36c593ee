/* SPDX-License-Identifier: MIT */
#include "promise.h"

#include <errno.h>

#include "os.h"

/* The parent's fork() has returned, or never will. */
static bool is_over(const struct process_row *row)
{
    return atomic_load_explicit(&row->fork_over, memory_order_acquire) == row->nonce ||
           (row->reaper != 0 && process_is_gone(row->reaper, row->reaper_start));
}

/* Since when there have been any, in ns since boot; UINT64_MAX: there are none. */
static uint64_t find_candidates(struct promises *out, const struct view *view)
{
    const uint32_t used = process_rows_used(view);
    uint64_t since = UINT64_MAX;
    *out = (struct promises){.examined = os_clock()};
    for (uint32_t row = 0; row < used; row++)
        if (process_state(view, row) == ROW_FORKING && is_over(&view->rows[row])) {
            out->suspects[row / 64] |= (uint64_t)1 << row % 64;
            since = least(since, view->rows[row].since);
        }
    return since;
}

struct search {
    const struct view *view;
    uint64_t device, inode;
    uint64_t since; /* in ticks since boot: who is older is nobody's child here */
};

/* A row of this very process: a dead one may have had its number. */
static bool has_row(const struct view *view, int32_t pid, uint64_t start)
{
    const uint32_t used = process_rows_used(view);
    for (uint32_t row = 0; row < used; row++)
        if (process_state(view, row) != ROW_FREE && view->rows[row].pid == pid &&
            view->rows[row].start_time == start)
            return true;
    return false;
}

/* Too old, ended, or somebody with a row. */
static bool is_known(const struct search *search, int32_t pid)
{
    uint64_t start;
    bool ended;
    return os_process_start(pid, &start, &ended) == 0 &&
           (ended || start < search->since || has_row(search->view, pid, start));
}

/* Of a process that cannot be looked into, only the user can be told. */
static int is_stray(int32_t pid, void *argument)
{
    const struct search *search = argument;
    if (pid == os_process() || is_known(search, pid))
        return 0;
    const int maps = os_process_maps(pid, search->device, search->inode);
    return maps == 1 || (maps < 0 && maps != -ENOENT && maps != -ESRCH && os_process_user(pid) == os_user());
}

void promises_examine(struct promises *out, const struct view *view, uint64_t device, uint64_t inode)
{
    const uint64_t since = find_candidates(out, view);
    struct search search = {view, device, inode, os_ticks(since)};
    search.since -= least(search.since, 1); /* clocks are read one after the other */
    if (since != UINT64_MAX && os_each_process(is_stray, &search) != 0)
        *out = (struct promises){.examined = 0};
}

bool promise_is_broken(const struct promises *promises, const struct view *view, uint32_t row)
{
    return (promises->suspects[row / 64] >> row % 64 & 1) != 0 && process_state(view, row) == ROW_FORKING &&
           view->rows[row].since < promises->examined;
}

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

static bool find_candidates(struct promises *out, const struct view *view)
{
    const uint32_t used = process_rows_used(view);
    bool any = false;
    *out = (struct promises){{0}};
    for (uint32_t row = 0; row < used; row++)
        if (process_state(view, row) == ROW_FORKING && is_over(&view->rows[row])) {
            out->broken[row / 64] |= (uint64_t)1 << row % 64;
            any = true;
        }
    return any;
}

struct search {
    const struct view *view;
    uint64_t device, inode;
};

static bool has_row(const struct view *view, int32_t pid)
{
    const uint32_t used = process_rows_used(view);
    for (uint32_t row = 0; row < used; row++)
        if (process_state(view, row) != ROW_FREE && view->rows[row].pid == pid)
            return true;
    return false;
}

/* Of a process that cannot be looked into, only the user can be told. */
static int is_stray(int32_t pid, void *argument)
{
    const struct search *search = argument;
    if (pid == os_process() || has_row(search->view, pid))
        return 0;
    const int maps = os_process_maps(pid, search->device, search->inode);
    return maps == 1 || (maps < 0 && maps != -ENOENT && maps != -ESRCH && os_process_user(pid) == os_user());
}

void promises_examine(struct promises *out, const struct view *view, uint64_t device, uint64_t inode)
{
    struct search search = {view, device, inode};
    if (find_candidates(out, view) && os_each_process(is_stray, &search) != 0)
        *out = (struct promises){{0}};
}

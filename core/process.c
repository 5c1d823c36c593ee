/* SPDX-License-Identifier: MIT */
#include "process.h"

#include <errno.h>
#include <string.h>

#include "os.h"

struct process_identity process_identify(void)
{
    struct process_identity self = {.pid = os_process(), .nonce = os_random()};
    bool ended;
    if (os_process_start(self.pid, &self.start_time, &ended) != 0)
        self.start_time = 0; /* no /proc: then nobody can be told dead by it either */
    return self;
}

void process_set_state(const struct view *view, struct transaction *transaction, uint32_t row,
                       enum row_state state)
{
    UNDO_SET(transaction, &view->rows[row].since, os_clock());
    UNDO_PUBLISH(transaction, &view->rows[row].state, (uint32_t)state);
}

static uint32_t free_row(const struct view *view)
{
    const uint32_t used = process_rows_used(view);
    for (uint32_t row = 0; row < used; row++)
        if (process_state(view, row) == ROW_FREE)
            return row;
    return used < view->row_count ? used : ROW_NONE;
}

uint32_t process_take_row(const struct view *view, struct transaction *transaction,
                          const struct process_identity *identity, enum row_state state)
{
    const uint32_t index = free_row(view);
    if (index == ROW_NONE)
        return ROW_NONE;
    struct process_row *row = &view->rows[index];
    if (index >= view->pool->rows_used)
        UNDO_SET(transaction, &view->pool->rows_used, index + 1);
    UNDO_SET(transaction, &row->pid, identity->pid);
    UNDO_SET(transaction, &row->start_time, identity->start_time);
    UNDO_SET(transaction, &row->nonce, identity->nonce);
    UNDO_SET(transaction, &row->reaper, 0);
    UNDO_SET(transaction, &row->parent, 0);
    UNDO_SET(transaction, &row->read_by_children, 0);
    UNDO_SET(transaction, &row->had_regions, 0);
    UNDO_PUBLISH(transaction, &row->fork_over, (uint64_t)0);
    UNDO_PUBLISH(transaction, &row->entered, (uint64_t)0);
    os_command(row->command);
    process_set_state(view, transaction, index, state);
    return index;
}

bool process_is_gone(int32_t pid, uint64_t start_time)
{
    uint64_t start;
    bool ended;
    const int error = os_process_start(pid, &start, &ended);
    if (error != 0)
        return error == -ESRCH;
    return ended || (start_time != 0 && start != start_time);
}

bool process_is_dead(const struct view *view, uint32_t index, uint64_t device, uint64_t inode)
{
    const struct process_row *row = &view->rows[index];
    switch (process_state(view, index)) {
    case ROW_ALIVE:
    case ROW_EXITING:
        return process_is_gone(row->pid, row->start_time) || os_process_maps(row->pid, device, inode) == 0;
    case ROW_FORKING: {
        const uint64_t now = os_clock();
        return now > row->since && now - row->since > FORKING_PATIENCE;
    }
    case ROW_REAPING: /* whoever was at it has died itself, or is asking: then he can go on */
        return row->reaper == os_process() || process_is_gone(row->reaper, row->reaper_start);
    case ROW_PINNED:
        return !process_has_children(view, index);
    default:
        return false;
    }
}

bool process_is_former_self(const struct view *view, uint32_t index, const struct process_identity *identity)
{
    const struct process_row *row = &view->rows[index];
    const enum row_state state = process_state(view, index);
    return (state == ROW_ALIVE || state == ROW_EXITING) && row->pid == identity->pid &&
           row->start_time == identity->start_time && row->nonce != identity->nonce;
}

bool process_has_other_self(const struct view *view, const struct process_identity *identity)
{
    const uint32_t used = process_rows_used(view);
    for (uint32_t row = 0; row < used; row++)
        if (process_is_former_self(view, row, identity))
            return true;
    return false;
}

bool process_has_children(const struct view *view, uint32_t row)
{
    const uint32_t used = process_rows_used(view);
    for (uint32_t other = 0; other < used; other++)
        if (other != row && process_state(view, other) != ROW_FREE && view->rows[other].parent == row + 1)
            return true;
    return false;
}

uint32_t process_count(const struct view *view)
{
    uint32_t count = 0;
    const uint32_t used = process_rows_used(view);
    for (uint32_t row = 0; row < used; row++) {
        const enum row_state state = process_state(view, row);
        count += state == ROW_ALIVE || state == ROW_FORKING || state == ROW_EXITING;
    }
    return count;
}

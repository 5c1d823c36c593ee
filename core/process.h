/* SPDX-License-Identifier: MIT
 *
 * The process table: a row for each process that has the segment open for writing.
 *
 * A row says who it is (pid and start time, so that a reused pid is told apart; a nonce, so that an exec
 * is) and how far it is with dying. References to blocks name rows, never pids.
 *
 * A process is dead when its pid is gone or has another start time; when all its threads have ended though
 * nobody waited for it; or when it no longer maps the segment (it called exec). What cannot be told counts
 * as alive. A FORKING row is a promise made by a parent for its child: it is dead when nobody has come to
 * live in it for FORKING_PATIENCE; promise.h knows sooner.
 *
 * Table changes need the pool's lock; looking at a row does not. What a dead process held is given back by
 * reap.c: this room only knows rows.
 */
#ifndef SHM_PROCESS_H
#define SHM_PROCESS_H

#include "geometry.h"
#include "undo.h"

#define ROW_NONE         UINT32_MAX
#define FORKING_PATIENCE UINT64_C(30000000000)

struct process_identity {
    int32_t pid;
    uint64_t start_time, nonce;
};

/* Who the calling process is, with a fresh nonce. */
struct process_identity process_identify(void);

/* Takes a free row in `state` for the identity. ROW_NONE: there is none. */
uint32_t process_take_row(const struct view *view, struct transaction *transaction,
                          const struct process_identity *identity, enum row_state state);

void process_set_state(const struct view *view, struct transaction *transaction, uint32_t row,
                       enum row_state state);

/* There is no such process, or it has another start time, or all its threads have ended. */
bool process_is_gone(int32_t pid, uint64_t start_time);

/* Is the row's process dead? `device` and `inode` name the segment's file. */
bool process_is_dead(const struct view *view, uint32_t row, uint64_t device, uint64_t inode);

/* A row of this very pid and start time with another nonce: left behind by an exec. */
bool process_is_former_self(const struct view *view, uint32_t row, const struct process_identity *identity);

/* Is there one such row? While the process lives on it is that of another copy of the library in it. */
bool process_has_other_self(const struct view *view, const struct process_identity *identity);

/* Does some row name `row` as its parent? */
bool process_has_children(const struct view *view, uint32_t row);

/* Rows that are neither free nor dead for certain. */
uint32_t process_count(const struct view *view);

static inline enum row_state process_state(const struct view *view, uint32_t row)
{
    return (enum row_state)atomic_load_explicit(&view->rows[row].state, memory_order_acquire);
}

/* The row's process is about to enter the shard, or is given references there. Said once, and before: so what
 * a dead process has left behind is in the shards that it has said, as few of them as they may be. */
static inline void process_note_shard(const struct view *view, uint32_t row, uint32_t shard)
{
    _Atomic uint64_t *entered = &view->rows[row].entered;
    const uint64_t bit = (uint64_t)1 << shard;
    if (UNLIKELY((atomic_load_explicit(entered, memory_order_relaxed) & bit) == 0))
        atomic_fetch_or(entered, bit);
}

static inline bool process_has_entered(const struct view *view, uint32_t row, uint32_t shard)
{
    return (atomic_load(&view->rows[row].entered) >> shard & 1) != 0;
}

/* Rows that may be in use are below this. */
static inline uint32_t process_rows_used(const struct view *view)
{
    return (uint32_t)least(__atomic_load_n(&view->pool->rows_used, __ATOMIC_RELAXED), view->row_count);
}

#endif

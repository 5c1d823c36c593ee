/* SPDX-License-Identifier: MIT
 *
 * Promises: rows that a parent made for a child (ROW_FORKING), and that nobody will ever move into.
 *
 * The fork failed, or the child was killed before it could say that it is there. Until FORKING_PATIENCE is
 * over such a row would hold the parent's blocks and regions, and the file. But there is a proof: when the
 * parent's fork() has returned, or the parent is gone, the child exists or never will; and as long as it has
 * not moved in, it is a process that maps the file and has no row. If there is no such process, every promise
 * that was over before the search is broken. The search goes through /proc and is slow, so it is for those
 * who look at all rows: a full segment, the last one to leave, `gc`.
 *
 * Processes with no row of other kinds (viewers, children of _Fork) look the same: then nothing is proved,
 * and patience decides.
 */
#ifndef SHM_PROMISE_H
#define SHM_PROMISE_H

#include "process.h"

struct promises {
    uint64_t examined;                 /* when, in ns since boot */
    uint64_t suspects[ROWS_MOST / 64]; /* a bit a row */
};

void promises_examine(struct promises *out, const struct view *view, uint64_t device, uint64_t inode);

/* Is it still the promise that was examined? The child may have moved in before the search went past it. */
bool promise_is_broken(const struct promises *promises, const struct view *view, uint32_t row);

#endif

/* SPDX-License-Identifier: MIT
 *
 * One run of this process's regions on its way through a fork: what the child will see of it.
 *
 * Blocks differ in what their rule says (enum fork_view), so a run falls into pieces of one view each; free
 * extents and labels say nothing and go with the piece before them. A piece is
 *   COPY      copied to anonymous memory before the fork; the child moves that over the range
 *   OVERLAY   mapped privately from the file by the child: the parent's pages until it writes
 *   SHARED    left as it is
 * Where there is no memory for a copy the piece is overlaid, and where the file cannot be opened it is
 * shared: the lapse says so. With each run goes a copy of its part of the quanta table, because the parent
 * goes on changing its own.
 *
 * The heap of exports is locked by the caller from the making to the dropping. Other threads of the parent
 * may still write into blocks meanwhile: what the child gets of them can be torn.
 */
#ifndef SHM_FORKED_RUN_H
#define SHM_FORKED_RUN_H

#include "forked_lapse.h"
#include "handle.h"

/* Before the fork: makes segment->forked_runs. *read: the child will read some of the parent's own pages. */
enum forked_lapse forked_runs_make(shmcore_segment *segment, bool *read);

/* After it, in the parent. */
void forked_runs_drop(shmcore_segment *segment);

/* After it, in the child: the views are laid over the ranges, and the runs become segment->inherited. */
enum forked_lapse forked_runs_adopt(shmcore_segment *segment);

#endif

/* SPDX-License-Identifier: MIT
 *
 * Ranges of a segment that held a parent's exported blocks at a fork: they lie under private pages since, or
 * are shared with it (see forked_run.h). With them the copies of the tables that describe them, for the
 * parent goes on changing its own.
 */
#ifndef SHM_INHERITED_H
#define SHM_INHERITED_H

#include "handle.h"

/* The quanta table to look `offset` up in when it lies in such a range, indexed like the segment's own;
 * NULL when it does not. */
const struct quantum *inherited_quanta(const shmcore_segment *segment, uint64_t offset);

/* Does a run of regions lie in such ranges, if only in part? */
bool inherited_overlaps(const shmcore_segment *segment, struct region_run run);

/* The segment was closed: forgets the copies, which went with the mapping. */
void inherited_forget(shmcore_segment *segment);

#endif

/* SPDX-License-Identifier: MIT
 *
 * What a fork does to the blocks of a segment, for the files of the façade.
 */
#ifndef SHM_FORKED_H
#define SHM_FORKED_H

#include "store.h"

/* The quanta table to look `offset` up in when it lies under a private copy left by a fork, indexed like the
 * segment's own; NULL when it does not. */
const struct quantum *forked_quanta(const shmcore_segment *segment, uint64_t offset);

/* Does a run of regions lie under such copies, if only in part? */
bool forked_overlaps(const shmcore_segment *segment, struct region_run run);

/* The segment was closed: forgets the copies, which went with the mapping. */
void forked_forget(shmcore_segment *segment);

#endif

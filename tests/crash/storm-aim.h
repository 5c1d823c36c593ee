/* SPDX-License-Identifier: MIT
 *
 * Who holds a lock of the segment just now, or is in the middle of a merge? So that a kill hits inside a
 * transaction, and a stop hits somebody that others wait for: chance alone does that once in a hundred times.
 *
 * It only reads, and maps nothing: a process that maps the file is taken for one that takes part.
 */
#ifndef SHM_STORM_AIM_H
#define SHM_STORM_AIM_H

#include "storm-board.h"

/* The place of a process that holds a lock of a shard, of the pool or of the index of merged memory, or that
 * publishes, lets go of or replaces merged memory; STORM_PLACES: none is seen. */
unsigned storm_holder(const struct storm_board *board);
/* Is it this one? */
bool storm_holds(const struct storm_board *board, unsigned place);
#endif

/* SPDX-License-Identifier: MIT
 *
 * The processes of a storm through the C API, and the fresh process that looks at what a storm left.
 */
#ifndef SHM_STORM_API_H
#define SHM_STORM_API_H

#include "storm-board.h"

#define STORM_SEGMENT "SHARED::storm"
#define STORM_JOB     "storm"

/* A process in `place`. `steps` 0: three threads until the storm is over; else one, for so many operations.
 * Does not return. */
void storm_api_worker(struct storm_board *board, int descriptor, unsigned place, unsigned steps)
    __attribute__((noreturn));

/* Makes the segment, notes in the board what an empty one takes, and closes it. False: it cannot. */
bool storm_measure_fresh(struct storm_board *board);

/* With every process of the storm dead or gone: attaches and complains about whatever is left of them. */
void storm_look_at_the_end(struct storm_board *board);

#endif

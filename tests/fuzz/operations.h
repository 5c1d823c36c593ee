/* SPDX-License-Identifier: MIT
 *
 * What a run does with the damaged file: everything that shmcore.h and the preload's side offer.
 *
 * Beside not crashing, each answer must make sense: a block lies inside the segment and not over its tables,
 * a name ends, an error is one sentence, no descriptor is kept, nothing is waited for beyond reason.
 */
#ifndef SHM_FUZZ_OPERATIONS_H
#define SHM_FUZZ_OPERATIONS_H

#include "script.h"

/* Runs the script's operations on the file in `directory`; whatever is open at the end is closed. */
void operations_run(const struct script *script, const char *directory);

#endif

/* SPDX-License-Identifier: MIT
 *
 * What becomes of the files when a process dies that is alone with a segment: the victim lives on an island,
 * a /dev/shm of its own; its files are copied to the island of this process, which opens the segment like any
 * newcomer. The locks on files go with the process, and are not copied.
 */
#ifndef SHM_TEST_FILES_H
#define SHM_TEST_FILES_H

#include "trial.h"

/* The segment's file on the island of the victim, mapped here; NULL when there is none of that size. */
const unsigned char *files_map(pid_t victim, uint64_t bytes);

/* Copies the files as they would be after the victim's death. */
const char *files_copy(const struct stepper *stepper);

/* Opens the segment there, looks at it, uses it, closes it, and nothing may be left. `dead`: the victim. */
const char *files_verdict(int32_t dead);

#endif

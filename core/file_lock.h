/* SPDX-License-Identifier: MIT
 *
 * The lock of a segment's file, which whoever opens or leaves the segment holds for a moment: when a job
 * begins, all its processes want it at once.
 *
 * It is an flock(), which goes with its holder however he dies. But nobody can wait for one with an end to
 * his patience, so who finds it taken sleeps on a word of the file's header, and who gives it back wakes one
 * of them. That is a hint and no more: all of it rests on the flock(), a sleeper looks again after a while by
 * himself, and where there is no header yet he looks again and again, with growing pauses.
 *
 * Of a file that is not known to be a segment nothing is read or written through memory here: somebody may be
 * about to truncate it.
 */
#ifndef SHM_FILE_LOCK_H
#define SHM_FILE_LOCK_H

#include "layout.h"

/* 0; -EBUSY when it is still taken after `patience` ns; or another -errno. */
int file_lock(int descriptor, uint64_t patience);

/* `header` of the segment, mapped so that it can be written; NULL: nobody is woken. Was somebody? */
bool file_unlock(int descriptor, struct header *header);

#endif

/* SPDX-License-Identifier: MIT
 *
 * Fingerprints of the contents of blocks: XXH3 of each 64 KiB, counted from the block's start.
 *
 * The program does not notice: memory that it never touched stays untouched (it counts as zeros, and so does
 * what is swapped out), and what may not be read, or goes while it is read, is left out and counted as
 * unread. Only the appending to a row's pages takes a lock.
 */
#ifndef SHM_RECORD_MARKS_H
#define SHM_RECORD_MARKS_H

#include "base.h"

/* Of a block of this row. `buffer` is for RECORD_PIECE_BYTES. */
void record_marks_take(uint32_t row, const void *address, size_t bytes, void *buffer);

void record_marks_lock(void);
void record_marks_unlock(void);

#endif

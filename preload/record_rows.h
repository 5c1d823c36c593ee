/* SPDX-License-Identifier: MIT
 *
 * The rows of a record: a stack → its row, and the row's counters.
 *
 * A row belongs to a stack as modules and offsets tell it, so it outlives the unloading and loading of
 * modules; it is found by the hash of the return addresses, which is taken anew after a module was unloaded.
 * Finding a row takes no lock. Counters are kept under a small lock of the row, and under none while there is
 * one thread: all of them agree with each other, and a peak is one that really was.
 *
 * Locks: that of making a row, which nothing else is taken under but the file's; those of the rows, under
 * which nothing is called.
 */
#ifndef SHM_RECORD_ROWS_H
#define SHM_RECORD_ROWS_H

#include "base.h"
#include "config/policy.h"

/* A file was made: there are no rows. False: no memory. */
bool record_rows_begin(void);

/* The row of a stack, counted from 1; 0: none is left, and the call is counted as dropped. `epoch`: what has
 * been unloaded so far. */
uint32_t record_rows_find(const uintptr_t *frame, unsigned count, uint64_t epoch);

void record_rows_allocated(uint32_t row, size_t bytes, enum policy_call call);

/* After `lifetime` ns. */
void record_rows_freed(uint32_t row, size_t bytes, uint64_t lifetime);

void record_rows_lock(void);
void record_rows_unlock(void);

#endif

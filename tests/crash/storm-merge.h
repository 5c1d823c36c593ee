/* SPDX-License-Identifier: MIT
 *
 * Where a process of a storm of merging has its memory from: the C API (storm-merge-api.c), or malloc under
 * the preload (storm-merge-malloc.c). What it does with it is the same: storm-merge.c.
 */
#ifndef SHM_STORM_MERGE_H
#define SHM_STORM_MERGE_H

#include "storm-board.h"

/* True: this process takes part. */
bool storm_memory_begin(struct storm_board *board);
/* Zero, or NULL. The same calls by the same thread give the same addresses in every process. */
void *storm_memory_make(unsigned thread, size_t bytes);
void storm_memory_free(void *memory);
/* Merges now what there is, of one block or of all; does nothing where that happens by itself. */
void storm_memory_merge(void *memory);
/* In a forked child: can it have memory that is merged? */
bool storm_memory_is_ours(void);
void storm_memory_end(void);

#endif

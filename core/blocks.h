/* SPDX-License-Identifier: MIT
 *
 * Named blocks, for the files of the façade.
 */
#ifndef SHM_BLOCKS_H
#define SHM_BLOCKS_H

#include "handle.h"
#include "text.h"

/* shmcore_allocate() with a salt; *created says whether this call made the block. */
void *block_allocate(shmcore_segment *segment, const char *name, uint64_t salt, size_t bytes, bool share,
                     bool *created);

/* A named block, with or without a salt, or NULL; sets no error. */
void *block_find(shmcore_segment *segment, const char *name, size_t *bytes);

#endif

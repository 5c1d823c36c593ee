/* SPDX-License-Identifier: MIT
 *
 * What merge_index.c and merge_copies.c share: the files and the lock. Nobody else includes this.
 */
#ifndef SHM_MERGE_INDEX_OWN_H
#define SHM_MERGE_INDEX_OWN_H

#include "os.h"

struct merge_index;

#define MERGE_PATH_BYTES 384u

void merge_index_path(const struct merge_index *index, char out[MERGE_PATH_BYTES]);

/* Opens a file that is this user's, and that nobody else may read. A descriptor or -errno. */
int merge_index_open_own(const char *path, enum os_open how);

/* A descriptor for merge_index_unlock(), or -errno: -EBUSY after a second, or, when somebody has just waited
 * in vain, at once. So a pass over many chunks, or a free of many, does not wait for a stopped process for
 * each.
 */
int merge_index_lock(struct merge_index *index);
void merge_index_unlock(int descriptor);

/* Gives memory to a range of the file. 0 or -errno. */
int merge_index_reserve(int descriptor, uint64_t offset, uint64_t bytes);

#endif

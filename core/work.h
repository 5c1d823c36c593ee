/* SPDX-License-Identifier: MIT
 *
 * One operation on the named blocks of one shard: what it carries around, and making room for it. For
 * blocks.c and release.c.
 *
 * Room is made before the operation's own transaction, each piece in a transaction of its own: an empty slab
 * or a piece of bucket table too many is a sound state.
 */
#ifndef SHM_WORK_H
#define SHM_WORK_H

#include "directory.h"
#include "handle.h"
#include "place.h"

/* What one operation on one shard carries around. */
struct work {
    shmcore_segment *segment;
    const struct view *view;
    struct shard *shard;
    uint32_t number, owner;
    struct guarded guarded;
};

bool work_enter(struct work *work, shmcore_segment *segment, uint32_t number);
void work_leave(const struct work *work);
struct heap work_heap(const struct work *work, struct transaction *transaction);
/* Why a transaction was taken back: -1 with the error set. */
int work_undone(const struct work *work, const struct transaction *transaction);

/* A slab of the class with a free slot; all that a new block of this name and class needs beside its extent.
 * 0, or -1 with the error set. */
int work_ensure_slab(const struct work *work, uint32_t slab_class);
int work_ensure_room(const struct work *work, const struct name_key *key, uint32_t slab_class);

/* Drops one or all references of a row, frees the block with the last one, sheds what the shard need not
 * keep. `shed` is for regions_return() after leaving. */
void work_drop_and_free(struct work *work, struct record *record, uint32_t row, bool all,
                        struct region_run *shed);

#endif

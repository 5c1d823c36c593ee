/* SPDX-License-Identifier: MIT
 *
 * The common pool: regions that belong to nobody, and the table that says whom the others belong to.
 *
 * A region's owner is a shard, a process row, or the tables at the start of the file. Slabs of records have
 * the first place that fits from the lowest address, and must stay below RECORD_LIMIT; everything else has
 * the first from the highest: slabs, which stay, would else lie behind whatever large block there was when
 * they were made, and no larger one would fit again.
 *
 * Pure, like the heap; the caller holds the pool's lock.
 */
#ifndef SHM_POOL_H
#define SHM_POOL_H

#include "geometry.h"
#include "undo.h"

struct region_run {
    uint32_t first, count; /* count 0: none */
};

/* Zeroed tables → everything but the tables' own regions is free. Not logged: nobody else is there. */
void pool_make(const struct view *view);

/* Finds `count` neighbouring free regions, their first a multiple of `alignment` regions. `low`: the run must
 * lie below RECORD_LIMIT. */
struct region_run pool_find(const struct view *view, uint32_t count, uint32_t alignment, bool low);

/* Is the run free, all of it? */
bool pool_has(const struct view *view, struct region_run run);

/* Gives the free run to `owner`. Its part of the tables has memory by now: from here on others read it. */
void pool_take(const struct view *view, struct transaction *transaction, struct region_run run,
               uint32_t owner);

/* Gives back a run, all of which belongs to one owner; its quanta all say NONE and its memory is gone. After
 * the commit pool_forget() clears the owners: of a free region an owner means nothing, so a death in between
 * does no harm, and the log need not hold a word for every region. */
void pool_give(const struct view *view, struct transaction *transaction, struct region_run run);
void pool_forget(const struct view *view, struct region_run run);

/* Another owner for regions that are taken; a store for each, not logged. */
void pool_hand(const struct view *view, struct region_run run, uint32_t owner);

/* The next run of regions of `owner` at or after `from`; at most `most` regions of it. */
struct region_run pool_next_of(const struct view *view, uint32_t owner, uint32_t from, uint32_t most);

/* The next region at or after `from` that is on its way back, and of which process row; the number of
 * regions: there is none. Without the lock it is a glance. */
uint32_t pool_next_returning(const struct view *view, uint32_t from, uint32_t *row);

/* The longest run that pool_take could give. */
uint32_t pool_longest(const struct view *view);

/* Bitmap, owners and counters agree. */
bool pool_is_sound(const struct view *view);

#endif

/* SPDX-License-Identifier: MIT
 *
 * Are all invariants of a segment kept? For every test that leaves a segment behind.
 *
 * The segment must be quiet: nobody is inside an operation. Any number of processes may live, hold blocks and
 * own regions; dead ones may still have their rows, as long as somebody has been in each shard and in the
 * pool since they died. Nothing is believed of the code that is tested: everything is worked out anew from
 * the types of layout.h and the geometry, the free structures from the quanta, the counts from the lists.
 *
 * What is looked at:
 *   locks     free, not poisoned; undo logs empty, sequences even, nothing loose
 *   pool      each region free or owned by a shard or by a row in use; bitmap, count and hint agree; the
 * quanta of free regions say NONE extents   cover each shard's regions exactly once; no two free ones touch;
 * bins, counts, occupied bits and links both ways are those of the free extents that are there slabs     used
 * is the number of live bits; the lists hold exactly the slabs with room names     each record in the bucket
 * of its name's hash, no name twice; every live slot and every taken extent is reached from exactly one
 * thing; the counts of entries, blocks and bytes holders   refs == first_count + the counts of the row slots;
 * held[shard][row] is their sum for every row memory    what a live block, a slab or a table lies in is
 * marked as reserved
 *
 * Changes nothing and takes no lock. Not thread-safe: the answer lies in one place.
 */
#ifndef SHM_TEST_SOUNDNESS_H
#define SHM_TEST_SOUNDNESS_H

#include "geometry.h"

/* NULL, or what is wrong, as a sentence that is valid until the next call. */
const char *soundness_of(const struct view *view);

/* The same for what the process of a row has exported: its extents cover its regions exactly once, free ones
 * are linked both ways, slabs and labels make sense. Only of a process that is quiet itself. */
const char *soundness_of_exports(const struct view *view, uint32_t row);

/* What a sound segment holds, in an order of no meaning: names, sizes, kinds and who has how many references.
 * Two sums are equal when the segments hold the same. */
uint64_t soundness_sum(const struct view *view);

/* Calls `look` for each named block until it answers a sentence, and returns that. */
struct sound_block {
    char name[256];
    uint64_t bytes, offset, salt;
    uint32_t status;
};
const char *soundness_for_each(const struct view *view,
                               const char *(*look)(const struct view *view, const struct sound_block *block));

#endif

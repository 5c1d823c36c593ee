/* SPDX-License-Identifier: MIT
 *
 * The blocks that are recorded and live: address → row, size, birth.
 *
 * A shadow of the address space: each 16 bytes have a place of their own, so that nothing is searched, moved
 * or locked, and who owns a block owns its place. Neighbours in memory are neighbours here. Parts are mapped
 * as blocks appear in them and stay. A free that was not seen is made good when the address comes again.
 *
 * Blocks of other alignments (of allocators that have them) have no place: they are refused.
 */
#ifndef SHM_RECORD_LIVE_H
#define SHM_RECORD_LIVE_H

#include "base.h"

struct record_block {
    uint64_t bytes;
    uint64_t birth;
    uint32_t row;  /* 0: there is no such block */
    bool is_known; /* its contents have been looked at */
};

/* Blocks of at least this size can be visited; and whether there are any smaller ones. At bring-up. */
void record_live_begin(uint64_t least_bytes, uint64_t visited_bytes);

/* Remembers a block. *before: what was still remembered of one at this address. False: it has no place. */
bool record_live_put(const void *address, const struct record_block *block, struct record_block *before);

/* Looks; takes it out. Row 0: there is none. */
struct record_block record_live_find(const void *address);
struct record_block record_live_take(const void *address);

/* For each block of the size said at the beginning that is not known yet: makes it known, and calls. Other
 * threads may go on. */
void record_live_visit(void (*visit)(void *address, const struct record_block *block));

#endif

/* SPDX-License-Identifier: MIT
 *
 * Dirty ranges: pages of an arena that were freed a while ago and still hold what was written to them.
 * Programs free and ask again for the same few pages all the time; giving them back to the system and having
 * them filled with zeros each time costs a hundred times what the program does with them.
 *
 * Invariants: ranges do not overlap, are all free in the arena, and are the only free pages in it that may
 * not be zero. Few, and none of them large; what is kept in all arenas together, the arenas' ground bounds.
 * Pure: no lock, no system call.
 */
#ifndef SHM_DIRTY_H
#define SHM_DIRTY_H

#include <stdbool.h>
#include <stdint.h>

#define DIRTY_RANGES 8u
#define DIRTY_PAGES  4096u /* of a range, at the most */

struct dirty_range {
    uint32_t page, pages; /* 0: none */
};

struct dirty {
    uint32_t count;
    struct dirty_range range[DIRTY_RANGES]; /* by age */
};

/* Keeps one more, together with what touches it. What has to be given back for it: the oldest, or the range
 * itself if it is too large. */
struct dirty_range dirty_keep(struct dirty *dirty, struct dirty_range range);

/* Is any of these pages in one of them? */
bool dirty_touches(const struct dirty *dirty, struct dirty_range range);

/* In all ranges. */
uint32_t dirty_pages(const struct dirty *dirty);

/* These pages are used again: takes a part of them that is dirty out of the list, and puts what is not among
 * them of its range back, as far as there is room; else into *rest, which has to be given back. Call it until
 * it finds none. */
struct dirty_range dirty_take(struct dirty *dirty, struct dirty_range used, struct dirty_range *rest);

#endif

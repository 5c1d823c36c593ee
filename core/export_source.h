/* SPDX-License-Identifier: MIT
 *
 * What a thread brings along when it allocates exported blocks.
 */
#ifndef SHM_EXPORT_SOURCE_H
#define SHM_EXPORT_SOURCE_H

#include "layout.h"

struct slab_book;

/* A thread's slabs that had become empty and stayed in use. Zeroed by the caller at first. */
#define EXPORT_KEPT 256u
struct export_kept {
    struct slab_book *book[EXPORT_KEPT];
    uint32_t turn; /* the place of the one that stays the longest */
};

/* What one thread knows of one call site. Zeroed by the caller at first, but for `kept`; used by one thread
 * only. */
struct export_source {
    uint32_t label;                            /* from export_label() to export_retire(); else 0 */
    struct export_kept *kept;                  /* of the thread; NULL: each empty one in use stays */
    struct slab_book *slab[SLAB_DATA_CLASSES]; /* in use, by class; NULL: none. See export_book.h */
};

enum export_flags {
    EXPORT_ZERO = 1,  /* calloc */
    EXPORT_TOUCH = 2, /* reserve=touch: promise the addresses only */
    EXPORT_FORK_OVERLAY = 4,
    EXPORT_FORK_SHARED = 8, /* neither of the two: a forked child gets a copy */
};

/* The flags as they are kept in quantum.sequence. */
static inline uint64_t export_quantum_flags(unsigned flags)
{
    const enum fork_view view = (flags & EXPORT_FORK_SHARED) != 0    ? FORK_SHARED
                                : (flags & EXPORT_FORK_OVERLAY) != 0 ? FORK_OVERLAY
                                                                     : FORK_COPY;
    return ((flags & EXPORT_TOUCH) != 0 ? QUANTUM_TOUCHED : 0) | (uint64_t)view << QUANTUM_FORK_SHIFT;
}

#endif

/* SPDX-License-Identifier: MIT
 *
 * What the parts of the check of a segment share; see soundness.h.
 *
 *   soundness.c          locks, pool, rows; the order of it all
 *   soundness_heap.c     extents, bins, slabs
 *   soundness_names.c    buckets, records, who holds them
 *   soundness_exports.c  what one process has exported
 */
#ifndef SHM_TEST_SOUNDNESS_PARTS_H
#define SHM_TEST_SOUNDNESS_PARTS_H

#include "soundness.h"

struct audit {
    const struct view *view;
    uint32_t number, owner; /* the shard that is looked at */
    const struct shard *shard;
    unsigned char *reached;                     /* [quantum] taken extents that something leads to */
    uint64_t (*slots_reached)[SLAB_LIVE_WORDS]; /* [region of 64 KiB] slots that something leads to */
    uint64_t *held;                             /* [row] references found */
};

/* Makes the sentence and returns it. */
const char *complain(const char *format, ...) PRINTF_LIKE(1, 2);

/* Does the quantum lie in a taken region of this owner? */
bool audit_owns(const struct view *view, uint32_t quantum, uint32_t owner);
bool audit_region_is_free(const struct view *view, uint32_t region);
uint32_t audit_kind(const struct view *view, uint32_t quantum);
bool audit_row_is_used(const struct view *view, uint32_t row);
bool audit_is_reserved(const struct view *view, uint64_t offset, uint64_t bytes);

/* The bin that a free extent of so many quanta hangs in. */
unsigned audit_bin_of(uint32_t count);

const char *audit_extents(const struct audit *audit);
const char *audit_slabs(const struct audit *audit);
const char *audit_names(const struct audit *audit);

/* Bucket `index` of the table, which has a piece for it. */
const struct bucket *audit_bucket(const struct view *view, const struct shard *shard, uint32_t index);

/* A live slot of a slab of one of these classes begins at the offset: it is reached now. `record`: the offset
 * is that of its record. */
const char *audit_reach_slot(const struct audit *audit, uint64_t offset, bool record, uint32_t least_class,
                             uint32_t most_class, const char *what);
/* After the names: everything that lives has been reached. */
const char *audit_nothing_lost(const struct audit *audit);

#endif

/* SPDX-License-Identifier: MIT
 *
 * Where things lie in a segment of a given capacity, and typed access to them.
 *
 * A `struct view` is one process's sight of one segment: its base address and its geometry. It is
 * private, trusted memory; everything is derived from the capacity, which segment.c has checked
 * against the size of the file. An offset read from the file is never used before view_holds() or
 * one of the checked accessors has said yes.
 *
 * Pure: no system call, no lock.
 */
#ifndef SHM_GEOMETRY_H
#define SHM_GEOMETRY_H

#include "layout.h"

struct slab_shape {
    uint32_t slot_bytes;
    uint32_t slots;
    uint32_t records; /* offset of the first record in the slab, 0: none */
    uint32_t data;    /* offset of the first slot */
};

#define EXPORT_INVERSE_SHIFT 40u

/* Of a slab of exported blocks: bits, infos, then the slots. */
struct export_shape {
    uint32_t slot_bytes;
    uint32_t slots;
    uint32_t data; /* offset of the first slot */
    uint32_t quanta;
    uint32_t words;      /* of bits: one for 64 slots */
    uint32_t slack_bits; /* of an info */
    uint64_t inverse;    /* of slot_bytes, see export_slot_of() */
};

struct view {
    unsigned char *base;
    uint64_t capacity;
    uint32_t region_shift;
    uint32_t region_count;
    uint32_t table_regions; /* regions at the start that hold the tables */
    uint32_t shard_count;
    uint32_t row_count;
    struct header *header;
    struct pool *pool;
    struct process_row *rows;
    struct shard *shards;
    uint32_t *held;             /* [shard][row]: references in the shard held by the process */
    uint32_t *region_owner;     /* [region] */
    uint64_t *region_free;      /* a bit a region: belongs to the pool */
    uint64_t eager_bytes;       /* the tables up to here are reserved by the creator */
    _Atomic uint64_t *reserved; /* a bit a page */
    struct quantum *quanta;     /* [quantum] */
    struct slab_shape shapes[SLAB_CLASSES];
    struct export_shape export_shapes[SLAB_DATA_CLASSES];
};

/* Fills *view for `capacity` (CAPACITY_LEAST … CAPACITY_MOST, whole pages) at `base`. */
void view_make(struct view *view, unsigned char *base, uint64_t capacity);

/* A capacity that view_make takes: at least the least, whole regions, at most the most. */
uint64_t view_round_capacity(uint64_t bytes);

static inline uint32_t view_quantum_count(const struct view *view)
{
    return (uint32_t)(view->capacity >> QUANTUM_SHIFT);
}

static inline uint32_t view_region_quanta(const struct view *view)
{
    return (uint32_t)1 << (view->region_shift - QUANTUM_SHIFT);
}

static inline void *view_at(const struct view *view, uint64_t offset)
{
    return view->base + offset;
}

static inline uint64_t view_offset(const struct view *view, const void *pointer)
{
    return (uint64_t)((const unsigned char *)pointer - view->base);
}

static inline bool view_holds(const struct view *view, uint64_t offset, uint64_t bytes)
{
    return offset < view->capacity && bytes <= view->capacity - offset;
}

static inline uint32_t view_region_of(const struct view *view, uint64_t offset)
{
    return (uint32_t)(offset >> view->region_shift);
}

/* The tables are nobody's, whatever the file says: who believed otherwise would write blocks over them. */
static inline uint32_t view_owner_of_quantum(const struct view *view, uint32_t quantum)
{
    const uint32_t region = quantum >> (view->region_shift - QUANTUM_SHIFT);
    if (UNLIKELY(region < view->table_regions))
        return OWNER_TABLES;
    return __atomic_load_n(&view->region_owner[region], __ATOMIC_RELAXED);
}

/* The bytes are in the segment, and in a region that is, or was last, this owner's. */
static inline bool view_owner_holds(const struct view *view, uint32_t owner, uint64_t offset, uint64_t bytes)
{
    return view_holds(view, offset, bytes) &&
           view_owner_of_quantum(view, (uint32_t)(offset >> QUANTUM_SHIFT)) == owner;
}

/* Is the region of the quantum taken, and by this owner? Of a region in the pool the owner means nothing. */
static inline bool view_quantum_belongs(const struct view *view, uint32_t quantum, uint32_t owner)
{
    const uint32_t region = quantum >> (view->region_shift - QUANTUM_SHIFT);
    return view_owner_of_quantum(view, quantum) == owner &&
           (__atomic_load_n(&view->region_free[region / 64], __ATOMIC_RELAXED) >> region % 64 & 1) == 0;
}

/* Are all regions that the quanta lie in taken, and by this owner? `count` is not 0. */
static inline bool view_range_belongs(const struct view *view, uint32_t first, uint32_t count, uint32_t owner)
{
    const uint32_t each = view_region_quanta(view), quanta = view_quantum_count(view);
    if (first >= quanta || count > quanta - first)
        return false;
    for (uint32_t region = first / each; region <= (first + count - 1) / each; region++)
        if (!view_quantum_belongs(view, region * each, owner))
            return false;
    return true;
}

static inline struct slab *view_slab(const struct view *view, uint32_t quantum)
{
    return view_at(view, (uint64_t)quantum << QUANTUM_SHIFT);
}

static inline struct record *view_record(const struct view *view, uint32_t reference)
{
    return view_at(view, (uint64_t)reference * RECORD_UNIT);
}

static inline uint32_t view_reference(const struct view *view, const void *pointer)
{
    return (uint32_t)(view_offset(view, pointer) / RECORD_UNIT);
}

static inline struct label *view_label(const struct view *view, uint32_t label)
{
    return view_at(view, (uint64_t)label << LABEL_SHIFT);
}

#endif

/* SPDX-License-Identifier: MIT
 *
 * An arena: private memory of one call site and thread (or of one name), laid out so that every process which
 * makes the same calls in the same order gets the same addresses.
 *
 * It stands on spans of the merge space, which it asks for one after the other, and divides them into
 * *pieces* of whole pages: first fit by address. Blocks of up to ARENA_SLOT_MOST bytes are slots of slabs,
 * lowest free slot first; larger ones are pieces, from a chunk on aligned to chunks, from a sheet on with
 * sheets of their own, so that a block that is freed gives its canonical copies back whole.
 *
 * What decides is the order of the owner's calls alone. So what another thread frees is *spent*: its memory
 * goes back, its addresses are not used again. When memory goes back is not part of that: some free pages
 * stay as they are for a while, and are cleared if they are used again; see dirty.h.
 *
 * Nothing is written beside or into a block: no header, no list; what was shared stays so after a free.
 * Pieces and slabs are kept in memory of this process's own.
 *
 * Not thread-safe: the caller holds arena.lock. No system call here but through the ground.
 */
#ifndef SHM_ARENA_H
#define SHM_ARENA_H

#include <pthread.h>

#include "arena_class.h"
#include "dirty.h"
#include "merge_layout.h"

#define ARENA_SLAB  (64 * KIBI)
#define ARENA_LABEL MERGE_LABEL

struct arena;

/* What arenas stand on. */
struct arena_ground {
    unsigned char *base; /* of the merge space */
    /* Makes `grains` more usable as span number `ordinal` of the arena. 0 or -errno. */
    int (*extend)(struct arena_ground *ground, struct arena *arena, uint32_t ordinal, uint32_t grains,
                  uint32_t *first);
    /* Memory of these pages is wanted from now on. 0 or -errno. */
    int (*use)(struct arena_ground *ground, uint32_t page, uint32_t pages);
    /* It is not any more: it is zero when they are used again. */
    void (*drop)(struct arena_ground *ground, struct arena *arena, uint32_t page, uint32_t pages);
    /* May they stay as they are, with what was written to them, until they are used again or dropped? NULL:
     * never. */
    bool (*may_stay)(struct arena_ground *ground, uint32_t page, uint32_t pages);
    /* Zero memory for tables, never given back. NULL: none. */
    void *(*memory)(struct arena_ground *ground, size_t bytes);
    _Atomic uint32_t staying; /* pages that do, of all its arenas: kept by these */
};

struct arena_slab {
    struct arena_slab *next; /* of the class, by age */
    uint32_t page;
    uint32_t slot_bytes, slots;
    uint32_t fresh;  /* slots from this one on were never used: they are zero */
    uint32_t lowest; /* no word of bits before this one has a free slot */
    uint32_t live, spent;
    uint64_t bits[]; /* taken, then spent: divide_up(slots, 64) words each */
};

enum piece_kind { PIECE_FREE, PIECE_BLOCK, PIECE_SLAB, PIECE_SPENT };

struct arena_piece {
    uint32_t page, pages;
    enum piece_kind kind;
    union {
        uint64_t bytes; /* BLOCK: as asked for, the most there was */
        struct arena_slab *slab;
    };
};

struct arena {
    struct arena *next, *next_by_key; /* for private.c */
    struct arena_ground *ground;
    pthread_mutex_t lock;
    uint64_t key[2];
    const void *owner; /* who may have freed addresses again; NULL: anybody */
    uint32_t label_length;
    char label[ARENA_LABEL];
    /* when to merge: for private.c */
    uint32_t when;
    uint64_t quiet;
    uint64_t sequence;
    uint32_t spans, grains;
    uint32_t refused; /* grains that there were no addresses for: they are not asked for again. 0: none */
    struct arena_piece *pieces; /* by address */
    uint32_t piece_count, piece_room;
    struct arena_slab *slabs[ARENA_CLASSES];
    struct arena_slab *idle[ARENA_CLASSES]; /* tables of slabs that were given back */
    struct dirty dirty;
    uint32_t staying; /* its pages, as the ground knows of them */
};

/* NULL: no memory or no addresses (errno is not set; *error is -errno). */
void *arena_allocate(struct arena *arena, size_t bytes, size_t alignment, bool zero, int *error);

/* Of the live block that begins at the pointer; 0 when none does. At least 1 otherwise. */
size_t arena_usable(const struct arena *arena, const void *pointer);
/* Bytes from the pointer to the end of the live block that it lies in; 0: in none. */
size_t arena_left(const struct arena *arena, const void *pointer);

/* Leaves the live block where it is, with room for `bytes` and not much more than that. A block becomes
 * longer when it is its owner who wants it, into free pages behind it, as far as it would lie there if it
 * were made so long. False: it has to move, or none begins there. */
bool arena_resize(struct arena *arena, const void *pointer, size_t bytes, bool by_owner);

/* False: no live block begins there. */
bool arena_free(struct arena *arena, void *pointer, bool by_owner);

/* Drops the free pages that have stayed as they were. */
void arena_clear(struct arena *arena);

/* Is anything live in these pages, or does something stay there that was freed? */
bool arena_lives_in(const struct arena *arena, uint32_t page, uint32_t pages);

/* Live bytes, as far as they are known without looking at every slot. */
uint64_t arena_live_bytes(const struct arena *arena);

#endif

/* SPDX-License-Identifier: MIT
 *
 * What an arena is made of, and its pieces: whole pages, first fit by address, on spans that are asked for
 * when nothing fits. What was freed may stay as it is for a while (dirty.h); the pages of all other free
 * pieces are zero.
 *
 * For arena.c, which says more. As there, the caller holds arena.lock.
 */
#ifndef SHM_ARENA_PIECES_H
#define SHM_ARENA_PIECES_H

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

#define PAGES_OF(bytes) ((uint32_t)((bytes) / PAGE_BYTES))

static inline unsigned char *arena_address(const struct arena *arena, uint32_t page)
{
    return arena->ground->base + page * PAGE_BYTES;
}

/* The piece that the page lies in; NULL: none. */
struct arena_piece *arena_piece_at(const struct arena *arena, uint32_t page);

/* How blocks of so many pages lie: the larger ones have chunks, the largest sheets, to themselves. */
uint32_t arena_piece_alignment(uint32_t pages);

/* Cuts a piece of `pages` out of the first free one that holds it, of which `wanted` are going to be used.
 * NULL: *error. */
struct arena_piece *arena_take(struct arena *arena, uint32_t pages, uint32_t wanted, uint32_t alignment,
                               int *error);

/* The pages are used again: how many of them, from the first on, may be other than zero? None when they are
 * to be cleared. */
uint32_t arena_use_again(struct arena *arena, uint32_t page, uint32_t pages, bool clear);

/* Of the piece the first `used` pages were written to. `again`: its addresses are used again. */
void arena_give_back(struct arena *arena, struct arena_piece *piece, uint32_t used, bool again);

/* Makes the piece that the page lies in longer, into free ones. False: there are none. */
bool arena_lengthen(struct arena *arena, uint32_t page, uint32_t more);

/* Drops the free pages that have stayed as they were. */
void arena_clear(struct arena *arena);

/* Is anything live in these pages, or does something stay there that was freed? */
bool arena_lives_in(const struct arena *arena, uint32_t page, uint32_t pages);

#endif

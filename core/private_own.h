/* SPDX-License-Identifier: MIT
 *
 * What private.c, private_pass.c and private_show.c share. Nobody else includes this.
 */
#ifndef SHM_PRIVATE_OWN_H
#define SHM_PRIVATE_OWN_H

#include "arena.h"
#include "handle.h"
#include "merge.h"

struct private_tally;

#define PRIVATE_CHUNK_MEMORY MEBI
#define PRIVATE_BUCKETS      4096u

/* Of one segment in this process. */
struct private_space {
    struct arena_ground ground; /* first: arenas know no more */
    shmcore_segment *segment;
    struct merge_index index;
    pthread_mutex_t lock;           /* arenas are made */
    pthread_mutex_t tables;         /* memory for tables; the innermost */
    pthread_mutex_t passing;        /* one pass at a time */
    _Atomic(struct arena *) arenas; /* all of them; */
    _Atomic(struct arena *)
        by_key[PRIVATE_BUCKETS]; /* and those of a key's hash: compilers have ten thousands */
    unsigned char *memory;       /* for tables */
    size_t memory_left;
    _Atomic(struct arena *) by_grain[MERGE_GRAINS];
    struct merge_local chunks[MERGE_CHUNKS];
};

/* The space of handle number `index`, NULL: it has none. */
struct private_space *private_space_of(uint32_t index);
struct private_space *private_space_at(const void *pointer);

/* As private_space_of(); makes it when another process of the segment has merged memory. */
struct private_space *private_space_or_join(uint32_t index);

/* NULL: the segment has none in this process. */
struct private_space *private_space_for(const shmcore_segment *segment);
/* Chunks from this one on are not used. */
uint32_t private_chunks_end(const struct private_space *space);
/* A pass over some chunks, `end` 0: all, whatever they have been like lately. */
void private_pass_over(struct private_space *space, uint32_t first, uint32_t end,
                       struct private_tally *tally);

unsigned private_hold(void);
/* See private_end(). */
bool private_has_ended(void);

static inline uint32_t private_chunk_of(const struct private_space *space, const void *pointer)
{
    return (uint32_t)((uint64_t)((const unsigned char *)pointer - space->ground.base) / MERGE_CHUNK);
}

static inline struct private_space *private_space_under(struct arena_ground *ground)
{
    return (struct private_space *)(void *)ground;
}

void private_make_ground(struct private_space *space);
/* With the arena's lock: these pages have become untouched memory. */
void private_note_holes(struct private_space *space, const void *address, uint64_t bytes);

#endif

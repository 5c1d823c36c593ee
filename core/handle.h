/* SPDX-License-Identifier: MIT
 *
 * What the files of the façade behind shmcore.h share: the handle, and how to get into a shard or the pool.
 *
 *   store.c     handles: open, close, statistics
 *   enter.c     into a shard or the pool; repair after a death
 *   regions.c   regions between the pool and their owners
 *   blocks.c    named blocks: allocate, join, find
 *   release.c   named blocks: deallocate, one or all of a process
 *   export.c    blocks of one process, visible to all: export_extent.c, export_slab.c, export_slot.c,
 *               export_turns.c
 *   export_book.c  what this process alone knows of its slabs
 *   forked.c    what a fork does to all of these; forked_run.c to a run of exported blocks
 *   inherited.c what it left in a child
 *   reap.c      what dead processes held is given back
 *   visit.c     reading: for_each, block_of, find among exported blocks
 *   collect.c   segments as files: list, collect, remove
 *   naming.c    shmcore_shim_*
 *
 * Nobody else includes this header; the preload uses shmcore.h, export.h and export_at_once.h.
 *
 * Lock order: handles (of this process) → file → registry → heap of exports (of this process) → one shard
 * → pool.
 */
#ifndef SHM_HANDLE_H
#define SHM_HANDLE_H

#include <pthread.h>

#include "error.h"
#include "heap.h"
#include "lock.h"
#include "pool.h"
#include "process.h"
#include "segment.h"
#include "shmcore.h"
#include "space.h"

/* Blocks of this process alone; see export.c. */
#define EXPORT_BINS 1024u
#define EXPORT_HAND 4u
struct export_heap {
    pthread_mutex_t lock;
    struct heap_bins bins;
    struct slab_book *partial[EXPORT_BINS]; /* slabs with room that no thread is using, by label and size */
    _Atomic(_Atomic(struct slab_book *) *)
        books; /* [quantum] of the segment; see export_book.h. NULL: none yet */
    struct slab_book *free_books[EXPORT_SLOTS_MOST / 64 / 8 + 1];
    struct book_chunk *book_chunks;
    uint64_t much_since;  /* free memory has been more than is always kept since then; 0: it is not */
    uint64_t spare_bytes; /* of slabs that are empty and keep their memory, see export_turns.c */
    struct extent hand[EXPORT_HAND]; /* given back last, see export_extent.c; count 0: none */
    uint32_t hand_quanta, hand_next; /* in all of them; the one to go next */
    uint32_t labels;                 /* current extent of labels */
    uint32_t labels_used;
    uint32_t free_label; /* the first of a list; 0: none */
    bool damaged;
};

/* Ranges of the segment that lie under private copies since a fork; see forked.c. */
struct inherited_run {
    struct inherited_run *next;
    void *mapping; /* what this structure lies in */
    uint64_t mapping_bytes;
    uint32_t first, count; /* quanta */
    struct quantum quanta[];
};

struct shmcore_segment {
    struct segment file;
    struct space space;
    _Atomic uint64_t credit;
    /* of locks that were waited for in vain, see enter.c; the last one is the pool's */
    _Atomic uint64_t stuck[SHARDS_MOST + 1];
    _Atomic uint64_t wary; /* until when others are given less time; 0: there has been none */
    struct process_identity self;
    uint32_t row;           /* ROW_NONE when read-only */
    _Atomic unsigned opens; /* written under the lock of handles */
    uint64_t asked_size;
    struct export_heap exports;
    struct inherited_run *inherited;
    bool tables_lost;     /* not all of it: blocks of ancestors are looked up in their own tables */
    _Atomic bool reaping; /* a thread of this process is at it */
    uint64_t next_look, next_search; /* see reap_for_room() */
    /* between the fork handlers */
    uint32_t child_row;
    struct process_identity child;
    struct forked_run *forked_runs;
    int forked_file;          /* the segment's file, when a run needs it; -1 */
    bool tables_lost_by_fork; /* there was no memory for the table of a run */
};

/* Entering: true, or false with error_set() done (EBUSY, EIO). Recovery after a death happens here. */
bool shard_enter(shmcore_segment *segment, uint32_t shard, struct guarded *guarded);
void shard_leave(const struct guarded *guarded);
bool pool_enter(shmcore_segment *segment, struct guarded *guarded);
void pool_leave(const struct guarded *guarded);

/* With the shard entered: gives its heap free extents of `count` quanta so aligned. 0, or -1 with
 * error_set(ENOMEM). `low` as for pool_find(). */
int shard_refill(shmcore_segment *segment, uint32_t shard, const struct guarded *guarded, uint32_t count,
                 uint32_t alignment, bool low);

/* With the shard entered: when `freed`, a free extent of its heap, holds regions that the shard need not
 * keep, they become this process's; the caller passes the run to regions_return() after shard_leave(). */
struct region_run shard_shed(shmcore_segment *segment, uint32_t shard, const struct guarded *guarded,
                             struct extent freed);

/* Takes a run of regions for this process. count 0 with error_set(ENOMEM) when there is none. */
struct region_run regions_take(shmcore_segment *segment, uint32_t quanta, uint32_t alignment);
/* The same for these and no others. False: they are not all free, or there is no memory for their tables. */
bool regions_take_these(shmcore_segment *segment, struct region_run run);
/* Gives back a run that belongs to this process and is in no heap. Takes its memory away first. */
void regions_return(shmcore_segment *segment, struct region_run run);

/* There is no room: what the shards keep to themselves goes back to the pool. True: that was something, it is
 * worth trying again. With nothing entered. */
bool regions_gather(shmcore_segment *segment);
/* Waits while living processes have regions on their way to the pool, a few seconds at the most. Was there
 * any, or is there some in the pool? Then it is worth trying again. */
bool regions_await(const shmcore_segment *segment);

/* Whole regions inside an extent. */
struct region_run regions_inside(const struct view *view, struct extent extent);

static inline struct heap shard_heap(const shmcore_segment *segment, uint32_t shard,
                                     struct transaction *transaction)
{
    return (struct heap){.view = &segment->file.view,
                         .bins = &segment->file.view.shards[shard].bins,
                         .transaction = transaction,
                         .owner = OWNER_SHARD + shard,
                         .turn = heap_turn(segment->row)};
}

/* Checks a handle; false with error_set(EINVAL) or, when `writing`, EROFS. */
bool segment_is_usable(const shmcore_segment *segment, bool writing);

/* Handle number `index` when it is open, NULL when not, until `index` is STORE_HANDLES. */
#define STORE_HANDLES 16u
extern INTERNAL shmcore_segment segment_handles[STORE_HANDLES];
shmcore_segment *segment_handle(uint32_t index);

/* The open segment whose mapping holds the pointer, or NULL. */
shmcore_segment *segment_of_pointer(const void *pointer);

/* shmcore_open() of a segment that is there: one that is not, or is not ready, is not made. */
shmcore_segment *segment_join(const char *name, const shmcore_traits *traits);

/* No handle is opened or closed between the two. */
void store_lock(void);
void store_unlock(void);

int out_of_space(const shmcore_segment *segment, uint64_t bytes);

/* collect.c: removes this user's segments in the directory that no living process has. After `kill -9` of a
 * whole job nobody else would. */
void collect_abandoned(const char *directory);

/* release.c */
int block_drop_all_of(shmcore_segment *segment, uint32_t shard, uint32_t row);
int block_copy_all_of(shmcore_segment *segment, uint32_t from, uint32_t to);

/* reap.c: with nothing entered. `examine` rows at the most, in turn; returns how many were reaped. */
uint32_t reap_some(shmcore_segment *segment, uint32_t examine);
/* The same for those whose pid is gone, which is one cheap look each: until `examine` looks in a row have
 * found none. */
uint32_t reap_vanished(shmcore_segment *segment, uint32_t examine);
/* The segment is full, or a name is taken by a block that fits badly: is it the dead who hold it? True: some
 * were reaped, it is worth trying again. */
bool reap_for_room(shmcore_segment *segment);
/* `nonce`: of the row when it was found dead; if it is another by now nothing happens. False: a lock was not
 * to be had, or another thread is reaping; the row is left for later, and it makes no sense to try others
 * now. */
bool reap_row(shmcore_segment *segment, uint32_t row, uint64_t nonce);
/* Every other process of the segment is dead, or about to exit and has looked itself who is left: of several
 * that end at once the last one to look finds nobody. Does not reap. */
bool nobody_else_lives(const struct view *view, uint32_t own_row, uint64_t device, uint64_t inode);

#endif

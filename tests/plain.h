/* SPDX-License-Identifier: MIT
 *
 * A segment's tables in plain memory, without a segment: for the tests of the rooms that need no file.
 */
#ifndef SHM_TEST_PLAIN_H
#define SHM_TEST_PLAIN_H

#include "heap.h"
#include "lock.h"
#include "pool.h"
#include "slab.h"

struct plain {
    struct view view;
    uint64_t device, inode; /* of the memory: a file without a name, shared with children */
};

/* Tables, pool and locks as after the birth of a segment. False: no memory. */
bool plain_make(struct plain *plain, uint64_t capacity);
void plain_unmake(struct plain *plain);

/* An extent for slab_begin(); 0: there is none. */
uint32_t plain_carve(const struct heap *heap);

struct guarded plain_shard(const struct plain *plain, uint32_t shard);
struct guarded plain_pool(const struct plain *plain);

/* The shard's heap. `transaction` may be one without a log: PLAIN_TRANSACTION. */
struct heap plain_heap(const struct plain *plain, uint32_t shard, struct transaction *transaction);
#define PLAIN_TRANSACTION(plain) ((struct transaction){.base = (plain)->view.base})

/* Takes the run out of the pool and puts it into the heap of the shard. */
void plain_feed_run(const struct plain *plain, uint32_t shard, struct region_run run);
/* The first so many regions that are free, in one run. False: there is no such run. */
bool plain_feed(const struct plain *plain, uint32_t shard, uint32_t regions);

/* A slot of the class, making a slab when none has room. None: the heap is exhausted. */
struct slot plain_slot(const struct heap *heap, struct shard *shard, uint32_t slab_class);

/* Sees to it that slab_take() of the class finds a slot. False: the heap is exhausted. */
bool plain_ensure_slab(const struct heap *heap, struct shard *shard, uint32_t slab_class);
/* Slots of the class that live, in all slabs of the shard. */
uint32_t plain_slots_in_use(const struct plain *plain, uint32_t shard, uint32_t slab_class);

/* Repeatable chance. */
struct dice {
    uint64_t state;
};
uint32_t dice_roll(struct dice *dice, uint32_t sides); /* 0 … sides-1 */

/* Says why, then skips; for use inside a test. */
#define SKIP(...)                                                                                            \
    do {                                                                                                     \
        print_message("skipped: " __VA_ARGS__);                                                              \
        print_message("\n");                                                                                 \
        skip();                                                                                              \
    } while (0)

#endif

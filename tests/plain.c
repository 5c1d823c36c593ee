/* SPDX-License-Identifier: MIT */
#include "plain.h"

#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool map_memory(struct plain *plain, uint64_t capacity)
{
    struct stat status;
    const int descriptor = memfd_create("plain", MFD_CLOEXEC);
    if (descriptor < 0)
        return false;
    void *memory = MAP_FAILED;
    if (ftruncate(descriptor, (off_t)capacity) == 0 && fstat(descriptor, &status) == 0)
        memory = mmap(NULL, capacity, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE, descriptor, 0);
    close(descriptor);
    if (memory == MAP_FAILED)
        return false;
    plain->device = status.st_dev;
    plain->inode = status.st_ino;
    view_make(&plain->view, memory, capacity);
    return true;
}

bool plain_make(struct plain *plain, uint64_t capacity)
{
    *plain = (struct plain){.device = 0};
    if (!map_memory(plain, view_round_capacity(capacity)))
        return false;
    pool_make(&plain->view);
    int error = lock_make(&plain->view.pool->lock);
    for (uint32_t s = 0; s < plain->view.shard_count; s++)
        error |= lock_make(&plain->view.shards[s].lock);
    return error == 0;
}

void plain_unmake(struct plain *plain)
{
    if (plain->view.base != NULL)
        munmap(plain->view.base, plain->view.capacity);
    plain->view.base = NULL;
}

uint32_t plain_carve(const struct heap *heap)
{
    return heap_take(heap, SLAB_QUANTA, SLAB_QUANTA, QUANTUM_RECORDS);
}

struct guarded plain_shard(const struct plain *plain, uint32_t number)
{
    struct shard *shard = &plain->view.shards[number];
    return (struct guarded){.lock = &shard->lock,
                            .undo = &shard->undo,
                            .sequence = &shard->sequence,
                            .poisoned = &shard->poisoned,
                            .base = plain->view.base,
                            .capacity = plain->view.capacity};
}

struct guarded plain_pool(const struct plain *plain)
{
    struct pool *pool = plain->view.pool;
    return (struct guarded){.lock = &pool->lock,
                            .undo = &pool->undo,
                            .sequence = &pool->sequence,
                            .poisoned = &pool->poisoned,
                            .base = plain->view.base,
                            .capacity = plain->view.capacity};
}

struct heap plain_heap(const struct plain *plain, uint32_t shard, struct transaction *transaction)
{
    return (struct heap){.view = &plain->view,
                         .bins = &plain->view.shards[shard].bins,
                         .transaction = transaction,
                         .owner = OWNER_SHARD + shard};
}

void plain_feed_run(const struct plain *plain, uint32_t shard, struct region_run run)
{
    const uint32_t each = view_region_quanta(&plain->view);
    struct transaction transaction = PLAIN_TRANSACTION(plain);
    const struct heap heap = plain_heap(plain, shard, &transaction);
    pool_take(&plain->view, &transaction, run, OWNER_SHARD + shard);
    heap_add(&heap, (struct extent){run.first * each, run.count * each});
}

bool plain_feed(const struct plain *plain, uint32_t shard, uint32_t regions)
{
    const struct region_run run = pool_find(&plain->view, regions, 1, false);
    if (run.count == 0)
        return false;
    plain_feed_run(plain, shard, run);
    return true;
}

struct slot plain_slot(const struct heap *heap, struct shard *shard, uint32_t slab_class)
{
    const struct slot slot = slab_take(heap, shard, slab_class);
    if (slot.slab != NULL)
        return slot;
    const uint32_t quantum = plain_carve(heap);
    if (quantum == 0)
        return slot;
    slab_begin(heap, shard, quantum, slab_class);
    return slab_take(heap, shard, slab_class);
}

bool plain_ensure_slab(const struct heap *heap, struct shard *shard, uint32_t slab_class)
{
    struct slab *empty;
    if (shard->partial[slab_class] != 0)
        return true;
    const struct slot slot = plain_slot(heap, shard, slab_class);
    if (slot.slab != NULL)
        slab_give(heap, shard, slot, &empty);
    return slot.slab != NULL;
}

uint32_t plain_slots_in_use(const struct plain *plain, uint32_t shard, uint32_t slab_class)
{
    uint32_t slots = 0;
    for (uint32_t q = 0; q < view_quantum_count(&plain->view); q++) {
        const struct slab *slab = slab_at(&plain->view, q, OWNER_SHARD + shard);
        slots += slab != NULL && slab->slab_class == slab_class ? slab->used : 0;
    }
    return slots;
}

uint32_t dice_roll(struct dice *dice, uint32_t sides)
{
    dice->state += UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)(hash_mix(dice->state) >> 32) % sides;
}

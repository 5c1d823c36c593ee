/* SPDX-License-Identifier: MIT */
#include "work.h"

#include <errno.h>
#include <string.h>

bool work_enter(struct work *work, shmcore_segment *segment, uint32_t number)
{
    *work = (struct work){.segment = segment,
                          .view = &segment->file.view,
                          .shard = &segment->file.view.shards[number],
                          .number = number,
                          .owner = OWNER_SHARD + number};
    return shard_enter(segment, number, &work->guarded);
}

void work_leave(const struct work *work)
{
    shard_leave(&work->guarded);
}

struct heap work_heap(const struct work *work, struct transaction *transaction)
{
    return shard_heap(work->segment, work->number, transaction);
}

int work_undone(const struct work *work, const struct transaction *transaction)
{
    if (transaction->damaged)
        return error_set(EIO, "a part of segment '%s' is damaged and out of use", work->segment->file.name);
    return error_set(EIO, "a transaction did not fit the undo log");
}

/* ---------------------------------------------------------------- making room before a transaction */

/* Takes an extent of the shard's heap in a transaction of its own, refilling the heap when need be. `low`:
 * where records can be. */
static uint32_t take_extent(const struct work *work, uint32_t count, uint32_t alignment,
                            enum quantum_kind kind, bool low)
{
    const uint32_t limit = low ? (uint32_t)(RECORD_LIMIT >> QUANTUM_SHIFT) : UINT32_MAX;
    for (int tries = 0; tries < 2; tries++) {
        struct transaction transaction = transaction_begin(&work->guarded);
        const struct heap heap = work_heap(work, &transaction);
        const uint32_t first = heap_take_below(&heap, count, alignment, kind, limit);
        if (!transaction_end(&work->guarded, &transaction)) {
            work_undone(work, &transaction);
            return 0;
        }
        if (first != 0)
            return first;
        if (tries == 0 &&
            shard_refill(work->segment, work->number, &work->guarded, count, alignment, low) != 0)
            return 0;
    }
    out_of_space(work->segment, (uint64_t)count << QUANTUM_SHIFT);
    return 0;
}

static void give_extent(const struct work *work, uint32_t first)
{
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = work_heap(work, &transaction);
    heap_give(&heap, first);
    transaction_end(&work->guarded, &transaction);
}

static int reserve_or_give(const struct work *work, uint32_t first, uint32_t count)
{
    const uint64_t offset = (uint64_t)first << QUANTUM_SHIFT, bytes = (uint64_t)count << QUANTUM_SHIFT;
    if (space_reserve(&work->segment->space, offset, bytes) == 0)
        return 0;
    give_extent(work, first);
    return error_set(ENOMEM,
                     "no memory left for segment '%s' in %s; free some, or enlarge it (mount -o "
                     "remount,size=…)",
                     work->segment->file.name, work->segment->file.directory);
}

int work_ensure_slab(const struct work *work, uint32_t slab_class)
{
    if (work->shard->partial[slab_class] != 0)
        return 0;
    const uint32_t first = take_extent(work, SLAB_QUANTA, SLAB_QUANTA, QUANTUM_RECORDS, true);
    if (first == 0 || reserve_or_give(work, first, SLAB_QUANTA) != 0)
        return -1;
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = work_heap(work, &transaction);
    slab_begin(&heap, work->shard, first, slab_class);
    return transaction_end(&work->guarded, &transaction) ? 0 : work_undone(work, &transaction);
}

static int ensure_buckets(const struct work *work)
{
    const uint32_t count = directory_wants(work->shard);
    if (count == 0)
        return 0;
    const uint32_t first = take_extent(work, count, 1, QUANTUM_TABLE, false);
    if (first == 0 || reserve_or_give(work, first, count) != 0)
        return work->shard->directory.buckets != 0 ? 0 : -1; /* longer lists will do */
    memset(view_at(work->view, (uint64_t)first << QUANTUM_SHIFT), 0, (size_t)count << QUANTUM_SHIFT);
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = work_heap(work, &transaction);
    directory_extend(&heap, work->shard, first);
    return transaction_end(&work->guarded, &transaction) ? 0 : work_undone(work, &transaction);
}

int work_ensure_room(const struct work *work, const struct name_key *key, uint32_t slab_class)
{
    if (ensure_buckets(work) != 0 || work_ensure_slab(work, slab_class) != 0)
        return -1;
    return directory_name_is_long(key)
               ? work_ensure_slab(work, slab_name_class(sizeof(struct long_name) + key->length))
               : 0;
}

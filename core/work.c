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

/* Takes an extent with memory and puts it to its use, all in one transaction: a death in between leaves none
 * that nothing leads to. `low`: where records can be. */
struct piece {
    uint32_t count, alignment;
    enum quantum_kind kind;
    bool low;
    void (*begin)(const struct heap *heap, struct shard *shard, uint32_t first, uint32_t slab_class);
    uint32_t slab_class; /* for begin() */
};

static bool reserve(const struct work *work, uint64_t offset, uint64_t bytes)
{
    const struct space *space = &work->segment->space;
    return space_reserve(space, offset, bytes) == 0 ||
           space_refuse(space, bytes, work->segment->file.name) == 0;
}

enum made { MADE, NOT_MADE, NO_EXTENT };

static enum made make_here(const struct work *work, const struct piece *piece)
{
    const uint32_t limit = piece->low ? (uint32_t)(RECORD_LIMIT >> QUANTUM_SHIFT) : UINT32_MAX;
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = work_heap(work, &transaction);
    const uint32_t first = heap_take_below(&heap, piece->count, piece->alignment, piece->kind, limit);
    const bool reserved = first != 0 && reserve(work, (uint64_t)first << QUANTUM_SHIFT,
                                                (uint64_t)piece->count << QUANTUM_SHIFT);
    if (reserved) {
        piece->begin(&heap, work->shard, first, piece->slab_class);
        if (transaction_end(&work->guarded, &transaction))
            return MADE;
    } else {
        transaction_abandon(&work->guarded, &transaction);
    }
    if (transaction.damaged || reserved)
        work_undone(work, &transaction);
    return first == 0 && !transaction.damaged ? NO_EXTENT : NOT_MADE;
}

static int make_piece(const struct work *work, const struct piece *piece)
{
    enum made made = make_here(work, piece);
    if (made != NO_EXTENT)
        return made == MADE ? 0 : -1;
    if (shard_refill(work->segment, work->number, &work->guarded, piece->count, piece->alignment,
                     piece->low) != 0)
        return -1;
    made = make_here(work, piece);
    if (made == NO_EXTENT)
        out_of_space(work->segment, (uint64_t)piece->count << QUANTUM_SHIFT);
    return made == MADE ? 0 : -1;
}

int work_ensure_slab(const struct work *work, uint32_t slab_class)
{
    const struct piece slab = {SLAB_QUANTA, SLAB_QUANTA, QUANTUM_PENDING, true, slab_begin, slab_class};
    return work->shard->partial[slab_class] != 0 ? 0 : make_piece(work, &slab);
}

/* The buckets are zeroed first: memory of a free extent needs no log. */
static void begin_table(const struct heap *heap, struct shard *shard, uint32_t first, uint32_t unused)
{
    (void)unused;
    memset(view_at(heap->view, (uint64_t)first << QUANTUM_SHIFT), 0,
           (size_t)heap->view->quanta[first].count << QUANTUM_SHIFT);
    directory_extend(heap, shard, first);
}

static int ensure_buckets(const struct work *work, const struct name_key *key)
{
    const struct piece table = {directory_wants(work->shard), 1, QUANTUM_TABLE, true, begin_table, 0};
    if (table.count != 0 && make_piece(work, &table) != 0 &&
        (work->shard->directory.buckets == 0 || errno != ENOMEM)) /* else longer buckets will do */
        return -1;
    return directory_wants_bucket(work->view, work->shard, work->owner, key)
               ? work_ensure_slab(work, SLAB_BUCKETS)
               : 0;
}

int work_ensure_room(const struct work *work, const struct name_key *key, uint32_t slab_class)
{
    if (ensure_buckets(work, key) != 0 || work_ensure_slab(work, slab_class) != 0)
        return -1;
    return directory_name_is_long(key)
               ? work_ensure_slab(work, slab_name_class(sizeof(struct long_name) + key->length))
               : 0;
}

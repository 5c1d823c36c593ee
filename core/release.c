/* SPDX-License-Identifier: MIT
 *
 * Letting go of named blocks: one reference, or all of a process. A block goes with its last reference, in
 * the same transaction.
 */
#include <errno.h>
#include <string.h>

#include "private.h"
#include "reference.h"
#include "work.h"

static struct extent remove_slab(const struct work *work, struct slab *slab)
{
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = work_heap(work, &transaction);
    const struct extent freed = slab_remove(&heap, work->shard, slab);
    transaction_end(&work->guarded, &transaction);
    return freed;
}

/* Everything a block consists of, in the caller's transaction. Slabs left empty are put in `empty`. */
static struct extent free_block(const struct work *work, const struct heap *heap, struct record *record,
                                struct slab *empty[4])
{
    struct block_place place;
    struct extent freed = {0, 0};
    const uint32_t status = atomic_load_explicit(&record->status, memory_order_relaxed);
    if (!block_describe(work->view, work->owner, view_reference(work->view, record), &place) ||
        !directory_remove(heap, work->shard, record, &empty[3])) {
        undo_damaged(heap->transaction);
        return freed;
    }
    if ((status & RECORD_LONG_NAME) != 0) {
        uint32_t reference;
        memcpy(&reference, record->name, sizeof reference);
        const struct slot name =
            slab_slot_of_bytes(work->view, (uint64_t)reference * RECORD_UNIT, work->owner);
        if (name.slab != NULL && name.slab->slab_class >= SLAB_NAMES_32)
            slab_give(heap, work->shard, name, &empty[0]);
        else
            undo_damaged(heap->transaction);
    }
    if ((status & RECORD_EXTENT) != 0)
        freed = heap_give(heap, (uint32_t)(place.offset >> QUANTUM_SHIFT));
    UNDO_PUBLISH(heap->transaction, &record->status, (uint32_t)RECORD_FREE);
    slab_give(heap, work->shard, place.slot, &empty[1]);
    UNDO_SET(heap->transaction, &work->shard->blocks, work->shard->blocks - 1);
    UNDO_SET(heap->transaction, &work->shard->used_bytes, work->shard->used_bytes - place.rounded);
    return freed;
}

/* A slab freed next to it may have made the extent longer: only what is there now is to be trusted. */
static void shed_what_is_free(const struct work *work, struct extent freed, struct region_run *shed)
{
    if (shed->count == 0 && freed.count != 0 &&
        heap_begins(work->view, freed.first, work->owner, QUANTUM_FREE) &&
        work->view->quanta[freed.first].count == freed.count)
        *shed = shard_shed(work->segment, work->number, &work->guarded, freed);
}

static void remove_empty(const struct work *work, struct slab *slab, struct extent *freed)
{
    if (slab == NULL || slab->used != 0 || !slab->listed)
        return;
    const struct extent of_slab = remove_slab(work, slab);
    if (freed->count == 0)
        *freed = of_slab;
}

void work_drop_and_free(struct work *work, struct record *record, uint32_t row, bool all,
                        struct region_run *shed)
{
    struct slab *empty[4] = {NULL};
    struct extent freed = {0, 0};
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = work_heap(work, &transaction);
    const bool dropped = reference_drop(&heap, work->shard, work->number, record, row, all, &empty[2]);
    if (dropped && record->refs == 0)
        freed = free_block(work, &heap, record, empty);
    if (!transaction_end(&work->guarded, &transaction))
        return;
    for (unsigned i = 0; i < COUNT_OF(empty); i++)
        remove_empty(work, empty[i], &freed);
    shed_what_is_free(work, freed, shed);
}

/* The table of names gets smaller by a bucket, when that is due. In a transaction of its own, for in the
 * middle of a walk through the names it must not. */
static bool shrink_table(const struct work *work, struct region_run *shed)
{
    struct slab *empty = NULL;
    struct extent freed = {0, 0};
    if (LIKELY(!directory_wants_less(work->shard)))
        return false;
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = work_heap(work, &transaction);
    const bool shrunk = directory_shrink(&heap, work->shard, &freed, &empty);
    if (!transaction_end(&work->guarded, &transaction) || !shrunk)
        return false;
    remove_empty(work, empty, &freed);
    shed_what_is_free(work, freed, shed);
    return true;
}

/* The record of the block that begins at `offset`; NULL when none does. */
static struct record *record_at(const struct work *work, uint64_t offset)
{
    const uint32_t quantum = (uint32_t)(offset >> QUANTUM_SHIFT);
    struct slot slot = slab_slot_of_bytes(work->view, offset, work->owner);
    if (slot.slab != NULL && slot.slab->slab_class >= SLAB_DATA_CLASSES)
        return NULL;
    if (slot.slab == NULL && offset % QUANTUM_BYTES == 0 &&
        heap_begins(work->view, quantum, work->owner, QUANTUM_NAMED))
        slot = slab_slot_of_record(work->view, work->view->quanta[quantum].record, work->owner);
    if (slot.slab == NULL || !slab_slot_is_live(slot.slab, slot.index))
        return NULL;
    return slab_slot_record(work->view, slot);
}

static int no_such_block(const shmcore_segment *segment, const void *pointer)
{
    return error_set(EINVAL, "%p is not the start of a live block of segment '%s', or it was freed before",
                     pointer, segment->file.name);
}

static int deallocate(struct work *work, uint64_t offset, struct region_run *shed)
{
    struct record *record = record_at(work, offset);
    const uint32_t row = work->segment->row;
    if (record == NULL || block_state(record) != RECORD_READY)
        return no_such_block(work->segment, view_at(work->view, offset));
    if (reference_count(work->view, record, work->number, row) == 0)
        return error_set(EINVAL, "this process holds no reference to the block at %p of segment '%s'",
                         view_at(work->view, offset), work->segment->file.name);
    work_drop_and_free(work, record, row, false, shed);
    shrink_table(work, shed);
    return 0;
}

int shmcore_deallocate(shmcore_segment *segment, void *pointer)
{
    struct work work;
    struct region_run shed = {0, 0};
    if (!segment_is_usable(segment, true))
        return -1;
    if (pointer == NULL)
        return 0;
    const uint64_t offset = view_offset(&segment->file.view, pointer);
    if (UNLIKELY(offset >= segment->file.view.capacity)) {
        const bool freed = private_segment_of(pointer) == segment && private_free(pointer, NULL);
        return freed ? 0 : no_such_block(segment, pointer);
    }
    const uint32_t owner = view_owner_of_quantum(&segment->file.view, (uint32_t)(offset >> QUANTUM_SHIFT));
    if (owner < OWNER_SHARD || owner >= OWNER_SHARD + segment->file.view.shard_count)
        return no_such_block(segment, pointer);
    if (!work_enter(&work, segment, owner - OWNER_SHARD))
        return -1;
    const int result = deallocate(&work, offset, &shed);
    work_leave(&work);
    regions_return(segment, shed);
    return result;
}

/* ---------------------------------------------------------------- of whole processes */

#define ENTRIES_BELIEVED 65536u

/* A walk through all names of a shard, bucket by bucket. */
struct walk {
    uint32_t bucket, buckets;
    struct bucket_walk inside; /* of the bucket, when it has begun */
    bool begun;
    bool shrunk;    /* the table, since the walk began */
    bool counted;   /* there are as many steps as there can be: more means a circle, and the walk ends */
    uint64_t steps; /* what is left of them */
};

static struct walk begin_walk(const struct work *work)
{
    return (struct walk){.buckets = directory_buckets(work->view, work->shard, work->owner),
                         .steps = 2 * least(work->shard->directory.entries, ENTRIES_BELIEVED)};
}

/* How many records there can be takes a look at all regions: that is put off until there are more of them
 * than there are said to be. */
static bool may_go_on(const struct work *work, struct walk *walk)
{
    if (walk->steps == 0 && !walk->counted) {
        walk->steps = 2 * directory_records_most(work->view, work->owner);
        walk->counted = true;
    }
    if (walk->steps == 0)
        return false;
    walk->steps--;
    return true;
}

/* The next record that `row` has references to; NULL at the end. The record may be freed, as long as the
 * shard is not left: then the walk has to go on from the start of the bucket. */
static struct record *next_held(const struct work *work, uint32_t row, struct walk *walk)
{
    for (; walk->bucket < walk->buckets; walk->bucket++, walk->begun = false) {
        if (!walk->begun)
            walk->inside = directory_walk(work->view, work->shard, work->owner, walk->bucket);
        walk->begun = true;
        for (uint32_t reference; (reference = bucket_walk_on(work->view, work->owner, &walk->inside)) != 0;) {
            struct record *record = directory_record(work->view, work->owner, reference);
            if (record == NULL || !may_go_on(work, walk))
                return NULL;
            if (reference_count(work->view, record, work->number, row) != 0)
                return record;
        }
    }
    return NULL;
}

/* Drops what the row holds, until there are regions to return. False: that was all, or what can be found. */
static bool drop_some_of(struct work *work, const uint32_t *held, uint32_t row, struct walk *walk,
                         struct region_run *shed)
{
    const uint32_t buckets = directory_buckets(work->view, work->shard, work->owner);
    struct record *record = NULL;
    if (walk->buckets == 0)
        *walk = begin_walk(work);
    walk->shrunk |= buckets < walk->buckets; /* what was ahead may be behind now */
    walk->buckets = buckets;
    walk->begun = false;
    while (shed->count == 0 && *held != 0 && (record = next_held(work, row, walk)) != NULL) {
        const uint32_t before = *held;
        work_drop_and_free(work, record, row, true, shed);
        if (*held == before) /* damaged, and poisoned by now */
            return false;
    }
    if (record == NULL && walk->shrunk && *held != 0) {
        *walk = begin_walk(work);
        return true;
    }
    return record != NULL && *held != 0;
}

/* Where the row seems to hold nothing its process may have died in the middle of dropping the last of it, and
 * whoever enters takes that back. It had the lock then, and nobody else has had it since: so a shard whose
 * lock is free is passed by without being written to, as most are. */
int block_drop_all_of(shmcore_segment *segment, uint32_t number, uint32_t row)
{
    struct work work;
    bool more;
    const bool is_whole =
        lock_is_free(&segment->file.view.shards[number].lock); /* and then the count is looked at */
    const uint32_t *held = &segment->file.view.held[(size_t)number * segment->file.view.row_count + row];
    struct walk walk = {0};
    if (is_whole && __atomic_load_n(held, __ATOMIC_ACQUIRE) == 0)
        return 0;
    do {
        struct region_run shed = {0, 0};
        if (!work_enter(&work, segment, number))
            return -1;
        more = *held != 0 && drop_some_of(&work, held, row, &walk, &shed);
        while (!more && shed.count == 0 && shrink_table(&work, &shed))
            continue;
        more |= shed.count != 0; /* these are returned first */
        work_leave(&work);
        regions_return(segment, shed);
    } while (more);
    return 0;
}

/* In a transaction of its own. */
static int copy_references(struct work *work, struct record *record, uint32_t from, uint32_t to)
{
    const uint32_t times = reference_count(work->view, record, work->number, from);
    if (times == 0)
        return 0;
    if (reference_wants_slot(work->view, record, work->number, to, times) &&
        work_ensure_slab(work, SLAB_ROW_SLOTS) != 0)
        return -1;
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = work_heap(work, &transaction);
    if (!reference_add(&heap, work->shard, work->number, record, to, times))
        transaction.overflowed = true;
    return transaction_end(&work->guarded, &transaction) ? 0 : work_undone(work, &transaction);
}

/* Gives `to` as many references to each block as `from` has: for a forked child. */
int block_copy_all_of(shmcore_segment *segment, uint32_t from, uint32_t to)
{
    const struct view *view = &segment->file.view;
    int result = 0;
    for (uint32_t number = 0; number < view->shard_count && result == 0; number++) {
        struct work work;
        struct record *record;
        if (!process_has_entered(view, from, number) ||
            view->held[(size_t)number * view->row_count + from] == 0)
            continue;
        process_note_shard(view, to, number);
        if (!work_enter(&work, segment, number))
            return -1;
        struct walk walk = begin_walk(&work);
        while (result == 0 && (record = next_held(&work, from, &walk)) != NULL)
            if (block_state(record) == RECORD_READY) /* else another thread is filling it, and only there */
                result = copy_references(&work, record, from, to);
        work_leave(&work);
    }
    return result;
}

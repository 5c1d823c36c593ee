/* SPDX-License-Identifier: MIT
 *
 * Named blocks: the first process that asks for a name makes the block, later ones attach to it.
 *
 * A block of up to 32 KiB is a slot of a slab and is made, zeroed and published in one transaction. A larger
 * one is an extent: it is published INITIALISING, its memory is reserved and zeroed with no lock held, then
 * its creator says READY with one store; those who come meanwhile wait on the record's status word, look now
 * and then whether the creator lives, and give up after a while. If the creator dies its reference is
 * reaped like any other and the name is free again.
 */
#include "blocks.h"

#include <errno.h>
#include <string.h>

#include "directory.h"
#include "os.h"
#include "reference.h"

#define INITIALISING_PATIENCE UINT64_C(30000000000)
#define WAIT_STEP             UINT64_C(20000000)

/* What one operation on one shard carries around. */
struct work {
    shmcore_segment *segment;
    const struct view *view;
    struct shard *shard;
    uint32_t number, owner;
    struct guarded guarded;
};

static bool enter(struct work *work, shmcore_segment *segment, uint32_t number)
{
    *work = (struct work){.segment = segment,
                          .view = &segment->file.view,
                          .shard = &segment->file.view.shards[number],
                          .number = number,
                          .owner = OWNER_SHARD + number};
    return shard_enter(segment, number, &work->guarded);
}

static void leave(const struct work *work)
{
    shard_leave(&work->guarded);
}

static struct heap heap_for(const struct work *work, struct transaction *transaction)
{
    return shard_heap(work->segment, work->number, transaction);
}

static int log_too_small(void)
{
    return error_set(EIO, "a transaction did not fit the undo log");
}

static uint32_t state_of(const struct record *record)
{
    return atomic_load_explicit(&record->status, memory_order_acquire) & RECORD_STATE_MASK;
}

static struct extent_slot *extent_of(const struct view *view, const struct record *record, uint32_t owner)
{
    const struct slot slot = slab_slot_of_record(view, view_reference(view, record), owner);
    return slot.slab != NULL && slot.slab->slab_class == SLAB_EXTENT_SLOTS ? slab_slot_bytes(view, slot)
                                                                           : NULL;
}

bool block_describe(const struct view *view, uint32_t owner, uint32_t reference, struct block_place *out)
{
    const struct slot slot = slab_slot_of_record(view, reference, owner);
    if (slot.slab == NULL || slot.slab->slab_class > SLAB_EXTENT_SLOTS)
        return false;
    out->record = slab_slot_record(view, slot);
    const uint32_t status = atomic_load_explicit(&out->record->status, memory_order_acquire);
    if ((status & RECORD_EXTENT) == 0) {
        out->offset = view_offset(view, slab_slot_bytes(view, slot));
        out->bytes = status >> 16;
        out->rounded = view->shapes[slot.slab->slab_class].slot_bytes;
        return slot.slab->slab_class < SLAB_DATA_CLASSES && out->bytes <= out->rounded;
    }
    const struct extent_slot *extent = slab_slot_bytes(view, slot);
    out->offset = (uint64_t)extent->quantum << QUANTUM_SHIFT;
    out->bytes = extent->bytes;
    out->rounded = (uint64_t)extent->count << QUANTUM_SHIFT;
    return slot.slab->slab_class == SLAB_EXTENT_SLOTS && view_holds(view, out->offset, out->rounded) &&
           out->bytes <= out->rounded;
}

/* ---------------------------------------------------------------- making room before a transaction */

/* Takes an extent of the shard's heap in a transaction of its own, refilling the heap when need be. */
static uint32_t take_extent(const struct work *work, uint32_t count, uint32_t alignment,
                            enum quantum_kind kind, bool low)
{
    for (int tries = 0; tries < 2; tries++) {
        struct transaction transaction = transaction_begin(&work->guarded);
        const struct heap heap = heap_for(work, &transaction);
        const uint32_t first = heap_take(&heap, count, alignment, kind);
        if (!transaction_end(&work->guarded, &transaction)) {
            log_too_small();
            return 0;
        }
        if (first != 0 && (!low || ((uint64_t)(first + count) << QUANTUM_SHIFT) <= RECORD_LIMIT))
            return first;
        if (first != 0) { /* above the limit for records: back with it */
            struct transaction undoing = transaction_begin(&work->guarded);
            const struct heap again = heap_for(work, &undoing);
            heap_give(&again, first);
            transaction_end(&work->guarded, &undoing);
        }
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
    const struct heap heap = heap_for(work, &transaction);
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

static int ensure_slab(const struct work *work, uint32_t slab_class)
{
    if (work->shard->partial[slab_class] != 0)
        return 0;
    const uint32_t first = take_extent(work, SLAB_QUANTA, SLAB_QUANTA, QUANTUM_RECORDS, true);
    if (first == 0 || reserve_or_give(work, first, SLAB_QUANTA) != 0)
        return -1;
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = heap_for(work, &transaction);
    slab_begin(&heap, work->shard, first, slab_class);
    return transaction_end(&work->guarded, &transaction) ? 0 : log_too_small();
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
    const struct heap heap = heap_for(work, &transaction);
    directory_extend(&heap, work->shard, first);
    return transaction_end(&work->guarded, &transaction) ? 0 : log_too_small();
}

static int ensure_room(const struct work *work, const struct name_key *key, uint32_t slab_class)
{
    if (ensure_buckets(work) != 0 || ensure_slab(work, slab_class) != 0)
        return -1;
    return directory_name_is_long(key)
               ? ensure_slab(work, slab_name_class(sizeof(struct long_name) + key->length))
               : 0;
}

/* ---------------------------------------------------------------- making a block */

static void set_name(const struct heap *heap, struct shard *shard, const struct name_key *key,
                     struct record *record)
{
    if (!directory_name_is_long(key)) { /* the record is nobody's yet, but two of its words are the name */
        undo_note(heap->transaction, record->name);
        undo_note(heap->transaction, record->name + 8);
        memcpy(record->name, key->text, key->length);
        return;
    }
    const struct slot slot = slab_take(heap, shard, slab_name_class(sizeof(struct long_name) + key->length));
    if (slot.slab == NULL) {
        heap->transaction->overflowed = true;
        return;
    }
    struct long_name *name = slab_slot_bytes(heap->view, slot); /* its slot is free if we die: no log */
    name->salt = key->salt;
    memcpy(name->text, key->text, key->length);
    const uint32_t reference = view_reference(heap->view, name);
    undo_note(heap->transaction, record->name);
    memcpy(record->name, &reference, sizeof reference);
}

static uint32_t status_for(const struct name_key *key, uint64_t bytes, bool extent, bool share)
{
    return (extent ? 0 : (uint32_t)bytes << 16) | key->length << 8 |
           (directory_name_is_long(key) ? (uint32_t)RECORD_LONG_NAME : 0) |
           (share ? (uint32_t)RECORD_SHARE : 0) |
           (extent ? (uint32_t)RECORD_EXTENT | RECORD_INITIALISING : (uint32_t)RECORD_READY);
}

/* Everything of a new block but its bytes, in the caller's transaction; NULL when something was missing. */
static struct record *make_record(const struct work *work, const struct heap *heap,
                                  const struct name_key *key, uint32_t slab_class, uint32_t status,
                                  uint64_t rounded)
{
    const struct slot slot = slab_take(heap, work->shard, slab_class);
    if (slot.slab == NULL)
        return NULL;
    struct record *record = slab_slot_record(work->view, slot);
    UNDO_SET(heap->transaction, &record->refs, 0);
    UNDO_SET(heap->transaction, &record->rows, 0);
    UNDO_SET(heap->transaction, &record->first_count, 0);
    UNDO_PUBLISH(heap->transaction, &record->status, status);
    set_name(heap, work->shard, key, record);
    reference_add(heap, work->shard, work->number, record, work->segment->row);
    directory_insert(heap, work->shard, key, record);
    UNDO_SET(heap->transaction, &work->shard->blocks, work->shard->blocks + 1);
    UNDO_SET(heap->transaction, &work->shard->used_bytes, work->shard->used_bytes + rounded);
    return record;
}

static void *make_small(const struct work *work, const struct name_key *key, uint64_t bytes, bool share)
{
    const uint32_t slab_class = slab_data_class(bytes);
    if (ensure_room(work, key, slab_class) != 0)
        return NULL;
    const uint32_t rounded = work->view->shapes[slab_class].slot_bytes;
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = heap_for(work, &transaction);
    struct record *record =
        make_record(work, &heap, key, slab_class, status_for(key, bytes, false, share), rounded);
    if (record == NULL) {
        transaction_abandon(&work->guarded, &transaction);
        out_of_space(work->segment, bytes);
        return NULL;
    }
    const struct slot slot = slab_slot_of_record(work->view, view_reference(work->view, record), work->owner);
    void *pointer = slab_slot_bytes(work->view, slot);
    memset(pointer, 0, rounded); /* a free slot's bytes need no log */
    if (transaction_end(&work->guarded, &transaction))
        return pointer;
    log_too_small();
    return NULL;
}

/* The extent is taken, named and published in one transaction, so that no death can lose it. */
static struct record *publish_extent(const struct work *work, const struct name_key *key, uint64_t bytes,
                                     bool share, uint64_t *offset)
{
    const uint32_t count = (uint32_t)most(divide_up(bytes, QUANTUM_BYTES), 1);
    for (int tries = 0; tries < 2; tries++) {
        struct transaction transaction = transaction_begin(&work->guarded);
        const struct heap heap = heap_for(work, &transaction);
        const uint32_t first = heap_take(&heap, count, 1, QUANTUM_NAMED);
        struct record *record = NULL;
        if (first != 0)
            record = make_record(work, &heap, key, SLAB_EXTENT_SLOTS, status_for(key, bytes, true, share),
                                 (uint64_t)count << QUANTUM_SHIFT);
        if (record != NULL) {
            struct extent_slot *extent = extent_of(work->view, record, work->owner);
            UNDO_SET(&transaction, &extent->quantum, first);
            UNDO_SET(&transaction, &extent->count, count);
            UNDO_SET(&transaction, &extent->bytes, bytes);
            UNDO_SET(&transaction, &work->view->quanta[first].record, view_reference(work->view, record));
            if (!transaction_end(&work->guarded, &transaction)) {
                log_too_small();
                return NULL;
            }
            *offset = (uint64_t)first << QUANTUM_SHIFT;
            return record;
        }
        transaction_abandon(&work->guarded, &transaction);
        if (tries == 0 && shard_refill(work->segment, work->number, &work->guarded, count, 1, false) != 0)
            return NULL;
    }
    out_of_space(work->segment, bytes);
    return NULL;
}

static void drop_and_free(struct work *work, struct record *record, uint32_t row, bool all,
                          struct region_run *shed);

/* Leaves the shard. */
static void *make_large(struct work *work, const struct name_key *key, uint64_t bytes, bool share)
{
    uint64_t offset = 0;
    struct record *record = NULL;
    if (ensure_room(work, key, SLAB_EXTENT_SLOTS) == 0)
        record = publish_extent(work, key, bytes, share, &offset);
    leave(work);
    if (record == NULL)
        return NULL;
    shmcore_segment *segment = work->segment;
    space_zero_old(work->view, offset, bytes);
    if (space_reserve(&segment->space, offset, bytes) == 0) {
        const uint32_t status = atomic_load_explicit(&record->status, memory_order_relaxed);
        atomic_store_explicit(&record->status, (status & ~(uint32_t)RECORD_STATE_MASK) | RECORD_READY,
                              memory_order_release);
        os_wake(&record->status);
        return view_at(work->view, offset);
    }
    if (enter(work, segment, work->number)) {
        struct region_run shed = {0, 0};
        drop_and_free(work, record, segment->row, false, &shed);
        leave(work);
        regions_return(segment, shed);
    }
    char size[ERROR_SIZE_BYTES];
    error_set(ENOMEM,
              "no memory left in %s for a block of %s in segment '%s'; free some, or enlarge it (mount -o "
              "remount,size=…)",
              segment->file.directory, error_size(size, bytes), segment->file.name);
    return NULL;
}

/* ---------------------------------------------------------------- joining a block */

static int wrong_size(const struct work *work, const struct name_key *key, uint64_t is, uint64_t wanted)
{
    char name[SHMCORE_NAME_MAX + 1];
    memcpy(name, key->text, key->length);
    name[key->length] = '\0';
    return error_set(EEXIST, "block '%s' of segment '%s' exists with %lu bytes and %lu were asked for", name,
                     work->segment->file.name, (unsigned long)is, (unsigned long)wanted);
}

static void *join_block(const struct work *work, const struct name_key *key, uint32_t reference,
                        uint64_t bytes)
{
    struct block_place place;
    if (!block_describe(work->view, work->owner, reference, &place)) {
        error_set(EIO, "a block of segment '%s' is damaged", work->segment->file.name);
        return NULL;
    }
    if (place.bytes != bytes) {
        wrong_size(work, key, place.bytes, bytes);
        return NULL;
    }
    const uint32_t row = work->segment->row;
    if (reference_wants_slot(work->view, place.record, work->number, row) &&
        ensure_slab(work, SLAB_ROW_SLOTS) != 0)
        return NULL;
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = heap_for(work, &transaction);
    if (!reference_add(&heap, work->shard, work->number, place.record, row)) {
        transaction_abandon(&work->guarded, &transaction);
        error_set(ENOMEM, "too many references to a block of segment '%s'", work->segment->file.name);
        return NULL;
    }
    if (transaction_end(&work->guarded, &transaction))
        return view_at(work->view, place.offset);
    log_too_small();
    return NULL;
}

/* With nothing entered: waits a little for the creator of a block, and reaps it when it is dead. False:
 * enough. */
static bool wait_for_creator(const struct work *work, struct record *record, uint32_t creator, uint64_t since)
{
    shmcore_segment *segment = work->segment;
    const uint32_t status = atomic_load_explicit(&record->status, memory_order_acquire);
    if ((status & RECORD_STATE_MASK) == RECORD_INITIALISING)
        os_wait(&record->status, status, WAIT_STEP);
    const uint64_t nonce = creator < work->view->row_count ? work->view->rows[creator].nonce : 0;
    if (creator < work->view->row_count &&
        process_is_dead(work->view, creator, segment->file.device, segment->file.inode))
        reap_row(segment, creator, nonce);
    if (os_clock() - since < INITIALISING_PATIENCE)
        return true;
    error_set(EBUSY, "a block of segment '%s' is still being filled by its creator", segment->file.name);
    return false;
}

/* ---------------------------------------------------------------- allocate */

static int check_name(const char *name, size_t *length)
{
    *length = name != NULL ? strlen(name) : 0;
    if (*length == 0)
        return error_set(EINVAL, "a block needs a name");
    if (*length > SHMCORE_NAME_MAX)
        return error_set(ENAMETOOLONG, "the block name is %zu bytes long; at most %u are possible", *length,
                         (unsigned)SHMCORE_NAME_MAX);
    if (!text_is_printable(name, *length))
        return error_set(EINVAL, "the block name is not printable UTF-8");
    return 0;
}

void *block_allocate(shmcore_segment *segment, const char *name, uint64_t salt, size_t bytes, bool share,
                     bool *created)
{
    size_t length;
    struct work work;
    if (!segment_is_usable(segment, true) || check_name(name, &length) != 0)
        return NULL;
    if (bytes > segment->file.view.capacity) {
        out_of_space(segment, bytes);
        return NULL;
    }
    const struct name_key key = directory_key(name, length, salt);
    const uint32_t number = directory_shard(&segment->file.view, &key);
    uint64_t since = 0;
    for (;;) {
        bool damaged = false;
        if (!enter(&work, segment, number))
            return NULL;
        const uint32_t reference = directory_find(work.view, work.shard, work.owner, &key, &damaged);
        if (UNLIKELY(damaged)) {
            leave(&work);
            error_set(EIO, "the names of segment '%s' are damaged", segment->file.name);
            return NULL;
        }
        *created = reference == 0;
        if (reference == 0 && bytes > EXPORT_SLOT_MOST)
            return make_large(&work, &key, bytes, share);
        struct record *record = reference != 0 ? view_record(work.view, reference) : NULL;
        if (record == NULL || state_of(record) == RECORD_READY) {
            void *pointer = record == NULL ? make_small(&work, &key, bytes, share)
                                           : join_block(&work, &key, reference, bytes);
            leave(&work);
            return pointer;
        }
        const uint32_t creator = reference_holder(work.view, record, number);
        leave(&work);
        since = since != 0 ? since : os_clock();
        if (!wait_for_creator(&work, record, creator, since))
            return NULL;
    }
}

void *shmcore_allocate(shmcore_segment *segment, const char *name, size_t bytes)
{
    bool created;
    return block_allocate(segment, name, 0, bytes, false, &created);
}

/* ---------------------------------------------------------------- deallocate */

static struct extent remove_slab(const struct work *work, struct slab *slab)
{
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = heap_for(work, &transaction);
    const struct extent freed = slab_remove(&heap, work->shard, slab);
    transaction_end(&work->guarded, &transaction);
    return freed;
}

/* Everything a block consists of, in the caller's transaction. Slabs left empty are put in `empty`. */
static struct extent free_block(const struct work *work, const struct heap *heap, struct record *record,
                                struct slab *empty[2])
{
    struct block_place place;
    struct extent freed = {0, 0};
    const uint32_t status = atomic_load_explicit(&record->status, memory_order_relaxed);
    const struct slot slot = slab_slot_of_record(work->view, view_reference(work->view, record), work->owner);
    if (slot.slab == NULL ||
        !block_describe(work->view, work->owner, view_reference(work->view, record), &place) ||
        !directory_remove(heap, work->shard, record)) {
        heap->transaction->overflowed = true; /* damaged: take it all back */
        return freed;
    }
    if ((status & RECORD_LONG_NAME) != 0) {
        uint32_t reference;
        memcpy(&reference, record->name, sizeof reference);
        const struct slot name =
            slab_slot_of_bytes(work->view, (uint64_t)reference * RECORD_UNIT, work->owner);
        if (name.slab != NULL)
            slab_give(heap, work->shard, name, &empty[0]);
    }
    if ((status & RECORD_EXTENT) != 0)
        freed = heap_give(heap, (uint32_t)(place.offset >> QUANTUM_SHIFT));
    UNDO_PUBLISH(heap->transaction, &record->status, (uint32_t)RECORD_FREE);
    slab_give(heap, work->shard, slot, &empty[1]);
    UNDO_SET(heap->transaction, &work->shard->blocks, work->shard->blocks - 1);
    UNDO_SET(heap->transaction, &work->shard->used_bytes, work->shard->used_bytes - place.rounded);
    return freed;
}

/* Drops one or all references of a row, frees the block with the last one, sheds what the shard need not
 * keep. `shed` is for regions_return() after leaving. */
static void drop_and_free(struct work *work, struct record *record, uint32_t row, bool all,
                          struct region_run *shed)
{
    struct slab *empty[3] = {NULL, NULL, NULL};
    struct extent freed = {0, 0};
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = heap_for(work, &transaction);
    const bool dropped = reference_drop(&heap, work->shard, work->number, record, row, all, &empty[2]);
    if (dropped && record->refs == 0)
        freed = free_block(work, &heap, record, empty);
    if (!transaction_end(&work->guarded, &transaction))
        return;
    for (unsigned i = 0; i < COUNT_OF(empty); i++)
        if (empty[i] != NULL && empty[i]->used == 0 && empty[i]->listed) {
            const struct extent of_slab = remove_slab(work, empty[i]);
            if (freed.count == 0)
                freed = of_slab;
        }
    if (shed->count != 0 || freed.count == 0)
        return;
    /* a slab freed next to it may have made the extent longer: only trust what is there now */
    if (heap_begins(work->view, freed.first, work->owner, QUANTUM_FREE) &&
        work->view->quanta[freed.first].count == freed.count)
        *shed = shard_shed(work->segment, work->number, &work->guarded, freed);
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
    if (record == NULL || state_of(record) != RECORD_READY)
        return no_such_block(work->segment, view_at(work->view, offset));
    if (reference_count(work->view, record, work->number, row) == 0)
        return error_set(EINVAL, "this process holds no reference to the block at %p of segment '%s'",
                         view_at(work->view, offset), work->segment->file.name);
    drop_and_free(work, record, row, false, shed);
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
    if (offset >= segment->file.view.capacity)
        return no_such_block(segment, pointer);
    const uint32_t owner = view_owner_of_quantum(&segment->file.view, (uint32_t)(offset >> QUANTUM_SHIFT));
    if (owner < OWNER_SHARD || owner >= OWNER_SHARD + segment->file.view.shard_count)
        return no_such_block(segment, pointer);
    if (!enter(&work, segment, owner - OWNER_SHARD))
        return -1;
    const int result = deallocate(&work, offset, &shed);
    leave(&work);
    regions_return(segment, shed);
    return result;
}

/* ---------------------------------------------------------------- find */

static void *find_here(const struct view *view, uint32_t number, const struct name_key *key, size_t *bytes,
                       bool *damaged)
{
    struct block_place place;
    const uint32_t owner = OWNER_SHARD + number;
    const uint32_t reference = directory_find(view, &view->shards[number], owner, key, damaged);
    if (reference == 0 || !block_describe(view, owner, reference, &place) ||
        state_of(place.record) != RECORD_READY)
        return NULL;
    if (bytes != NULL)
        *bytes = place.bytes;
    return view_at(view, place.offset);
}

/* Without the lock: a reader cannot take it, and need not. Repeats while a writer is at work; of one that was
 * stopped in the middle it takes the last answer. */
static void *find_unlocked(const struct view *view, uint32_t number, const struct name_key *key,
                           size_t *bytes)
{
    const struct shard *shard = &view->shards[number];
    void *pointer = NULL;
    for (int tries = 0; tries < 1000; tries++) {
        bool damaged = false;
        const uint32_t before = atomic_load_explicit(&shard->sequence, memory_order_acquire);
        pointer = find_here(view, number, key, bytes, &damaged);
        atomic_thread_fence(memory_order_acquire);
        const uint32_t after = atomic_load_explicit(&shard->sequence, memory_order_relaxed);
        if (before == after && (before & 1) == 0)
            return pointer;
        if (tries > 10)
            os_pause(10000);
    }
    return pointer;
}

void *block_find(shmcore_segment *segment, const char *name, size_t *bytes)
{
    const struct view *view = &segment->file.view;
    struct name_key key = directory_key(name, strlen(name), 0);
    const uint32_t number = directory_shard(view, &key);
    void *pointer = find_unlocked(view, number, &key, bytes);
    if (pointer != NULL)
        return pointer;
    key.any_salt = true;
    return find_unlocked(view, number, &key, bytes);
}

/* ---------------------------------------------------------------- of whole processes */

/* The next record of bucket `*bucket` on that `row` has references to; NULL at the end. */
static struct record *next_held(const struct work *work, uint32_t row, uint32_t *bucket)
{
    for (; *bucket < work->shard->directory.buckets; (*bucket)++) {
        uint32_t reference = directory_bucket(work->view, work->shard, work->owner, *bucket);
        for (uint32_t steps = 0; reference != 0 && steps < 100000; steps++) {
            struct record *record = directory_record(work->view, work->owner, reference);
            if (record == NULL)
                break;
            if (reference_count(work->view, record, work->number, row) > 0)
                return record;
            reference = record->next;
        }
    }
    return NULL;
}

int block_drop_all_of(shmcore_segment *segment, uint32_t number, uint32_t row)
{
    struct work work;
    const uint32_t *held = &segment->file.view.held[(size_t)number * segment->file.view.row_count + row];
    uint32_t bucket = 0;
    while (__atomic_load_n(held, __ATOMIC_ACQUIRE) != 0) {
        struct region_run shed = {0, 0};
        if (!enter(&work, segment, number))
            return -1;
        struct record *record = NULL;
        uint32_t before = UINT32_MAX;
        while (shed.count == 0 && *held != before && (record = next_held(&work, row, &bucket)) != NULL) {
            before = *held;
            drop_and_free(&work, record, row, true, &shed);
        }
        leave(&work);
        regions_return(segment, shed);
        if (record == NULL || *held == before)
            break;
    }
    return 0;
}

/* Gives `to` a reference to each block that `from` has one to: for a forked child. */
int block_copy_all_of(shmcore_segment *segment, uint32_t from, uint32_t to)
{
    const struct view *view = &segment->file.view;
    int result = 0;
    for (uint32_t number = 0; number < view->shard_count && result == 0; number++) {
        struct work work;
        if (view->held[(size_t)number * view->row_count + from] == 0)
            continue;
        if (!enter(&work, segment, number))
            return -1;
        for (uint32_t bucket = 0; bucket < work.shard->directory.buckets && result == 0; bucket++) {
            uint32_t reference = directory_bucket(view, work.shard, work.owner, bucket);
            for (uint32_t steps = 0; reference != 0 && result == 0 && steps < 100000; steps++) {
                struct record *record = directory_record(view, work.owner, reference);
                if (record == NULL)
                    break;
                uint32_t times = reference_count(view, record, number, from);
                for (; times > 0 && result == 0; times--) {
                    if (reference_wants_slot(view, record, number, to))
                        result = ensure_slab(&work, SLAB_ROW_SLOTS);
                    struct transaction transaction = transaction_begin(&work.guarded);
                    const struct heap heap = heap_for(&work, &transaction);
                    if (result == 0 && !reference_add(&heap, work.shard, number, record, to))
                        result = -1;
                    transaction_end(&work.guarded, &transaction);
                }
                reference = record->next;
            }
        }
        leave(&work);
    }
    return result;
}

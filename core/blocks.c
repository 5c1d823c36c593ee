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

#include "os.h"
#include "reference.h"
#include "work.h"

#define INITIALISING_PATIENCE UINT64_C(30000000000)
#define WAIT_STEP             UINT64_C(20000000)

/* In the place of a size: the block's, whatever it is, and none is made. */
#define SIZE_AS_IT_IS UINT64_MAX

/* ---------------------------------------------------------------- making a block */

static void set_name(const struct heap *heap, struct shard *shard, const struct name_key *key,
                     struct record *record)
{
    if (!directory_name_is_long(key)) {
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
    memcpy(record->name, &reference, sizeof reference);
}

static uint32_t status_for(const struct name_key *key, uint64_t bytes, bool extent, bool share)
{
    return (extent ? 0 : (uint32_t)bytes << 16) | key->length << 8 |
           (directory_name_is_long(key) ? (uint32_t)RECORD_LONG_NAME : 0) |
           (share ? (uint32_t)RECORD_SHARE : 0) |
           (extent ? (uint32_t)RECORD_EXTENT | RECORD_INITIALISING : (uint32_t)RECORD_READY);
}

/* Everything of a new block but its bytes, in the caller's transaction: the slot of its record, none when
 * something was missing. */
static struct slot make_record(const struct work *work, const struct heap *heap, const struct name_key *key,
                               uint32_t slab_class, uint32_t status, uint64_t rounded)
{
    const struct slot slot = slab_take(heap, work->shard, slab_class);
    if (slot.slab == NULL)
        return slot;
    struct record *record = slab_slot_record(work->view, slot);
    /* Its slot is free again if we die, so what nothing else says needs no log: there is less to write, and
     * of a log that other processes write to, too, each line is fetched from them. */
    set_name(heap, work->shard, key, record);
    reference_begin(heap, work->number, record, work->segment->row);
    atomic_store_explicit(&record->status, status, memory_order_release);
    directory_insert(heap, work->shard, key, record);
    UNDO_SET(heap->transaction, &work->shard->blocks, work->shard->blocks + 1);
    UNDO_SET(heap->transaction, &work->shard->used_bytes, work->shard->used_bytes + rounded);
    return slot;
}

static void *make_small(const struct work *work, const struct name_key *key, uint64_t bytes, bool share)
{
    const uint32_t slab_class = slab_data_class(bytes);
    if (work_ensure_room(work, key, slab_class) != 0)
        return NULL;
    const uint32_t rounded = work->view->shapes[slab_class].slot_bytes;
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = work_heap(work, &transaction);
    const struct slot slot =
        make_record(work, &heap, key, slab_class, status_for(key, bytes, false, share), rounded);
    if (slot.slab == NULL) {
        transaction_abandon(&work->guarded, &transaction);
        if (transaction.damaged)
            work_undone(work, &transaction);
        else
            out_of_space(work->segment, bytes);
        return NULL;
    }
    void *pointer = slab_slot_bytes(work->view, slot);
    memset(pointer, 0, rounded); /* a free slot's bytes need no log */
    if (transaction_end(&work->guarded, &transaction))
        return pointer;
    work_undone(work, &transaction);
    return NULL;
}

/* The extent is taken, named and published in one transaction, so that no death can lose it. NULL with
 * *no_extent: the heap has none so long; else with the error set. */
static struct record *publish_here(const struct work *work, const struct name_key *key, uint64_t bytes,
                                   bool share, uint32_t count, bool *no_extent)
{
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = work_heap(work, &transaction);
    const uint32_t first = heap_take(&heap, count, 1, QUANTUM_NAMED);
    struct slot slot = {NULL, 0};
    *no_extent = first == 0 && !transaction.damaged;
    if (first != 0)
        slot = make_record(work, &heap, key, SLAB_EXTENT_SLOTS, status_for(key, bytes, true, share),
                           (uint64_t)count << QUANTUM_SHIFT);
    if (slot.slab == NULL) {
        transaction_abandon(&work->guarded, &transaction);
        if (!*no_extent)
            work_undone(work, &transaction);
        return NULL;
    }
    struct extent_slot *extent = slab_slot_bytes(work->view, slot);
    struct record *record = slab_slot_record(work->view, slot);
    UNDO_SET(&transaction, &extent->quantum, first);
    UNDO_SET(&transaction, &extent->count, count);
    UNDO_SET(&transaction, &extent->bytes, bytes);
    UNDO_SET(&transaction, &work->view->quanta[first].record, view_reference(work->view, record));
    if (transaction_end(&work->guarded, &transaction))
        return record;
    work_undone(work, &transaction);
    return NULL;
}

static struct record *publish_extent(const struct work *work, const struct name_key *key, uint64_t bytes,
                                     bool share)
{
    const uint32_t count = (uint32_t)most(divide_up(bytes, QUANTUM_BYTES), 1);
    bool no_extent;
    struct record *record = publish_here(work, key, bytes, share, count, &no_extent);
    if (record != NULL || !no_extent)
        return record;
    if (shard_refill(work->segment, work->number, &work->guarded, count, 1, false) != 0)
        return NULL;
    record = publish_here(work, key, bytes, share, count, &no_extent);
    if (record == NULL && no_extent)
        out_of_space(work->segment, bytes);
    return record;
}

/* Leaves the shard. */
static void *make_large(struct work *work, const struct name_key *key, uint64_t bytes, bool share)
{
    struct record *record = NULL;
    struct block_place place;
    if (work_ensure_room(work, key, SLAB_EXTENT_SLOTS) == 0)
        record = publish_extent(work, key, bytes, share);
    if (record != NULL &&
        !block_describe(work->view, work->owner, view_reference(work->view, record), &place)) {
        error_set(EIO, "a block of segment '%s' is damaged", work->segment->file.name);
        record = NULL;
    }
    work_leave(work);
    if (record == NULL)
        return NULL;
    const uint64_t offset = place.offset;
    shmcore_segment *segment = work->segment;
    space_zero_old(work->view, offset, bytes);
    if (space_reserve(&segment->space, offset, bytes) == 0) {
        const uint32_t status = atomic_load_explicit(&record->status, memory_order_relaxed);
        atomic_store_explicit(&record->status, (status & ~(uint32_t)RECORD_STATE_MASK) | RECORD_READY,
                              memory_order_release);
        os_wake(&record->status);
        return view_at(work->view, offset);
    }
    if (work_enter(work, segment, work->number)) {
        struct region_run shed = {0, 0};
        work_drop_and_free(work, record, segment->row, false, &shed);
        work_leave(work);
        regions_return(segment, shed);
    }
    space_refuse(&segment->space, bytes, segment->file.name);
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
    if (!block_describe(work->view, work->owner, reference, &place) ||
        block_state(place.record) != RECORD_READY) {
        error_set(EIO, "a block of segment '%s' is damaged", work->segment->file.name);
        return NULL;
    }
    if (bytes != SIZE_AS_IT_IS && place.bytes != bytes) {
        wrong_size(work, key, place.bytes, bytes);
        return NULL;
    }
    const uint32_t row = work->segment->row;
    if (reference_wants_slot(work->view, place.record, work->number, row, 1) &&
        work_ensure_slab(work, SLAB_ROW_SLOTS) != 0)
        return NULL;
    struct transaction transaction = transaction_begin(&work->guarded);
    const struct heap heap = work_heap(work, &transaction);
    if (!reference_add(&heap, work->shard, work->number, place.record, row, 1)) {
        transaction_abandon(&work->guarded, &transaction);
        if (transaction.damaged)
            work_undone(work, &transaction);
        else
            error_set(ENOMEM, "too many references to a block of segment '%s'", work->segment->file.name);
        return NULL;
    }
    if (transaction_end(&work->guarded, &transaction))
        return view_at(work->view, place.offset);
    work_undone(work, &transaction);
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

static void *make_or_join(shmcore_segment *segment, const struct name_key *key, size_t bytes, bool share,
                          bool *created)
{
    struct work work;
    const uint32_t number = directory_shard(&segment->file.view, key);
    uint64_t since = 0;
    for (;;) {
        bool damaged = false;
        if (!work_enter(&work, segment, number))
            return NULL;
        const uint32_t reference = directory_find(work.view, work.shard, work.owner, key, &damaged);
        if (UNLIKELY(damaged)) {
            work_leave(&work);
            error_set(EIO, "the names of segment '%s' are damaged", segment->file.name);
            return NULL;
        }
        *created = reference == 0;
        if (reference == 0 && bytes == SIZE_AS_IT_IS) {
            work_leave(&work);
            errno = ENOENT;
            return NULL;
        }
        if (reference == 0 && bytes >= SLOT_BYTES_END)
            return make_large(&work, key, bytes, share);
        struct record *record = reference != 0 ? view_record(work.view, reference) : NULL;
        if (record == NULL || block_state(record) != RECORD_INITIALISING) {
            void *pointer = record == NULL ? make_small(&work, key, bytes, share)
                                           : join_block(&work, key, reference, bytes);
            work_leave(&work);
            return pointer;
        }
        const uint32_t creator = reference_holder(work.view, record, number);
        work_leave(&work);
        since = since != 0 ? since : os_clock();
        if (!wait_for_creator(&work, record, creator, since))
            return NULL;
    }
}

void *block_allocate(shmcore_segment *segment, const char *name, uint64_t salt, size_t bytes, bool share,
                     bool *created)
{
    size_t length;
    if (!segment_is_usable(segment, true) || check_name(name, &length) != 0)
        return NULL;
    if (bytes > segment->file.view.capacity) {
        out_of_space(segment, bytes);
        return NULL;
    }
    const struct name_key key = directory_key(name, length, salt);
    void *pointer = make_or_join(segment, &key, bytes, share, created);
    if (UNLIKELY(pointer == NULL) && (errno == ENOMEM || errno == EEXIST)) {
        const int error = errno;
        const bool gathered = error == ENOMEM && regions_gather(segment);
        const bool reaped = reap_for_room(segment);
        if ((error == ENOMEM && regions_await(segment)) || reaped || gathered)
            return make_or_join(segment, &key, bytes, share, created);
        errno = error;
    }
    return pointer;
}

void *shmcore_allocate(shmcore_segment *segment, const char *name, size_t bytes)
{
    bool created;
    return block_allocate(segment, name, 0, bytes, false, &created);
}

void *shmcore_attach(shmcore_segment *segment, const char *name, size_t *bytes)
{
    size_t length;
    bool created;
    shmcore_block block;
    if (!segment_is_usable(segment, true) || check_name(name, &length) != 0)
        return NULL;
    struct name_key key = directory_key(name, length, 0);
    void *pointer = make_or_join(segment, &key, SIZE_AS_IT_IS, false, &created);
    if (pointer == NULL && errno == ENOENT) {
        key.any_salt = true;
        pointer = make_or_join(segment, &key, SIZE_AS_IT_IS, false, &created);
    }
    if (pointer == NULL && errno == ENOENT)
        error_set(ENOENT, "there is no block '%s' in segment '%s' that can be attached to", name,
                  segment->file.name);
    if (pointer != NULL && bytes != NULL && shmcore_block_of(pointer, &block) == 0)
        *bytes = block.bytes; /* it stays, for a reference to it is held */
    return pointer;
}

/* ---------------------------------------------------------------- find */

static void *find_here(const struct view *view, uint32_t number, const struct name_key *key, size_t *bytes,
                       bool *damaged)
{
    struct block_place place;
    const uint32_t owner = OWNER_SHARD + number;
    const uint32_t reference = directory_find(view, &view->shards[number], owner, key, damaged);
    if (reference == 0 || !block_describe(view, owner, reference, &place) ||
        block_state(place.record) != RECORD_READY)
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

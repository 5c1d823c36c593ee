/* SPDX-License-Identifier: MIT */
#include "directory.h"

#include <string.h>

/* No list of a sound directory is anywhere near as long. */
#define STEPS_MOST 100000u

struct name_key directory_key(const char *text, size_t length, uint64_t salt)
{
    return (struct name_key){
        .text = text, .length = (uint32_t)length, .salt = salt, .hash = hash_bytes(text, length)};
}

/* The part of the hash that buckets are chosen by; it is kept in the record, so that a split need not
 * look at names. The shard was chosen by the highest bits, so these are the ones below. */
static uint32_t kept_hash(uint64_t hash)
{
    return (uint32_t)(hash >> 16);
}

static uint32_t bucket_of(uint32_t hash, uint32_t buckets)
{
    const uint32_t level = (uint32_t)1 << log2_floor(buckets);
    const uint32_t index = hash & (2 * level - 1);
    return index < buckets ? index : index & (level - 1);
}

/* Piece 0 holds the first 4096 buckets, piece p the ones from 4096·2^(p-1) up to twice that. */
static uint32_t piece_of(uint32_t index, uint32_t *inside)
{
    if (index < DIRECTORY_FIRST_BUCKETS) {
        *inside = index;
        return 0;
    }
    const uint32_t piece = log2_floor(index / DIRECTORY_FIRST_BUCKETS) + 1;
    *inside = index - (DIRECTORY_FIRST_BUCKETS << (piece - 1));
    return piece;
}

/* NULL when the file's pieces make no sense. */
static uint32_t *bucket_at(const struct view *view, const struct shard *shard, uint32_t owner, uint32_t index)
{
    uint32_t inside;
    const uint32_t piece = piece_of(index, &inside);
    if (piece >= DIRECTORY_PIECES)
        return NULL;
    const uint64_t offset = shard->directory.piece[piece] + (uint64_t)inside * 4;
    if (shard->directory.piece[piece] == 0 || offset % 4 != 0 || !view_holds(view, offset, 4) ||
        view_owner_of_quantum(view, (uint32_t)(offset >> QUANTUM_SHIFT)) != owner)
        return NULL;
    return view_at(view, offset);
}

struct record *directory_record(const struct view *view, uint32_t owner, uint32_t reference)
{
    const uint64_t offset = (uint64_t)reference * RECORD_UNIT;
    if (reference == 0 || !view_holds(view, offset, sizeof(struct record)) ||
        view_owner_of_quantum(view, (uint32_t)(offset >> QUANTUM_SHIFT)) != owner)
        return NULL;
    return view_at(view, offset);
}

uint32_t directory_bucket(const struct view *view, const struct shard *shard, uint32_t owner, uint32_t index)
{
    const uint32_t *bucket = bucket_at(view, shard, owner, index);
    return bucket != NULL ? *bucket : 0;
}

static uint32_t status_of(const struct record *record)
{
    return atomic_load_explicit(&record->status, memory_order_relaxed);
}

/* The name kept outside the record, when `length` bytes of it are inside the shard; else NULL. */
GLANCES static const struct long_name *long_name_of(const struct view *view, const struct record *record,
                                                    uint32_t owner, uint32_t length)
{
    uint32_t reference;
    glance(&reference, record->name, sizeof reference);
    const uint64_t offset = (uint64_t)reference * RECORD_UNIT;
    if (reference == 0 || !view_holds(view, offset, sizeof(struct long_name) + length) ||
        view_owner_of_quantum(view, (uint32_t)(offset >> QUANTUM_SHIFT)) != owner)
        return NULL;
    return view_at(view, offset);
}

static bool name_matches(const struct view *view, const struct record *record, uint32_t owner,
                         const struct name_key *key)
{
    const uint32_t status = status_of(record);
    if ((status >> 8 & 0xff) != key->length)
        return false;
    if ((status & RECORD_LONG_NAME) == 0)
        return (key->any_salt || key->salt == 0) && key->length <= RECORD_NAME_BYTES &&
               memcmp(record->name, key->text, key->length) == 0;
    const struct long_name *name = long_name_of(view, record, owner, key->length);
    return name != NULL && (key->any_salt || name->salt == key->salt) &&
           memcmp(name->text, key->text, key->length) == 0;
}

uint32_t directory_find(const struct view *view, const struct shard *shard, uint32_t owner,
                        const struct name_key *key, bool *damaged)
{
    const uint32_t hash = kept_hash(key->hash);
    const uint32_t buckets = shard->directory.buckets;
    if (buckets == 0)
        return 0;
    const uint32_t *bucket = bucket_at(view, shard, owner, bucket_of(hash, buckets));
    if (bucket == NULL) {
        *damaged = true;
        return 0;
    }
    uint32_t reference = *bucket;
    for (uint32_t steps = 0; reference != 0; steps++) {
        const struct record *record = directory_record(view, owner, reference);
        if (UNLIKELY(record == NULL || steps >= STEPS_MOST)) {
            *damaged = true;
            return 0;
        }
        if (record->hash == hash && name_matches(view, record, owner, key))
            return reference;
        reference = record->next;
    }
    return 0;
}

uint32_t directory_wants(const struct shard *shard)
{
    const struct directory *directory = &shard->directory;
    uint32_t inside;
    if (directory->buckets != 0 && directory->entries < directory->buckets)
        return 0; /* no split is due */
    const uint32_t piece = piece_of(directory->buckets, &inside);
    if (piece >= DIRECTORY_PIECES || directory->piece[piece] != 0)
        return 0;
    const uint64_t buckets = piece == 0 ? DIRECTORY_FIRST_BUCKETS : DIRECTORY_FIRST_BUCKETS << (piece - 1);
    return (uint32_t)divide_up(buckets * sizeof(uint32_t), QUANTUM_BYTES);
}

void directory_extend(const struct heap *heap, struct shard *shard, uint32_t quantum)
{
    uint32_t inside;
    const uint32_t piece = piece_of(shard->directory.buckets, &inside);
    UNDO_SET(heap->transaction, &shard->directory.piece[piece], (uint64_t)quantum << QUANTUM_SHIFT);
    if (shard->directory.buckets == 0) /* the first piece is in use at once: its buckets are empty */
        UNDO_SET(heap->transaction, &shard->directory.buckets, DIRECTORY_FIRST_BUCKETS);
}

/* Moves to the new bucket what now belongs there. Stops early, with nothing lost, when a list is so
 * long that the log might overflow: the next insertion goes on with the next bucket. */
static void split_bucket(const struct heap *heap, struct shard *shard)
{
    struct directory *directory = &shard->directory;
    const uint32_t fresh = directory->buckets;
    uint32_t *new_head = bucket_at(heap->view, shard, heap->owner, fresh);
    if (new_head == NULL)
        return; /* the table cannot grow now: lists get longer */
    const uint32_t level = (uint32_t)1 << log2_floor(fresh);
    uint32_t *link = bucket_at(heap->view, shard, heap->owner, fresh & (level - 1));
    if (link == NULL)
        return;
    uint32_t length = 0;
    for (uint32_t r = *link; r != 0 && length <= 32; length++) {
        const struct record *record = directory_record(heap->view, heap->owner, r);
        if (record == NULL)
            return;
        r = record->next;
    }
    if (length > 32)
        return;
    UNDO_SET(heap->transaction, new_head, 0);
    while (*link != 0) {
        struct record *record = directory_record(heap->view, heap->owner, *link);
        if (UNLIKELY(record == NULL || length-- == 0)) { /* our stores changed it: it lies over itself */
            undo_damaged(heap->transaction);
            return;
        }
        if (bucket_of(record->hash, fresh + 1) != fresh) {
            link = &record->next;
            continue;
        }
        const uint32_t moved = *link;
        UNDO_SET(heap->transaction, link, record->next);
        UNDO_SET(heap->transaction, &record->next, *new_head);
        UNDO_SET(heap->transaction, new_head, moved);
        if (heap->transaction->overflowed)
            return;
    }
    UNDO_SET(heap->transaction, &directory->buckets, fresh + 1);
}

void directory_insert(const struct heap *heap, struct shard *shard, const struct name_key *key,
                      struct record *record)
{
    struct directory *directory = &shard->directory;
    if (UNLIKELY(directory->buckets < DIRECTORY_FIRST_BUCKETS)) {
        undo_damaged(heap->transaction);
        return;
    }
    if (directory->entries >= directory->buckets)
        split_bucket(heap, shard);
    const uint32_t hash = kept_hash(key->hash);
    uint32_t *bucket = bucket_at(heap->view, shard, heap->owner, bucket_of(hash, directory->buckets));
    if (bucket == NULL) {
        undo_damaged(heap->transaction);
        return;
    }
    record->hash = hash;
    record->next = *bucket;
    UNDO_SET(heap->transaction, bucket, view_reference(heap->view, record));
    UNDO_SET(heap->transaction, &directory->entries, directory->entries + 1);
}

bool directory_remove(const struct heap *heap, struct shard *shard, struct record *record)
{
    struct directory *directory = &shard->directory;
    const uint32_t wanted = view_reference(heap->view, record);
    if (directory->buckets == 0)
        return false;
    uint32_t *link = bucket_at(heap->view, shard, heap->owner, bucket_of(record->hash, directory->buckets));
    for (uint32_t steps = 0; link != NULL && *link != 0 && steps < STEPS_MOST; steps++) {
        if (*link == wanted) {
            UNDO_SET(heap->transaction, link, record->next);
            UNDO_SET(heap->transaction, &directory->entries, directory->entries - 1);
            return true;
        }
        struct record *next = directory_record(heap->view, heap->owner, *link);
        link = next != NULL ? &next->next : NULL;
    }
    return false;
}

GLANCES size_t directory_name(const struct view *view, const struct record *record, uint32_t owner,
                              char out[256], uint64_t *salt)
{
    const uint32_t status = status_of(record);
    uint32_t length = status >> 8 & 0xff;
    const char *text = record->name;
    uint64_t found_salt = 0;
    if ((status & RECORD_LONG_NAME) != 0) {
        const struct long_name *name = long_name_of(view, record, owner, length);
        length = name != NULL ? length : 0;
        text = name != NULL ? name->text : record->name;
        found_salt = name != NULL ? name->salt : 0;
    } else {
        length = (uint32_t)least(length, RECORD_NAME_BYTES);
    }
    glance(out, text, length);
    out[length] = '\0';
    if (salt != NULL)
        *salt = found_salt;
    return length;
}

uint32_t directory_buckets(const struct view *view, const struct shard *shard, uint32_t owner)
{
    uint64_t there = 0;
    for (uint32_t piece = 0; piece < DIRECTORY_PIECES && there < shard->directory.buckets; piece++) {
        const uint64_t more = piece == 0 ? DIRECTORY_FIRST_BUCKETS : there;
        const uint64_t quantum = shard->directory.piece[piece] >> QUANTUM_SHIFT;
        if (shard->directory.piece[piece] % QUANTUM_BYTES != 0 || quantum >= view_quantum_count(view) ||
            !heap_begins(view, (uint32_t)quantum, owner, QUANTUM_TABLE) ||
            (uint64_t)view->quanta[quantum].count << QUANTUM_SHIFT < more * sizeof(uint32_t))
            break;
        there += more;
    }
    return (uint32_t)least(there, shard->directory.buckets);
}

uint64_t directory_records_most(const struct view *view, uint32_t owner)
{
    const uint32_t each = view_region_quanta(view);
    uint64_t regions = 0;
    for (uint32_t region = view->table_regions; region < view->region_count; region++)
        regions += view_quantum_belongs(view, region * each, owner);
    return (regions << view->region_shift) / sizeof(struct record);
}

bool directory_is_sound(const struct view *view, const struct shard *shard, uint32_t owner)
{
    uint32_t entries = 0;
    if (shard->directory.entries > directory_records_most(view, owner) ||
        shard->directory.buckets != directory_buckets(view, shard, owner))
        return false;
    for (uint32_t b = 0; b < shard->directory.buckets; b++) {
        const uint32_t *bucket = bucket_at(view, shard, owner, b);
        if (bucket == NULL)
            return false;
        for (uint32_t reference = *bucket; reference != 0;) {
            const struct slot slot = slab_slot_of_record(view, reference, owner);
            if (slot.slab == NULL || !slab_slot_is_live(slot.slab, slot.index) ||
                entries++ >= shard->directory.entries)
                return false;
            const struct record *record = slab_slot_record(view, slot);
            if (bucket_of(record->hash, shard->directory.buckets) != b)
                return false;
            reference = record->next;
        }
    }
    return entries == shard->directory.entries;
}

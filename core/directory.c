/* SPDX-License-Identifier: MIT */
#include "directory.h"

#include <string.h>

struct name_key directory_key(const char *text, size_t length, uint64_t salt)
{
    return (struct name_key){
        .text = text, .length = (uint32_t)length, .salt = salt, .hash = hash_bytes(text, length)};
}

/* ---------------------------------------------------------------- which bucket */

/* The part of the hash that buckets are chosen by: the shard was chosen by the highest bits. */
static uint32_t index_hash(uint64_t hash)
{
    return (uint32_t)(hash >> 16);
}

static uint32_t bucket_of(uint32_t hash, uint32_t buckets)
{
    const uint32_t level = (uint32_t)1 << log2_floor(buckets);
    const uint32_t index = hash & (2 * level - 1);
    return index < buckets ? index : index & (level - 1);
}

/* There are never fewer than 256 buckets, so the lowest eight bits say nothing; those above decide all splits
 * to come. */
static uint16_t tag_of(uint32_t hash)
{
    return (uint16_t)(hash >> 8);
}

/* Pieces 0…7 hold 256 buckets each, as four do that make 1024 of 2048; from there on four pieces make twice
 * as many of what there is. */
#define PIECES_EQUAL       8u
#define BUCKETS_EQUAL      (PIECES_EQUAL * DIRECTORY_PIECE_LEAST)
#define BUCKETS_EQUAL_LOG2 11u

struct place_in_table {
    uint32_t piece, inside; /* which, and which bucket of it */
    uint32_t buckets;       /* of the piece */
};

static inline struct place_in_table place_of(uint32_t index)
{
    if (LIKELY(index < BUCKETS_EQUAL))
        return (struct place_in_table){index / DIRECTORY_PIECE_LEAST, index % DIRECTORY_PIECE_LEAST,
                                       DIRECTORY_PIECE_LEAST};
    const uint32_t power = log2_floor(index), quarter = power - 2;
    return (struct place_in_table){PIECES_EQUAL + 4 * (power - BUCKETS_EQUAL_LOG2) + (index >> quarter & 3),
                                   index & (((uint32_t)1 << quarter) - 1), (uint32_t)1 << quarter};
}

/* NULL when the file's pieces make no sense. */
static inline struct bucket *bucket_at(const struct view *view, const struct shard *shard, uint32_t owner,
                                       uint32_t index)
{
    const struct place_in_table place = place_of(index);
    if (place.piece >= DIRECTORY_PIECES)
        return NULL;
    const uint32_t quantum = *(const volatile uint32_t *)&shard->directory.piece[place.piece];
    const uint64_t offset =
        ((uint64_t)quantum << QUANTUM_SHIFT) + (uint64_t)place.inside * sizeof(struct bucket);
    if (quantum == 0 || !view_owner_holds(view, owner, offset, sizeof(struct bucket)))
        return NULL;
    return view_at(view, offset);
}

struct record *directory_record(const struct view *view, uint32_t owner, uint32_t reference)
{
    const uint64_t offset = (uint64_t)reference * RECORD_UNIT;
    if (reference == 0 || !view_owner_holds(view, owner, offset, sizeof(struct record)))
        return NULL;
    return view_at(view, offset);
}

/* ---------------------------------------------------------------- names of records */

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
    if (reference == 0 || !view_owner_holds(view, owner, offset, sizeof(struct long_name) + length))
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

/* The hash of the record's own name, with the lock held. */
static uint32_t hash_of_record(const struct view *view, const struct record *record, uint32_t owner)
{
    const uint32_t status = status_of(record), length = status >> 8 & 0xff;
    if ((status & RECORD_LONG_NAME) == 0)
        return index_hash(hash_bytes(record->name, least(length, RECORD_NAME_BYTES)));
    const struct long_name *name = long_name_of(view, record, owner, length);
    return index_hash(name != NULL ? hash_bytes(name->text, length) : 0);
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

/* ---------------------------------------------------------------- find */

/* The record in this line of the bucket, or 0. */
static uint32_t find_in_line(const struct view *view, uint32_t owner, const struct name_key *key,
                             const struct bucket *line, uint16_t tag, bool *damaged)
{
    uint32_t found = bucket_entries_with(line, tag);
    for (; found != 0; found &= found - 1, found &= found - 1) {
        const uint32_t reference = *(const volatile uint32_t *)&line->record[__builtin_ctz(found) / 2];
        if (reference == 0)
            continue;
        const struct record *record = directory_record(view, owner, reference);
        if (UNLIKELY(record == NULL)) {
            *damaged = true;
            return 0;
        }
        if (name_matches(view, record, owner, key))
            return reference;
    }
    return 0;
}

uint32_t directory_find(const struct view *view, const struct shard *shard, uint32_t owner,
                        const struct name_key *key, bool *damaged)
{
    const uint32_t hash = index_hash(key->hash);
    const uint32_t buckets = shard->directory.buckets;
    if (buckets == 0)
        return 0;
    const struct bucket *line = bucket_at(view, shard, owner, bucket_of(hash, buckets));
    for (uint32_t lines = 0; line != NULL && lines < BUCKET_LINES_MOST; lines++) {
        const uint32_t found = find_in_line(view, owner, key, line, tag_of(hash), damaged);
        const uint32_t next = *(const volatile uint32_t *)&line->next;
        if (found != 0 || next == 0 || UNLIKELY(*damaged))
            return found;
        line = bucket_line(view, owner, next);
    }
    *damaged = true;
    return 0;
}

/* ---------------------------------------------------------------- the table grows */

static bool split_is_due(const struct directory *directory)
{
    return directory->buckets < DIRECTORY_BUCKETS_MOST &&
           directory->entries / DIRECTORY_ENTRIES_BUCKETS >= directory->buckets;
}

uint32_t directory_wants(const struct shard *shard)
{
    const struct directory *directory = &shard->directory;
    if (directory->buckets != 0 && !split_is_due(directory))
        return 0;
    const struct place_in_table place = place_of(directory->buckets);
    if (place.piece >= DIRECTORY_PIECES || directory->piece[place.piece] != 0)
        return 0;
    return (uint32_t)(place.buckets * sizeof(struct bucket) / QUANTUM_BYTES);
}

void directory_extend(const struct heap *heap, struct shard *shard, uint32_t quantum)
{
    const struct place_in_table place = place_of(shard->directory.buckets);
    UNDO_SET(heap->transaction, &shard->directory.piece[place.piece], quantum);
    if (shard->directory.buckets == 0) /* the first piece is in use at once: its buckets are empty */
        UNDO_SET(heap->transaction, &shard->directory.buckets, DIRECTORY_PIECE_LEAST);
}

static void grow(const struct heap *heap, struct shard *shard)
{
    struct directory *directory = &shard->directory;
    const uint32_t fresh = directory->buckets, level = (uint32_t)1 << log2_floor(fresh);
    struct bucket *to = bucket_at(heap->view, shard, heap->owner, fresh);
    struct bucket *from = bucket_at(heap->view, shard, heap->owner, fresh & (level - 1));
    if (to == NULL || from == NULL || !bucket_split(heap, shard, from, to, tag_of(level)))
        return; /* the table cannot grow now: buckets get longer */
    UNDO_SET(heap->transaction, &directory->buckets, fresh + 1);
}

bool directory_shrink(const struct heap *heap, struct shard *shard, struct extent *freed, struct slab **empty)
{
    struct directory *directory = &shard->directory;
    if (!directory_wants_less(shard))
        return false;
    const uint32_t last = directory->buckets - 1, level = (uint32_t)1 << log2_floor(last);
    struct bucket *from = bucket_at(heap->view, shard, heap->owner, last);
    struct bucket *to = bucket_at(heap->view, shard, heap->owner, last & (level - 1));
    if (to == NULL || from == NULL || !bucket_join(heap, shard, to, from, empty))
        return false; /* one line too few, by chance: when another name has gone it may do */
    UNDO_SET(heap->transaction, &directory->buckets, last);
    const struct place_in_table place = place_of(last);
    if (place.inside == 0) {
        const uint32_t quantum = directory->piece[place.piece];
        UNDO_SET(heap->transaction, &directory->piece[place.piece], 0);
        *freed = heap_give(heap, quantum);
    }
    return true;
}

/* ---------------------------------------------------------------- insert, remove */

bool directory_wants_bucket(const struct view *view, const struct shard *shard, uint32_t owner,
                            const struct name_key *key)
{
    const uint32_t buckets = shard->directory.buckets;
    return buckets != 0 &&
           bucket_is_full(view, owner,
                          bucket_at(view, shard, owner, bucket_of(index_hash(key->hash), buckets)));
}

void directory_insert(const struct heap *heap, struct shard *shard, const struct name_key *key,
                      const struct record *record)
{
    struct directory *directory = &shard->directory;
    const uint32_t hash = index_hash(key->hash);
    const bool grows = split_is_due(directory);
    struct bucket *bucket =
        directory->buckets >= DIRECTORY_PIECE_LEAST
            ? bucket_at(heap->view, shard, heap->owner, bucket_of(hash, directory->buckets))
            : NULL;
    if (UNLIKELY(bucket == NULL)) {
        undo_damaged(heap->transaction);
        return;
    }
    bucket_put(heap, shard, bucket, tag_of(hash), view_reference(heap->view, record));
    UNDO_SET(heap->transaction, &directory->entries, directory->entries + 1);
    if (UNLIKELY(grows) && !heap->transaction->overflowed)
        grow(heap, shard);
}

bool directory_remove(const struct heap *heap, struct shard *shard, const struct record *record,
                      struct slab **empty)
{
    struct directory *directory = &shard->directory;
    if (directory->buckets == 0)
        return false;
    const uint32_t index = bucket_of(hash_of_record(heap->view, record, heap->owner), directory->buckets);
    struct bucket *bucket = bucket_at(heap->view, shard, heap->owner, index);
    if (bucket == NULL || !bucket_take(heap, shard, bucket, view_reference(heap->view, record), empty))
        return false;
    UNDO_SET(heap->transaction, &directory->entries, directory->entries - 1);
    return true;
}

/* ---------------------------------------------------------------- all names */

struct bucket_walk directory_walk(const struct view *view, const struct shard *shard, uint32_t owner,
                                  uint32_t index)
{
    return bucket_walk(bucket_at(view, shard, owner, index));
}

uint32_t directory_buckets(const struct view *view, const struct shard *shard, uint32_t owner)
{
    uint32_t there = 0;
    while (there < shard->directory.buckets) {
        const struct place_in_table place = place_of(there);
        const uint32_t quantum = place.piece < DIRECTORY_PIECES ? shard->directory.piece[place.piece] : 0;
        if (quantum == 0 || !heap_begins(view, quantum, owner, QUANTUM_TABLE) ||
            (uint64_t)view->quanta[quantum].count << QUANTUM_SHIFT < place.buckets * sizeof(struct bucket))
            break;
        there += place.buckets;
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

static bool entry_is_sound(const struct view *view, const struct shard *shard, uint32_t owner,
                           uint32_t bucket, uint32_t reference, uint16_t tag)
{
    const struct slot slot = slab_slot_of_record(view, reference, owner);
    if (slot.slab == NULL || !slab_slot_is_live(slot.slab, slot.index))
        return false;
    const uint32_t hash = hash_of_record(view, slab_slot_record(view, slot), owner);
    return bucket_of(hash, shard->directory.buckets) == bucket && tag_of(hash) == tag;
}

static bool bucket_is_sound(const struct view *view, const struct shard *shard, uint32_t owner,
                            uint32_t index, uint32_t *entries)
{
    const struct bucket *bucket = bucket_at(view, shard, owner, index);
    if (bucket == NULL || !bucket_lines_are_sound(view, owner, bucket))
        return false;
    struct bucket_walk walk = bucket_walk(bucket);
    for (uint32_t reference; (reference = bucket_walk_on(view, owner, &walk)) != 0;)
        if ((*entries)++ >= shard->directory.entries ||
            !entry_is_sound(view, shard, owner, index, reference, walk.line.tag[walk.entry - 1]))
            return false;
    return true;
}

bool directory_is_sound(const struct view *view, const struct shard *shard, uint32_t owner)
{
    uint32_t entries = 0;
    if (shard->directory.entries > directory_records_most(view, owner) ||
        shard->directory.buckets != directory_buckets(view, shard, owner))
        return false;
    for (uint32_t b = 0; b < shard->directory.buckets; b++)
        if (!bucket_is_sound(view, shard, owner, b, &entries))
            return false;
    return entries == shard->directory.entries;
}

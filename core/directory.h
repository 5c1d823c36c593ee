/* SPDX-License-Identifier: MIT
 *
 * Names of a shard: name → record, by linear hashing (Litwin, VLDB 1980).
 *
 * Beside each record in its bucket is a tag: bits of the name's hash that the bucket's number does not give
 * away. So a name that is there costs two cache misses, the bucket and its record, and of one that is not
 * mostly no record is looked at. When there are more than six names to a bucket one is split in two: an
 * insertion's work, and its undo log, stay small at any number of names, and few buckets have a further line.
 * When names go, the last bucket is joined again with the one that it was split from.
 *
 * The key is the visible name together with a salt (the build-id of the module for automatic names, else 0);
 * only the name is hashed, so a name can also be found whatever its salt.
 *
 * Same purity as the heap. Writers hold the shard's lock. directory_find() may also run without it: it
 * follows only what it has checked, takes a bounded number of steps, and the caller repeats it when
 * the shard's sequence has moved.
 */
#ifndef SHM_DIRECTORY_H
#define SHM_DIRECTORY_H

#include "bucket.h"
#include "heap.h"
#include "slab.h"

struct name_key {
    const char *text;
    uint32_t length;
    bool any_salt; /* find only */
    uint64_t salt;
    uint64_t hash; /* of the text */
};

struct name_key directory_key(const char *text, size_t length, uint64_t salt);

/* Which shard a name belongs to. */
static inline uint32_t directory_shard(const struct view *view, const struct name_key *key)
{
    return (uint32_t)(key->hash >> 59) % view->shard_count;
}

/* The record's reference, or 0. *damaged is set when the buckets make no sense. */
uint32_t directory_find(const struct view *view, const struct shard *shard, uint32_t owner,
                        const struct name_key *key, bool *damaged);

/* The next insertion needs a new piece of bucket table of this many quanta; 0: it does not. */
uint32_t directory_wants(const struct shard *shard);
/* Puts the (zeroed) piece in place. */
void directory_extend(const struct heap *heap, struct shard *shard, uint32_t quantum);

/* The insertion of this name needs a slot of SLAB_BUCKETS: its bucket is full. */
bool directory_wants_bucket(const struct view *view, const struct shard *shard, uint32_t owner,
                            const struct name_key *key);

/* Puts in a record whose name is set; splits one bucket when that is due. */
void directory_insert(const struct heap *heap, struct shard *shard, const struct name_key *key,
                      const struct record *record);
/* False: it is not there. *empty as for slab_give(). */
bool directory_remove(const struct heap *heap, struct shard *shard, const struct record *record,
                      struct slab **empty);

/* There are few names to a bucket: directory_shrink() is due. */
static inline bool directory_wants_less(const struct shard *shard)
{
    return shard->directory.buckets > DIRECTORY_PIECE_LEAST &&
           shard->directory.entries / DIRECTORY_ENTRIES_LEAST < shard->directory.buckets;
}

/* Puts the last bucket together with the one it was split from; false: that is not due, or not possible now.
 * A piece of the table that is not needed any more becomes part of *freed, a free extent; *empty as for
 * slab_give(). */
bool directory_shrink(const struct heap *heap, struct shard *shard, struct extent *freed,
                      struct slab **empty);

/* Writes a record's name, NUL-terminated, to `out`; returns its length. `salt` may be NULL. */
size_t directory_name(const struct view *view, const struct record *record, uint32_t owner, char out[256],
                      uint64_t *salt);

/* How many buckets there are: as many as the shard says, if there are pieces for so many. */
uint32_t directory_buckets(const struct view *view, const struct shard *shard, uint32_t owner);

/* Through bucket `index` (< directory_buckets()); on with bucket_walk_on(). */
struct bucket_walk directory_walk(const struct view *view, const struct shard *shard, uint32_t owner,
                                  uint32_t index);
/* The record behind a reference when it lies in the shard's regions, else NULL. */
struct record *directory_record(const struct view *view, uint32_t owner, uint32_t reference);

/* The bytes in which a name too long for its record is kept, and whether it is. */
static inline bool directory_name_is_long(const struct name_key *key)
{
    return key->length > RECORD_NAME_BYTES || key->salt != 0;
}

/* More records than this do not fit into the regions of `owner`: a walk that meets more goes in a circle. */
uint64_t directory_records_most(const struct view *view, uint32_t owner);

/* Every bucket is whole, every record is in the bucket of its name, the count is right. */
bool directory_is_sound(const struct view *view, const struct shard *shard, uint32_t owner);

#endif

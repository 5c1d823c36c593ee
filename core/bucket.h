/* SPDX-License-Identifier: MIT
 *
 * A bucket of names: references to records, each beside a tag, ten to a cache line.
 *
 * The first line lies in the table of its directory. When it is full the bucket goes on in another one, a
 * slot of a slab of SLAB_BUCKETS. Entries are in no order; a line but the first is never empty. What a tag
 * is, the directory knows; here it tells most records apart without a look at them, and one of its bits says
 * which half of a bucket an entry goes to when that is split.
 *
 * Same purity as the heap. Writers hold the shard's lock; find and walk may run without it, as they follow
 * only what they have checked and take a bounded number of steps.
 */
#ifndef SHM_BUCKET_H
#define SHM_BUCKET_H

#include <emmintrin.h> /* SSE2, which every x86-64 has */

#include "slab.h"

/* No bucket of a sound directory has anywhere near as many lines: who meets more goes in a circle. */
#define BUCKET_LINES_MOST 10000u

/* A walk through one bucket. What it has led to may be removed before it goes on, as long as nothing is put
 * in and no bucket is split or joined: it reads each line once. */
struct bucket_walk {
    struct bucket line;
    uint32_t entry;
    uint32_t lines; /* read before this one */
};

struct bucket_walk bucket_walk(const struct bucket *first);
/* The reference of the next record, 0: there is none. */
uint32_t bucket_walk_on(const struct view *view, uint32_t owner, struct bucket_walk *walk);

/* Where a full line goes on, by reference; NULL when that makes no sense. */
struct bucket *bucket_line(const struct view *view, uint32_t owner, uint32_t reference);

/* Two bits for each entry of the line with this tag, whether it has a record or not. */
static inline uint32_t bucket_entries_with(const struct bucket *line, uint16_t tag)
{
    int last; /* the ninth and the tenth, and nothing of the references, which may just have been written to
               */
    __builtin_memcpy(&last, &line->tag[8], sizeof last);
    const __m128i wanted = _mm_set1_epi16((short)tag);
    const __m128i first = _mm_loadu_si128((const __m128i *)(const void *)line->tag);
    const uint32_t of_first = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi16(first, wanted));
    const uint32_t of_last = (uint32_t)_mm_movemask_epi8(_mm_cmpeq_epi16(_mm_cvtsi32_si128(last), wanted));
    return of_first | (of_last & 0xf) << 16;
}

/* All its lines are full: the next bucket_put() needs a slot of SLAB_BUCKETS. */
bool bucket_is_full(const struct view *view, uint32_t owner, struct bucket *first);

void bucket_put(const struct heap *heap, struct shard *shard, struct bucket *first, uint16_t tag,
                uint32_t reference);
/* False: it is not there. *empty as for slab_give(). */
bool bucket_take(const struct heap *heap, struct shard *shard, struct bucket *first, uint32_t reference,
                 struct slab **empty);

/* Moves what has the bit in its tag to a bucket of which nothing is believed, one line. False, and nothing
 * has happened: it has too many lines. */
bool bucket_split(const struct heap *heap, struct shard *shard, struct bucket *first, struct bucket *fresh,
                  uint16_t bit);
/* Adds the entries of `gone`, whose first line means nothing afterwards. False, and nothing has happened:
 * there is no line for them, or there are too many. */
bool bucket_join(const struct heap *heap, struct shard *shard, struct bucket *first, struct bucket *gone,
                 struct slab **empty);

/* Every line but the first is a slot that lives, and is not empty. */
bool bucket_lines_are_sound(const struct view *view, uint32_t owner, const struct bucket *first);

#endif

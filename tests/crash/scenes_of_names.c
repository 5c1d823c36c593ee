/* SPDX-License-Identifier: MIT
 *
 * Scenes of the table of names: buckets are filled, split and joined.
 */
#include "parts.h"

#include <stdio.h>
#include <string.h>

static uint32_t hash_of(const char *name)
{
    return (uint32_t)(hash_bytes(name, strlen(name)) >> 16);
}

/* The number-th name whose hash ends in `low` as far as `mask` goes. */
static void name_for(char out[32], uint32_t mask, uint32_t low, unsigned number)
{
    for (unsigned i = 0;; i++) {
        snprintf(out, 32, "z%u.%u", low, i);
        if ((hash_of(out) & mask) == low && number-- == 0)
            return;
    }
}

#define FIRST_BUCKETS      DIRECTORY_PIECE_LEAST
#define NAMES_BEFORE_SPLIT (DIRECTORY_ENTRIES_BUCKETS * FIRST_BUCKETS)

/* Names of bucket `bucket` of the first 256, some of which will move when it is split. */
static void names_of_bucket(uint32_t bucket, unsigned stay, unsigned move)
{
    char name[32];
    for (unsigned i = 0; i < stay + move; i++) {
        const bool moves = i >= stay;
        name_for(name, 2 * FIRST_BUCKETS - 1, bucket + moves * FIRST_BUCKETS, moves ? i - stay : i);
        join(name, 16);
    }
}

static void many_names(unsigned count)
{
    char name[32];
    for (unsigned i = 0; i < count; i++) {
        snprintf(name, sizeof name, "zmany%u", i);
        join(name, 16);
    }
}

/* The next name is one too many, and the first bucket is split, which has a further line: of its names some
 * stay and some move, and one line is enough for each. */
static void hold_full_directory(void)
{
    names_of_bucket(0, 6, 6);
    many_names(NAMES_BEFORE_SPLIT - 12);
}

/* The second bucket is next: those that move need a further line. */
static void hold_split_directory(void)
{
    names_of_bucket(1, 3, BUCKET_ENTRIES + 1);
    many_names(NAMES_BEFORE_SPLIT + 1 - 3 - (BUCKET_ENTRIES + 1));
}

/* The table has shrunk but for one name, when `further` buckets have been split; those of the first `further`
 * buckets stay as the caller has made them. */
static void *left[NAMES_BEFORE_SPLIT + 64];
static unsigned left_count;

static void hold_almost_shrunk(unsigned further, unsigned others)
{
    char name[32];
    const unsigned all = NAMES_BEFORE_SPLIT + DIRECTORY_ENTRIES_BUCKETS * (further - 1) + 1 - others;
    for (left_count = 0; left_count < all; left_count++) {
        snprintf(name, sizeof name, "zleft%u", left_count);
        left[left_count] = join(name, 16);
    }
    while (left_count + others > DIRECTORY_ENTRIES_LEAST * (FIRST_BUCKETS + further))
        drop(left[--left_count]);
}

static void hold_one_more_bucket(void)
{
    hold_almost_shrunk(1, 0);
}

/* Two more, and the partner of the last one has few names in two lines. */
static void hold_two_more_buckets(void)
{
    char name[32];
    void *gone[BUCKET_ENTRIES];
    for (unsigned i = 0; i <= BUCKET_ENTRIES; i++) {
        name_for(name, 2 * FIRST_BUCKETS - 1, 1, i);
        void *pointer = join(name, 16);
        if (i < BUCKET_ENTRIES)
            gone[i] = pointer;
    }
    hold_almost_shrunk(2, BUCKET_ENTRIES + 1);
    for (unsigned i = 0; i < BUCKET_ENTRIES - 3; i++) { /* others take their place */
        snprintf(name, sizeof name, "zinstead%u", i);
        join(name, 16);
        drop(gone[i]);
    }
}

static void survivor_drops_one(void)
{
    drop(left[--left_count]);
}

static void fill_bucket_of(const char *name, unsigned count)
{
    char other[32];
    for (unsigned i = 0; i < count; i++) {
        name_for(other, FIRST_BUCKETS - 1, hash_of(name) % FIRST_BUCKETS, i);
        join(other, 16);
    }
}

static void hold_full_bucket(void)
{
    fill_bucket_of("zfresh", BUCKET_ENTRIES);
}

/* And there is a slab of further lines, for that of another name has one. */
static void hold_two_full_buckets(void)
{
    hold_full_bucket();
    fill_bucket_of("z other", BUCKET_ENTRIES + 1);
}

static void have_last_line(void)
{
    kept[0] = make("zfresh", 16);
}

static void allocate_sixteen(void)
{
    kept[0] = shmcore_allocate(stage_segment, "zfresh", 16);
}

static void deallocate(void)
{
    shmcore_deallocate(stage_segment, kept[0]);
}

const struct scene scenes_of_names[] = {
    SCENE("allocate new: bucket split, new piece of table", SMALL, SCENE_FEW, .survivor = hold_full_directory,
          .operate = allocate_sixteen, FRESH(16)),
    SCENE("allocate new: bucket split", SMALL, SCENE_FEW, .survivor = hold_split_directory,
          .operate = allocate_sixteen, FRESH(16)),
    SCENE("allocate new: bucket full, the first further line", SMALL, SCENE_FEW, .survivor = hold_full_bucket,
          .operate = allocate_sixteen, FRESH(16)),
    SCENE("allocate new: bucket full, a further line", SMALL, 0, .survivor = hold_two_full_buckets,
          .operate = allocate_sixteen, FRESH(16)),
    SCENE("deallocate last: a further line of a bucket goes", SMALL, 0, .survivor = hold_two_full_buckets,
          .prepare = have_last_line, .operate = deallocate),
    SCENE("deallocate last: the table shrinks", SMALL, SCENE_FEW, .survivor = hold_two_more_buckets,
          .prepare = have_last_line, .after = survivor_drops_one, .operate = deallocate),
    SCENE("deallocate last: the table shrinks by a piece", SMALL, SCENE_FEW, .survivor = hold_one_more_bucket,
          .prepare = have_last_line, .after = survivor_drops_one, .operate = deallocate),
};

const unsigned scenes_of_names_count = COUNT_OF(scenes_of_names);

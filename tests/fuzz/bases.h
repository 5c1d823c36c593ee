/* SPDX-License-Identifier: MIT
 *
 * Real segments, as real (forked) processes made them and died in them: what the fuzzer damages.
 *
 * A base is the bytes of the file and a list of what lies where in it, so that a script can say "the second
 * record" and mean something that survives a change of layout.
 */
#ifndef SHM_FUZZ_BASES_H
#define SHM_FUZZ_BASES_H

#include <stddef.h>
#include <stdint.h>

#define BASE_SEGMENT "SHARED::fuzz"
#define BASE_JOB     "fuzz"

/* What a script can name. */
enum place_kind {
    PLACE_HEADER,
    PLACE_POOL,
    PLACE_SHARD,
    PLACE_LOCK,
    PLACE_UNDO, /* the count and the first few entries */
    PLACE_ROW,
    PLACE_HELD,
    PLACE_REGION_OWNER,
    PLACE_REGION_FREE,
    PLACE_RESERVED,
    PLACE_QUANTUM,
    PLACE_SLAB,
    PLACE_RECORD,
    PLACE_EXTENT_SLOT,
    PLACE_ROW_SLOT,
    PLACE_LONG_NAME,
    PLACE_BUCKET,
    PLACE_LABEL,
    PLACE_EXPORT_SLAB,
    PLACE_BLOCK,       /* where the bytes of a block begin */
    PLACE_ANY_QUANTUM, /* of the first ones, used or not */
    PLACES
};

struct place {
    uint64_t offset;
    uint32_t bytes;
};

#define PLACES_OF_A_KIND 256u

struct base {
    const char *title;
    uint64_t bytes;
    unsigned char *image; /* the whole file; sparse, like it */
    uint32_t *page;       /* the pages that are not only zeros */
    size_t pages;
    struct place place[PLACES][PLACES_OF_A_KIND];
    size_t places[PLACES];
};

/* The names of the blocks in the bases, small, large and exported; then ones that are in none. The bytes are
 * those that the block has or would get. */
struct base_name {
    const char *name;
    size_t bytes;
};
extern const struct base_name base_names[];
extern const size_t base_name_count;

#define BASES 10u
extern struct base bases[BASES];

/* Makes them, in `directory`, once. */
void bases_make(const char *directory);

/* Puts the file of the base at `path` anew; returns a descriptor to it. */
int base_put(const struct base *base, const char *path);

/* Number `index` of a kind, taken modulo what there is. bytes 0: there is none. */
struct place base_place(const struct base *base, unsigned kind, unsigned index);

#endif

/* SPDX-License-Identifier: MIT
 *
 * What becomes of a segment when a process that has it dies now: a copy of the segment is made, what the
 * kernel does for the dead is done to the copy, then this process, which has the segment open like any other,
 * recovers the copy with the core's own code, and the copy must be sound and hold what it should.
 */
#ifndef SHM_TEST_TRIAL_H
#define SHM_TEST_TRIAL_H

#include "handle.h"
#include "soundness.h"
#include "stepper.h"

#define LIVING_MOST 4u
#define HELD_MOST   64u

/* What must be there after every recovery. */
struct expectation {
    uint32_t living[LIVING_MOST]; /* rows */
    uint32_t living_count;
    bool known;    /* the first verdict sets what follows, all others are compared with it */
    uint64_t sum;  /* of the blocks */
    size_t actual; /* shmcore_actual_size() */
    struct held {  /* blocks of this process */
        const char *name;
        size_t bytes;
        uint32_t times;
    } held[HELD_MOST];
    uint32_t held_count;
    const char *fresh; /* the block that the victim is making, when it is: whoever can see it sees zeros */
    size_t fresh_bytes;
};

struct trial {
    shmcore_segment *segment; /* this process's */
    struct view live;         /* the segment itself */
    unsigned char *memory;    /* the copy */
    unsigned char *resident, *resident_copy;
    unsigned char *before; /* the segment as it was when the operation began */
    struct expectation *expected;
    uint32_t lived_before; /* of expected->living, how many did when it began */
};

bool trial_begin(struct trial *trial, shmcore_segment *segment, struct expectation *expected);
void trial_end(struct trial *trial);

/* Makes the copy, as it would be after the death of the stepped process. */
void trial_copy(struct trial *trial, const struct stepper *stepper);
/* In a copy of the segment: what the kernel does with the locks of a process that dies. */
void trial_locks_die(unsigned char *copy, uint64_t bytes, const struct stepper *stepper);
/* Whoever comes may need the pool first, or a shard, or look for the dead before anything else, as those do
 * who attach. */
enum trial_order { TRIAL_POOL_FIRST, TRIAL_SHARDS_FIRST, TRIAL_DEAD_FIRST, TRIAL_ORDERS };

/* Recovers the copy and looks at it. NULL or what is wrong. */
const char *trial_verdict(struct trial *trial, int32_t victim, enum trial_order order);
/* Recovers the segment itself after a real death. */
const char *trial_of_segment(struct trial *trial, enum trial_order order);
/* Does the segment itself hold the same bytes as the copy? */
const char *trial_compare(const struct trial *trial);

/* Every byte of a block as whoever made it wrote it; names that begin with 'z' are left zero. */
void pattern_fill(const char *name, void *memory, size_t bytes);
bool pattern_is_there(const char *name, const void *memory, size_t bytes);

#endif

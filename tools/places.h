/* SPDX-License-Identifier: MIT
 *
 * Where memory goes, as a person would say it: a place is a call site and the stacks that lead to it, as long
 * as merging is either worth it for all of them or for none. Where it is not, the place is split by the
 * next caller outwards, again and again, until each part is of one kind: so a place has as many frames as it
 * takes to tell it from those that it must not be mixed up with.
 *
 * A stack is *good* when at least a quarter of what could be compared is identical in another process of the
 * host and it does not free most of its blocks at once; *bad* when it has blocks that could be compared and
 * is not good. Of smaller blocks nothing is known; rules leave them out by their size.
 */
#ifndef SHMPRELOAD_PLACES_H
#define SHMPRELOAD_PLACES_H

#include "stacks.h"
#include "worth.h"

#define PLACES_LEAST_SIZE RECORD_PIECE_BYTES

struct place {
    const struct stack *stacks; /* one after the other in stacks->items */
    size_t stack_count;
    size_t site;  /* the frame that is the call site */
    size_t depth; /* frames that all its stacks have in common, and that are needed */
    struct worth worth;
    uint64_t calls;
    uint64_t
        least_compared; /* the power of two below its smallest block of PLACES_LEAST_SIZE or more; 0: none */
    bool short_lived;
    bool wanted; /* worth a rule */
};

struct places {
    const struct stacks *stacks;
    const struct policy *policy; /* says what is a wrapper */
    uint64_t least_saving;
    struct place *items; /* what saves most first, then what is largest */
    size_t count;
};

/* `policy` must live as long as the places are looked for. Programs that are ignored have none. */
void places_find(struct places *places, const struct stacks *stacks, const struct policy *policy,
                 uint64_t least_saving);
void places_release(struct places *places);

enum place_kind { PLACE_UNKNOWN, PLACE_GOOD, PLACE_BAD };
enum place_kind places_kind(const struct stacks *stacks, const struct stack *stack);

const struct spot *place_spot(const struct place *place);

#endif

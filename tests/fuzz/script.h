/* SPDX-License-Identifier: MIT
 *
 * What a run does, as bytes: which base, which operations in which order, which damage before them.
 *
 *   byte 0      the base
 *   byte 1 …    SCRIPT_OPERATIONS operations of two bytes (what, with what), up to the first 0; none at all
 *               means the usual ones, see operations.c
 *   then        edits of 8 bytes each: kind of place, which one, which 32-bit word of it, how, and four bytes
 *               of value; with EDIT_LATER in the kind it is not done before, but by an operation
 * Any bytes are a script, and small changes of the bytes are small changes of the run.
 */
#ifndef SHM_FUZZ_SCRIPT_H
#define SHM_FUZZ_SCRIPT_H

#include <stddef.h>
#include <stdint.h>

#include "bases.h"

#define SCRIPT_OPERATIONS 12u
#define SCRIPT_HEAD       (1 + 2 * SCRIPT_OPERATIONS)
#define SCRIPT_EDIT       8u
#define SCRIPT_EDITS      24u
#define SCRIPT_BYTES      (SCRIPT_HEAD + SCRIPT_EDITS * SCRIPT_EDIT)

#define EDIT_LATER 0x80u

struct edit {
    uint8_t kind, index, word, how, value[4];
};

struct operation {
    uint8_t what, with;
};

struct script {
    const struct base *base;
    struct operation operation[SCRIPT_OPERATIONS];
    size_t operations;
    struct edit edit[SCRIPT_EDITS];
    size_t edits;
};

void script_read(struct script *script, const uint8_t *data, size_t size);

/* Damages the file of the base, which is open: with the edits for before, or with number `later` of those for
 * later, modulo what there is (SCRIPT_ALL_LATER: all). */
void script_damage(const struct script *script, int descriptor);
void script_damage_later(const struct script *script, int descriptor, unsigned later);
#define SCRIPT_ALL_LATER 255u

/* Prints the edits as sentences, for whoever looks for the cause. */
void script_explain(const struct script *script);

#endif

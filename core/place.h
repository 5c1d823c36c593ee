/* SPDX-License-Identifier: MIT
 *
 * From a record to where its block lies. Pure; trusts nothing but the view.
 */
#ifndef SHM_PLACE_H
#define SHM_PLACE_H

#include "slab.h"

/* Where a block lies and how large it is, after everything about it has been checked. */
struct block_place {
    struct record *record;
    struct slot slot; /* its own, and of a small block the bytes' */
    uint64_t offset, bytes, rounded;
};

/* False: the reference is not that of a record with sound contents. */
bool block_describe(const struct view *view, uint32_t owner, uint32_t reference, struct block_place *out);

uint32_t block_state(const struct record *record);

#endif

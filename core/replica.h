/* SPDX-License-Identifier: MIT
 *
 * Where replicas of chunks are made before they take the chunks' places: a private mapping of the file that
 * the canonical copies of a sheet lie in, at an address of no meaning.
 *
 * A sheet is mapped at once and its chunks are moved away one by one: pieces of one mapping that come to lie
 * side by side again become one again, whereas mappings made one by one, each with written pages of its own,
 * would not. That is what keeps the number of mappings down.
 *
 * Not thread-safe: one pass has one.
 */
#ifndef SHM_REPLICA_H
#define SHM_REPLICA_H

#include "merge_layout.h"

#define REPLICA_NONE UINT32_MAX

struct replica {
    unsigned char *start;
    uint32_t sheet; /* REPLICA_NONE: there is none */
    uint32_t file;
    uint32_t gone; /* a bit for each chunk that was moved away */
};

static inline struct replica replica_none(void)
{
    return (struct replica){.sheet = REPLICA_NONE};
}

/* Where the chunk can be made, unwritten so far: *out. `descriptor` is that of the sheet's file of this
 * number. 0 or -errno. */
int replica_for(struct replica *replica, uint32_t chunk, uint32_t file, int descriptor, unsigned char **out);

/* The chunk was moved away. */
void replica_moved(struct replica *replica, uint32_t chunk);
/* It was written to and is of no use any more. */
void replica_spoilt(struct replica *replica, uint32_t chunk);

void replica_drop(struct replica *replica);

#endif

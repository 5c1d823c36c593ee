/* SPDX-License-Identifier: MIT
 *
 * The table that every rank of a program builds for itself: records made by a generator, sorted and patched
 * in place, and a tree over them whose nodes point to each other and into the records. Its memory is plain
 * malloc's: two large blocks, one of which grows with realloc, and a great many of 48, 56 and 64 bytes.
 *
 * Replicas of one size that lie at the same addresses are equal byte for byte until they are written to. What
 * is printed of a replica does not depend on the addresses.
 */
#ifndef REPLICA_H
#define REPLICA_H

#include <stddef.h>
#include <stdint.h>

struct replica;

/* NULL: no memory. `bytes` are what it asks malloc for, all in all. */
struct replica *replica_build(size_t bytes);
void replica_free(struct replica *replica);

/* What it has asked malloc for. */
size_t replica_bytes(const struct replica *replica);

/* Writes one number into so many of a hundred pages, scattered; which numbers and where is a matter of the
 * seed. Returns how many pages were written to. */
size_t replica_write(struct replica *replica, uint64_t seed, double percent);

/* Reads a little of every page. */
void replica_touch(const struct replica *replica);

/* Of all records, of the whole tree, and of what is found at random places. */
uint64_t replica_checksum(const struct replica *replica);

#endif

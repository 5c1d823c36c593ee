/* SPDX-License-Identifier: MIT
 *
 * Memory behind the addresses: reserving before a pointer is handed out, giving back.
 *
 * A bit for each page says "has memory". It is set after the memory is there and cleared before it is
 * taken away, so a death in between only makes somebody reserve again. A page whose bit was set
 * before an extent was taken may hold old bytes; one whose bit was not is zero.
 *
 * Nothing is reserved beyond what the file system, MemAvailable and the memory cgroup leave, less a
 * margin: the answer to a full node is ENOMEM here, not SIGBUS or the OOM killer there. That question
 * costs system calls, so it is asked for steps of a few MiB and the answer is used up (the credit). A process
 * begins with a little that it need not ask for: of 128 processes that is no more than the margin.
 */
#ifndef SHM_SPACE_H
#define SHM_SPACE_H

#include "geometry.h"
#include "shortage.h"

#define SPACE_FIRST_CREDIT (SHORTAGE_MARGIN / 128)

struct space {
    const struct view *view;
    const char *path; /* the segment's file, and the directory it lies in */
    const char *directory;
    uint64_t device, inode;
    _Atomic uint64_t *credit; /* bytes that may be reserved without asking again; this process's */
};

/* Gives memory to [offset, offset + bytes), rounded out to pages. 0 or -ENOMEM. */
int space_reserve(const struct space *space, uint64_t offset, uint64_t bytes);

/* Sets the error for a block that space_reserve() refused. -1. */
int space_refuse(const struct space *space, uint64_t bytes, const char *segment);

/* The tables that describe regions [first, first + count): to be called before the first of them is used. */
int space_reserve_tables(const struct space *space, uint32_t first, uint32_t count);

/* Is every page of the range reserved? */
bool space_is_reserved(const struct view *view, uint64_t offset, uint64_t bytes);

/* Zeroes what may hold old bytes: to be called before space_reserve() of the same range. Pages without
 * memory are left alone: they will be zero. */
void space_zero_old(const struct view *view, uint64_t offset, uint64_t bytes);

/* Takes the memory of the whole pages in the range away. */
void space_give_back(const struct space *space, uint64_t offset, uint64_t bytes);

/* Bytes of reserved pages: those whose bit is set. */
uint64_t space_reserved(const struct view *view);

#endif

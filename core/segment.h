/* SPDX-License-Identifier: MIT
 *
 * From a name to mapped bytes: which file, who makes it, is it to be trusted, at which address.
 *
 * A segment is the file DIR/shmcore.UID.JOB.NAME, mode 0600. Whoever holds the exclusive lock on a file
 * without the ready mark is its creator, so a creator that died half-way is no special case: the next one
 * starts afresh. Before a byte is believed: a regular file, not reached through a link, of this user, that
 * nobody else may read or write, still the one that the name leads to, with our magic, version and
 * fingerprint, and as long as its header says.
 *
 * No descriptor is kept. What must not happen while somebody opens or closes (taking a row; finding that
 * nobody is left and removing the file) runs in a callback under the file's lock.
 *
 * Lock order: the file's lock comes before the registry's, and both before any lock in the segment.
 */
#ifndef SHM_SEGMENT_H
#define SHM_SEGMENT_H

#include <sys/types.h>

#include "geometry.h"
#include "segment_name.h"

struct segment_request {
    const char *name, *directory, *job; /* job "": none */
    uint64_t size;                      /* 0: default, or what is there */
    uint32_t scope;
    bool read_only, persist, interleave;
    bool must_exist; /* ENOENT instead of making it, as for read_only */
    uid_t uid;       /* whose segment; only root may name another user's, and only read_only */
};

struct segment {
    struct view view;
    char name[SEGMENT_NAME_BYTES], job[64], directory[256], path[512];
    uint64_t device, inode;
    bool read_only;
    bool stable;       /* lies at the address agreed on */
    bool owns_mapping; /* false: another copy of the library in this process mapped it */
    bool created;
};

/* Opens or creates; calls attach(segment, argument) under the file's lock when not read_only (0, or -1 with
 * the error set). 0, or -1 with error_set() done. */
int segment_open(struct segment *segment, const struct segment_request *request,
                 int (*attach)(struct segment *segment, void *argument), void *argument);

/* Under the file's lock: when nobody_left(segment, argument) says so, removes the file. */
void segment_leave(const struct segment *segment, bool (*nobody_left)(struct segment *, void *),
                   void *argument);

/* Removes this process's mapping. */
void segment_unmap(struct segment *segment);

#endif

/* SPDX-License-Identifier: MIT
 *
 * The engine: one chunk of private memory → one canonical copy for all who have the same there, copy on
 * write.
 *
 * The first who comes copies the chunk into a file (publishes); everybody, he too, then compares page by page
 * and replaces his pages by a private mapping of the file (joins). Pages that differ are kept: a replica of
 * the chunk is made aside, a mapping of the file with the differing pages written into it, brought up to date
 * in the moment in which nobody writes (hold.h), and moved over the chunk in one system call. So nobody, not
 * even another process that reads this one's memory, ever sees anything but what was there.
 *
 * Pages that are zero are not in the file, and a chunk that is zero has none: it becomes untouched memory
 * again. What a chunk needs for a while is one more copy of it at the most.
 *
 * A chunk that has changed so much that little of the copy is left is let go of; when all have done so, it
 * can be published anew. One that was published before it was filled is published anew by the first who finds
 * that nobody shares more of the copy than he, and that he has much beside it: all others then join the new
 * one.
 *
 * Not thread-safe: one pass at a time in a process, and nobody maps or unmaps the chunk meanwhile
 * (private_pass.c holds the arena's lock). No lock is taken but the index file's, and none while writers are
 * held.
 */
#ifndef SHM_MERGE_H
#define SHM_MERGE_H

#include "hold.h"
#include "merge_index.h"
#include "replica.h"

/* What this process knows of a chunk. */
struct merge_local {
    uint64_t signature;  /* of its contents when last looked at */
    uint64_t since;      /* when that was first seen, 0: never */
    uint64_t not_before; /* not worth a try until then */
    uint64_t tried;      /* the signature that was last tried */
    uint32_t file;       /* number of the file it is mapped from, 0: of none */
    uint16_t shared;     /* pages of it */
    uint16_t failures;   /* in a row */
    bool used;           /* memory of this process lies in it */
    bool holds;          /* is a holder of its canonical copy */
    bool has_holes;      /* pages of it were taken back since: they are no file's, but untouched and zero */
    bool barred;         /* the program wants it as it is: for good, or until it says otherwise */
    bool altered;        /* the program has changed its protection: is it plain memory? */
};

enum merge_outcome {
    MERGE_DONE,    /* it shares what it can; also: there is nothing to share */
    MERGE_DIFFERS, /* too little is equal to what the others have */
    MERGE_AWAITED, /* somebody else is publishing it */
    MERGE_BUSY,    /* writers could not be held this time */
    MERGE_NEVER,   /* not in this process */
    MERGE_FULL,    /* no memory, no mappings or no file for the copy; errno says */
};

/* One pass over chunks. */
struct merge_pass {
    struct merge_index *index;
    uint32_t row;
    struct hold hold;
    uint32_t mappings_left; /* that this process may still make; UINT32_MAX until the caller knows */
    struct replica replica;
    bool page_by_page;            /* no more huge pages are asked for */
    uint64_t published, joined;   /* bytes */
    uint64_t publishing, joining; /* ns */
};

/* False with error_set() done: this process cannot merge. */
bool merge_pass_begin(struct merge_pass *pass, struct merge_index *index, uint32_t row, enum hold_way best);
void merge_pass_end(struct merge_pass *pass);

enum merge_outcome merge_chunk(struct merge_pass *pass, uint32_t chunk, struct merge_local *local);

/* The chunk becomes the process's own memory again as a whole. */
enum merge_outcome merge_restore(struct merge_pass *pass, uint32_t chunk, struct merge_local *local);

/* A value that changes when the chunk's own pages do, most likely: a line of each is looked at. */
uint64_t merge_signature(const struct merge_pass *pass, uint32_t chunk);

#endif

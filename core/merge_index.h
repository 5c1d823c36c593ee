/* SPDX-License-Identifier: MIT
 *
 * What the processes of a segment agree on about merged memory: where it lies, which chunk has a canonical
 * copy, in which file, and who holds it.
 *
 * Files, all beside the segment's, mode 0600: PREFIX.index, and PREFIX.SHEET.NUMBER for canonical copies,
 * where PREFIX is shmcore-merge.UID.NONCE and the nonce is the segment's, so that they belong to this very
 * segment.
 *
 * A chunk's state goes by compare-and-swap:
 *
 *   EMPTY → PUBLISHING(row)     its publisher copies its own pages into the file
 *   PUBLISHING → READY          from now on that part of the file is never changed, and never punched
 *   READY → PUBLISHING(row)     by a holder, when a new copy serves all better
 *   READY → CLOSING(row)        by the last holder, who then looks for holders again
 *   CLOSING → EMPTY, or READY   there is none, or there is one
 *
 * Whoever has pages of a copy that is renewed keeps them, as its file is not changed, until he joins the new
 * one. A new holder says first that he is one and looks at the state then, so one of the two sees the other.
 * From PUBLISHING or CLOSING of a dead process anybody may go on as from EMPTY. A file is unlinked when no
 * chunk needs it any more; the kernel frees it with the last mapping, so a child that nobody knows of keeps
 * what it sees.
 *
 * Lock order: the segment file's lock, then the index file's lock; nothing else is locked inside.
 */
#ifndef SHM_MERGE_INDEX_H
#define SHM_MERGE_INDEX_H

#include "merge_layout.h"
#include "process.h"
#include "segment.h"

struct merge_index {
    struct merge_file *file; /* NULL: not open */
    uint64_t base;
    uint64_t device, inode;
    const struct segment *segment;
    _Atomic uint64_t wary; /* until then nobody waits for the lock: its holder does not run */
    char prefix[320];
};

/* Maps the index of a segment, making it when `create`. 0; -1 with error_set() done (ENOENT: there is none).
 */
int merge_index_open(struct merge_index *index, const struct segment *segment, bool create);
void merge_index_close(struct merge_index *index);

/* Has any process of the segment merged memory? */
bool merge_index_is_there(const struct segment *segment);

/* Removes all files of merged memory of the segment. For its end. */
void merge_index_remove_files(const struct segment *segment);
/* Removes those in the directory whose segment is not there any more. Returns how many bytes that gives back.
 */
uint64_t merge_index_collect(const char *directory, uid_t uid);

/* The place of the span `key`: `grains` from *first on, the same in every process. 0, -ENOSPC (no addresses
 * left), -ENOMEM, -EBUSY. */
int merge_index_agree(struct merge_index *index, const uint64_t key[2], const char *label, size_t length,
                      uint32_t grains, uint32_t *first);

/* Memory of the row's lies in these chunks, or does not any more. 0 or -ENOMEM. */
int merge_index_use(struct merge_index *index, uint32_t row, uint32_t first, uint32_t count);

struct chunk_status {
    enum chunk_state state;
    uint32_t file;
};
/* PUBLISHING and CLOSING by dead processes, and what is damaged, are shown as EMPTY. */
struct chunk_status merge_index_status(const struct merge_index *index, uint32_t chunk);

/* EMPTY → PUBLISHING by the row. A descriptor for writing the copy at merge_index_offset(), and the file's
 * number; -EBUSY when somebody else is at it, or another -errno. */
int merge_index_begin(struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t *number);
/* Does the copy serve all who hold it badly? The row shares `shared` pages of it and has `apart` of its own;
 * nobody shares more, and what the others could share of these is more than what the old copy takes until its
 * file goes. It is a guess, as nobody knows what the others have: so it is made a few times only. */
bool merge_index_is_outdated(const struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t shared,
                             uint32_t apart);
/* READY, with the copy in this file → PUBLISHING by the row. As merge_index_begin(). */
int merge_index_renew(struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t file,
                      uint32_t *number);
/* PUBLISHING → READY: the copy has these pages. */
void merge_index_publish(struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t number,
                         uint32_t pages, const uint64_t zero[CHUNK_WORDS]);
/* PUBLISHING → EMPTY. */
void merge_index_abandon(struct merge_index *index, uint32_t chunk);

static inline uint64_t merge_index_offset(uint32_t chunk)
{
    return chunk % SHEET_CHUNKS * MERGE_CHUNK;
}

/* The row holds the chunk's copy from now on: a descriptor for reading it, its file's number and which pages
 * it does not have; -EAGAIN when it is not READY or just renewed, or another -errno. */
int merge_index_hold(struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t *number,
                     uint64_t zero[CHUNK_WORDS]);
/* How many pages of it the row has. */
void merge_index_note_shared(struct merge_index *index, uint32_t row, uint32_t chunk, uint32_t pages);
/* It does not hold it any more; `used`: memory of its own still lies there. */
void merge_index_release(struct merge_index *index, uint32_t row, uint32_t chunk, bool used);

/* Everything of a row that is dead or leaves. */
void merge_index_drop_row(struct merge_index *index, uint32_t row);

/* Has any process memory there? */
bool merge_index_is_used(const struct merge_index *index, uint32_t chunk);

/* held[row][chunk], HELD_NOTHING where that was never reserved. */
uint32_t merge_index_held(const struct merge_index *index, uint32_t row, uint32_t chunk);

#endif

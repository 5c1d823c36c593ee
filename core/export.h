/* SPDX-License-Identifier: MIT
 *
 * Exported blocks: one process's memory, which every other can see. For the preload.
 *
 * They lie in regions that belong to the process's row, so that allocating shares nothing with other
 * processes and a dead one's memory goes back whole. A block has no name of its own: it is (label, sequence),
 * and text is made of that when somebody asks. Blocks below SLOT_BYTES_END come from slabs of one label
 * and size that one thread allocates from without a lock; anybody may free. Larger ones are extents.
 *
 * Most blocks are had and given back at once, see export_at_once.h.
 *
 * These functions are called from inside malloc: they allocate nothing, keep no descriptor and leave errno
 * alone unless they say otherwise. Errors are left as a sentence for shmcore_error().
 */
#ifndef SHM_EXPORT_H
#define SHM_EXPORT_H

#include "export_source.h"
#include "shmcore.h"

/* The sequence has this many bits in a slab; a block beyond it is refused. */
#define EXPORT_SEQUENCE_BITS 48u

/* Makes a label: text in which LABEL_HOLE_* stand for what differs from block to block. False: no room. */
bool export_label(shmcore_segment *segment, const char *text, size_t length, uint64_t salt, uint32_t *label);

/* `alignment` is a power of two. NULL with the error set (ENOMEM) when the memory is not there. */
void *export_allocate(shmcore_segment *segment, struct export_source *source, uint64_t sequence, size_t bytes,
                      size_t alignment, unsigned flags);

/* What is it that this pointer points to? */
enum export_answer {
    EXPORT_DONE, /* it was a live block and now is not; or inherited by a fork, and then nothing is done */
    EXPORT_NOT_OURS, /* in the segment, but not in this process's regions */
    EXPORT_NOT_LIVE, /* not the start of a live block: freed twice, or an inner pointer */
};
enum export_answer export_free(shmcore_segment *segment, void *pointer);

/* Bytes that may be used, 0 when it is no live exported block of this process (or of a parent). */
size_t export_usable(shmcore_segment *segment, const void *pointer);

/* Bytes from the pointer to the end of the live block, exported or shared, that it lies in; 0: in none. */
size_t export_left(shmcore_segment *segment, const void *pointer);

/* Changes the size where the block is. False: it has to move. */
bool export_resize(shmcore_segment *segment, void *pointer, size_t bytes);

/* The thread ends: its slabs are for others, and so is its label when no block has it any more. The source is
 * to get another one before it is used again. */
void export_retire(shmcore_segment *segment, struct export_source *source);

/* A named block for a `share` rule: like shmcore_allocate(), with the build-id as a hidden part of the name.
 * *created: this process made it. */
void *export_share(shmcore_segment *segment, const char *name, uint64_t salt, size_t bytes, bool *created);

/* The segment, open in this process, that the pointer lies in; NULL when in none. */
shmcore_segment *export_segment_of(const void *pointer);

/* Is this process (still) one of the segment's? Not when a fork found no row for it. */
bool export_is_member(const shmcore_segment *segment);

/* Bytes of the `share` block that begins at the pointer, 0 when there is none. */
size_t export_share_size(const void *pointer);

/* At bring-up, with the environment: which job this is must be learned while that is as it was, and the
 * program has not given up the right to look. */
void export_learn_job(const char *const *environment);

/* True once for each sentence among this user's processes of one job (or session, outside jobs): the caller
 * is to say it. */
bool export_first_to_say(const char *sentence);
/* The key of a sentence of this job's, for registry_say_all(). */
uint64_t export_key(const char *sentence);

/* At the end of the last process that could want to know what was said: leaves nothing behind. */
void export_forget_said(void);

/* Could the segment lie outside the window that the shim recognises? */
bool export_in_window(const shmcore_segment *segment);

#endif

/* SPDX-License-Identifier: MIT
 *
 * Private memory that can be merged, for the preload and for shmcore_private(): arenas in the merge space of
 * a segment, and passes of the engine over them.
 *
 * The functions that allocate and free are called from inside malloc: they allocate nothing themselves, keep
 * no descriptor and leave errno alone unless they say otherwise. Thread-safe.
 *
 * Lock order: handles → passing (one pass at a time) → the space → one arena → its tables, or the
 * index file's lock, or park's, which is of the whole process.
 */
#ifndef SHM_PRIVATE_H
#define SHM_PRIVATE_H

#include "shmcore.h"

struct arena;

/* When the memory of an arena is looked at. */
enum private_when { PRIVATE_QUIET, PRIVATE_BARRIER, PRIVATE_MANUAL };

struct private_rule {
    enum private_when when;
    uint64_t quiet;    /* ns; PRIVATE_QUIET */
    const void *owner; /* of the thread: only what it frees is used again. NULL: anybody */
};

/* The arena of a label, made at the first call. `salt`: build-id of the module. NULL with the error set. */
struct arena *private_arena(shmcore_segment *segment, const char *label, size_t length, uint64_t salt,
                            const struct private_rule *rule);

/* NULL with the error set: ENOMEM. */
void *private_allocate(struct arena *arena, size_t bytes, size_t alignment, bool zero);

/* Does the pointer lie in the merge space of a segment that is open here? */
bool private_owns(const void *pointer);
/* Whose space that is. NULL: of none. */
shmcore_segment *private_segment_of(const void *pointer);

/* False: no live block begins there. `owner` as in the rule. */
bool private_free(void *pointer, const void *owner);
/* Of the live block that begins there, 0: none does. */
size_t private_usable(const void *pointer);
/* Leaves the block that begins there where it is, with room for `bytes` and not much more. False: it has to
 * move. `owner` as in the rule: others do not change how long it is. */
bool private_resize(const void *pointer, size_t bytes, const void *owner);
/* Bytes to the end of the live block that it lies in. */
size_t private_left(const void *pointer);

/* Around a change of the protection of these pages by the program. NULL: nothing of ours. */
struct arena *private_alter_begin(const void *address, size_t bytes);
void private_alter_end(struct arena *arena);
/* The program wants these pages as they are, in its own memory, or does not any more. False: they could not
 * all be taken out of merged memory now. */
bool private_bar(void *address, size_t bytes, bool barred);
/* Whole pages of it become untouched memory, as by MADV_DONTNEED. 0 or -errno. */
int private_forget(void *address, size_t bytes);

/* The best way of holding writers that may be used: 0, or fewer for tests; see enum hold_way. */
void private_set_hold(unsigned best);

/* One pass over the arenas of `when` (all: PRIVATE_MANUAL) of every segment: what has not changed for the
 * rule's time, or `now` whatever has not been tried as it is. */
struct private_tally {
    uint64_t looked, merged; /* chunks */
    uint64_t waiting;        /* that have changed lately, or are awaited */
    uint64_t busy, full, differing;
    int error; /* why `full`; or why there was no pass at all */
};
void private_pass(enum private_when when, bool now, struct private_tally *out);

/* Is there an arena of that kind? Its rule's shortest time, if it is quiet. */
bool private_wants(enum private_when when, uint64_t *quiet);

/* Sleeps until somebody asks for a merge, or `patience` ns. True: asked; private_answer() is due. */
bool private_wait(uint64_t patience);
/* This process listens for requests, in the calling thread, which is the shim's own and blocks all signals;
 * or does not any more. */
void private_listen(bool listens);
/* What is asked for now, for private_answer() after a pass: a request that comes during it is not met by it.
 */
uint32_t private_asked(void);
void private_answer(uint32_t asked);

/* Around process_vm_writev() to another process: waits until none of its memory is being replaced or it is
 * dead, ten seconds at the most. */
uint32_t private_write_begin(int32_t pid); /* for private_write_end() */
void private_write_end(uint32_t gates);

/* The segment is closed: its private memory goes. Called by shmcore_close(). */
void private_close(shmcore_segment *segment);

/* The process is about to end: a pass that goes on stops at the next chunk, and there is none any more. What
 * it made after the segment's files are removed would stay for ever. */
void private_end(void);

/* What a dead process had merged, by row: given back. */
void private_drop_row(shmcore_segment *segment, uint32_t row);

/* Around fork(). */
void private_fork_prepare(void);
void private_fork_parent(void);
void private_fork_child(void);

#endif

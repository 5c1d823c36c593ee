/* SPDX-License-Identifier: MIT
 *
 * The record of what this process allocates, for `shmpreload record`: the face of the rooms record_*.
 *
 * The record is made at the first call that is looked at, so a process that makes none leaves no file. A
 * forked child has a record of its own; what it inherited is not in it. A child that ran no fork handlers
 * records nothing.
 *
 * Whatever is allocated while the thread is inside the shim is not recorded: not what the shim itself needs,
 * nor what a signal handler asks for that came in between.
 *
 * Locks, in this order: the recorder's own; rows; fingerprints; the file's, which has none of its own. All of
 * them are held over fork().
 */
#ifndef SHM_RECORDER_H
#define SHM_RECORDER_H

#include "config/policy.h"
#include "config/settings.h"
#include "record_live.h"

/* At bring-up. `program` lives on. */
void recorder_begin(const struct settings *settings, const char *program);

/* `pointer` was got from an entry point, NULL: nothing was. `frame`, `caller`: see record_stack.h. */
void recorder_allocated(const void *pointer, size_t bytes, enum policy_call call, const void *caller,
                        const void *frame);

/* It is going to be freed. */
void recorder_freeing(const void *pointer);

/* realloc(): takes the block out; ends it when there is another in its place; or puts it back. */
struct record_block recorder_moving(const void *pointer);
void recorder_moved(const struct record_block *block);
void recorder_not_moved(const void *pointer, const struct record_block *block);

/* A module may have been unloaded. */
void recorder_forget_unloaded(void);

/* At the end of the program: looks at what is still live. */
void recorder_end(void);

/* Around fork(). */
void recorder_fork_prepare(void);
void recorder_fork_parent(void);
void recorder_fork_child(void);

#endif

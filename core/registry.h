/* SPDX-License-Identifier: MIT
 *
 * The registry: one small file for each user, /dev/shm/shmcore-UID.registry, that holds two things.
 *
 *   bases  which segment has which addresses, so that no two segments of a user ever overlap in a process
 *   said   which sentence has lately been said, so that 64 ranks with one problem print one line; and which
 *          process will remove it at its end
 *
 * It is a table of fixed entries, read and written whole under an exclusive lock on the file; nothing in
 * it is trusted further than to avoid a clash. An entry whose segment is gone, or whose speaker is dead
 * and silent for a while, is free; when none is, a base takes the place of what was said. Without a registry
 * (another user made the file first, no descriptor left, …) the library works on: addresses are tried out,
 * and everybody speaks.
 *
 * Lock order: a segment's file, then the registry.
 */
#ifndef SHM_REGISTRY_H
#define SHM_REGISTRY_H

#include "layout.h"

struct registry {
    int descriptor; /* < 0: there is none */
};

/* Locks the registry, making it when `create`. Always succeeds in the sense above. */
struct registry registry_open(bool create);
void registry_close(struct registry *registry);

/* The lowest base >= from (0: the start of the window) of `bytes` that no living segment has; 0: none. */
uint64_t registry_free_base(const struct registry *registry, uint64_t from, uint64_t bytes);
void registry_note_base(const struct registry *registry, uint64_t base, uint64_t bytes, const char *path);

/* Removes the file when nothing in it is of use to anybody. What dead processes and this one have said counts
 * as of use for a while, unless `to_the_last`: the caller knows that nobody will come who might repeat it. */
void registry_tidy(bool to_the_last);

/* What is said once by all processes of a job (or session, outside jobs): a key for a sentence. It was said
 * when its speaker lives, or fell silent less than REGISTRY_SILENCE ago. */
#define REGISTRY_SILENCE UINT64_C(2000000000)
struct registry_sentence {
    uint64_t key;
    uint64_t unless; /* nor is it to be said when this was; 0: nothing is */
    bool again; /* nothing is asked: as if this process had said it just now, whoever said it before. For what
                 * those who outlive it want to know. */
    bool first; /* answer: nobody has said it, the caller is to */
    bool excused;   /* answer: `unless` was said */
    int32_t heir;   /* answer: of whoever said it before, see registry_leave_to(); 0: none */
    uint32_t place; /* the registry's own */
};

/* Asks for all of them, and notes what the caller is to say, with one look at the file. */
void registry_say_all(struct registry_sentence *sentences, uint32_t count);

/* The same for one. */
bool registry_first_to_say(uint64_t key);

/* What this process has said is of use to that one, which tidies to the last when it ends: its children need
 * not find out about it again. */
void registry_leave_to(int32_t heir);

#endif

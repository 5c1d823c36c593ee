/* SPDX-License-Identifier: MIT
 *
 * A thread of a storm through the C API, as its two halves see it: storm-actor.c, what it does with blocks,
 * and storm-api.c, what becomes of it and its process.
 *
 *   own blocks     names that no other process ever asks for first; filled once; must read the same until
 * freed borrowed ones  own blocks of another process, found by for_each and attached to: they outlive their
 * maker common ones    a few names that all use; a word for each thread, see storm-board.h
 */
#ifndef SHM_STORM_ACTOR_H
#define SHM_STORM_ACTOR_H

#include <pthread.h>

#include "shmcore.h"
#include "storm-board.h"

enum { OWN = 24, COMMON = 12 };

struct own {
    void *pointer; /* NULL: free */
    size_t bytes;
    uint64_t seed;
    bool borrowed;
    char name[SHMCORE_NAME_MAX + 1];
};

struct common {
    void *pointer; /* NULL: not held */
    uint32_t count;
};

struct actor {
    unsigned number;
    bool child;
    uint64_t made;
    unsigned epoch; /* of the process: another one means that the segment was closed under us */
    struct storm_dice dice;
    struct own own[OWN];
    struct common common[COMMON];
};

struct process {
    struct storm_board *board;
    int descriptor;
    unsigned place;
    shmcore_segment *segment; /* NULL: a close was not followed by an open yet */
    unsigned epoch;
    _Atomic bool leaving; /* a thread is in exit(): for the others the segment may be gone already */
    pthread_rwlock_t gate;
    struct actor actor[STORM_THREADS];
};

extern struct process process;

#define COMPLAIN(...) storm_complain(process.board, __VA_ARGS__)

/* An operation has ended and failed. */
void actor_judge(const char *what, const char *name, int error, bool stopped);

void actor_own_step(struct actor *actor);    /* makes or frees one */
void actor_borrow(struct actor *actor);      /* and looks whether for_each shows each block once */
void actor_common_step(struct actor *actor); /* attaches to one, looks at it, or frees it */
void actor_look(struct actor *actor);        /* contents, find, block_of; stat */
void actor_hammer(struct actor *actor);      /* makes and frees over and over */
void actor_hammer_common(struct actor *actor);
/* In a forked child: what the forking thread held, the child holds too. */
void actor_look_at_heritage(struct actor *actor);
void actor_give_back(struct actor *actor);

#endif

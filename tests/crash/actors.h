/* SPDX-License-Identifier: MIT
 *
 * The processes that play a scene with the one that started them. Each waits to be told, does one thing, and
 * says when it is done.
 */
#ifndef SHM_TEST_ACTORS_H
#define SHM_TEST_ACTORS_H

#include <sys/types.h>

#include "base.h"

struct actor {
    pid_t pid;
    int tell, hear;
};

/* What all actors see. */
struct stage {
    volatile int finished[2]; /* of the victims */
    volatile uint32_t row[4]; /* where each one has attached */
};

/* Starts a process that runs body(self) and then waits for its end. */
bool actor_start(struct actor *self, void (*body)(const struct actor *self));
/* Tells it to go on, and waits until it says that it is done. False: it has ended. */
bool actor_go(const struct actor *actor);
void actor_tell(const struct actor *actor);
/* In the actor. */
void actor_wait(const struct actor *self);
void actor_done(const struct actor *self);
/* SIGKILL, and buried. */
void actor_kill(struct actor *actor);

#endif

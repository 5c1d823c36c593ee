/* SPDX-License-Identifier: MIT
 *
 * Plays a scene in processes of its own: every state that the operation goes through is tried, or the victim
 * is killed for real at one of them.
 */
#ifndef SHM_TEST_PLAY_H
#define SHM_TEST_PLAY_H

#include "scenes.h"

#define STATES_MOST     65536u
/* Where it is likely that something is found soon: `every`, with `orders_in_turn`. */
#define PLAY_QUICK_EACH 4u

struct play {
    const struct scene *scene;
    const struct scene *before; /* SCENE_RECOVERS: whose victim died before, and at which of its states */
    unsigned long before_state;
    unsigned long kill_at;         /* a state at which the victim is really killed; 0: never */
    bool by_newcomer;              /* after that a process recovers that attaches only then */
    bool stop_early;               /* at the first state that is not sound */
    unsigned every;                /* each so many states is tried; 0: all */
    unsigned long turn;            /* and which of so many */
    bool orders_in_turn;           /* a state is tried in one order of recovery; else, with a lock, in all */
    void (*begin)(void *argument); /* in the victim, right before the operation */
    void *argument;
};

struct report {
    unsigned long boundaries, passed_over, states, tries, unsound;
    unsigned long first_unsound; /* state */
    uint64_t where;              /* the instruction after it, from the start of the program */
    bool skipped, ended; /* ended: the play came to its end, whatever it found; else the play is at fault */
    char sentence[640];
    unsigned locked_count;
    unsigned long locked[4096]; /* states at which the victim held a lock, or was about to */
};

void play(const struct play *play, struct report *report);

#endif

/* SPDX-License-Identifier: MIT
 *
 * What the two halves of the supervisor share: storm.c, which rages, and storm-stage.c, which sets everything
 * up.
 */
#ifndef SHM_STORM_H
#define SHM_STORM_H

#include "storm-board.h"

enum { STORM_STOPS = 2 };

struct storm_stop {
    unsigned place;
    bool long_one;
    uint64_t until; /* 0: nobody is stopped by it */
};

struct storm {
    struct storm_board *board;
    int descriptor; /* of the board */
    bool shim;      /* preloaded programs */
    bool merge;     /* … or others, that merge */
    bool hold;
    unsigned seconds, kills;
    unsigned started, killed, killed_inside, stopped, long_stops;
    uint64_t next_kill, next_stop, next_long_stop;
    struct storm_stop stop[STORM_STOPS];
    struct storm_dice dice;
};

extern struct storm storm;

bool storm_read_arguments(int count, char **arguments);
/* The board, the directory, and somebody who cleans up however this process ends. */
bool storm_prepare(const char *kind);

/* In a fresh child of the supervisor. */
void storm_become_worker(unsigned place) __attribute__((noreturn));
/* After its exec, and after each that it does itself. */
void storm_continue_as_worker(int count, char **arguments) __attribute__((noreturn));

/* Runs it in a process of its own; false when that did not end well. */
bool storm_run_apart(void (*body)(void));
void storm_measure(void);
void storm_look(void);

/* No file may be left. */
void storm_look_at_directory(void);

#endif

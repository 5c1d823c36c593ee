/* SPDX-License-Identifier: MIT
 *
 * The board of a storm: memory that the supervisor shares with all processes of the storm, the preloaded ones
 * too. It lies in a file without a name whose descriptor is inherited, so it is no part of what is tested.
 *
 * Each process has a place, each of its threads a line in it: what the thread is doing and since when. From
 * that the supervisor sees that somebody hangs, and each thread sees how long an operation took that began
 * before a kill, or while somebody was stopped, and ended after it.
 *
 * Invariant: `pid` of a place is set while that process is alive or a zombie, and cleared before it is waited
 * for. So whoever reads the pid, opens a pidfd and reads the same pid again has the right process.
 */
#ifndef SHM_STORM_BOARD_H
#define SHM_STORM_BOARD_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

enum { STORM_WORKERS = 6, STORM_CHILDREN = 18, STORM_PLACES = STORM_WORKERS + STORM_CHILDREN };
enum { STORM_THREADS = 3, STORM_LINES = STORM_PLACES * STORM_THREADS };

/* What is being done. */
enum storm_operation {
    STORM_NOTHING,
    STORM_START,
    STORM_OPEN,
    STORM_CLOSE,
    STORM_ALLOCATE,
    STORM_ATTACH,
    STORM_FREE,
    STORM_FIND,
    STORM_DESCRIBE,
    STORM_VISIT,
    STORM_STATISTICS,
    STORM_RESIZE,
    STORM_HAMMER,
    STORM_MERGE,
    STORM_FORK,
    STORM_EXEC,
    STORM_EXIT,
    STORM_OPERATIONS
};

extern const char *const storm_operation_name[STORM_OPERATIONS];

/* What happened while it was done. */
enum storm_weather { STORM_CALM, STORM_KILL, STORM_STOP, STORM_WEATHERS };

struct storm_line {
    _Atomic uint32_t operation;
    _Atomic int32_t thread;
    _Atomic uint64_t begun;
    _Atomic uint64_t count; /* operations of all who had this line */
};

struct storm_place {
    _Atomic int32_t pid;        /* 0: free */
    _Atomic uint64_t continued; /* when it was last started, or let go on after a stop */
    _Atomic uint64_t generation;
    _Atomic bool stopped;
    struct storm_line line[STORM_THREADS];
};

struct storm_board {
    int32_t supervisor;
    uint64_t seed;
    size_t capacity; /* of the segment */
    char directory[128];
    _Atomic uint32_t ending;     /* places below it come to an end */
    _Atomic uint64_t generation; /* how many processes there were */
    _Atomic uint64_t last_kill, last_stop, last_continue;
    _Atomic uint32_t stopped_now;
    _Atomic uint64_t failures, forks, execs, exits;
    _Atomic uint64_t busy, busy_in_calm, full, full_in_calm, apart; /* apart: children without a row */
    _Atomic uint64_t routed, passed;
    _Atomic uint64_t merged, unmerged; /* pages that were looked at */
    _Atomic uint64_t worst[STORM_WEATHERS][STORM_OPERATIONS];
    _Atomic uint64_t worst_waiting[STORM_WEATHERS]; /* without the time spent in the queue for a processor */
    size_t fresh_size;                              /* shmcore_actual_size() of an untouched segment */
    /* left at the end: promises of children that never came, rows that gc had to reap, regions on their way
     */
    unsigned left_promises, left_rows, left_loose;
    struct storm_place place[STORM_PLACES];
};

uint64_t storm_clock(void); /* CLOCK_MONOTONIC in ns */

/* In the supervisor, and in every other process with the number that it was given. NULL: it cannot be. */
struct storm_board *storm_make_board(int *descriptor);
struct storm_board *storm_join_board(int descriptor);

/* One line on standard error, and the storm has failed. */
void storm_complain(struct storm_board *board, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* ---------------------------------------------------------------- a process's own place */

/* This thread has the line from now on. */
void storm_take_line(struct storm_board *board, unsigned place, unsigned thread);
/* In a forked child, whose only thread has the first line of a place then. False: all are taken. */
bool storm_take_place(struct storm_board *board);
unsigned storm_place(void);
/* Place and thread as one number below STORM_LINES. */
unsigned storm_line(void);

void storm_begin(enum storm_operation operation);
/* Keeps errno. True: somebody was stopped meanwhile. */
bool storm_end(void);
/* Operations that have no begin and end of their own. */
void storm_count(unsigned operations);

/* Every process of the storm does this now and then: true when it is to come to an end. */
bool storm_is_over(const struct storm_board *board);

/* Waits for children that have ended, all of them when `block`. `status` other than an exit with 0 or a
 * SIGKILL is a failure. How many were there; -1 when no child is left. */
int storm_bury(struct storm_board *board, bool block);

/* ---------------------------------------------------------------- chance and patterns */

struct storm_dice {
    uint64_t state;
};

static inline uint64_t storm_mix(uint64_t value)
{
    value = (value ^ value >> 33) * UINT64_C(0xff51afd7ed558ccd);
    value = (value ^ value >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
    return value ^ value >> 33;
}

static inline uint32_t storm_roll(struct storm_dice *dice, uint32_t sides)
{
    dice->state += UINT64_C(0x9e3779b97f4a7c15);
    return (uint32_t)((storm_mix(dice->state) >> 32) * sides >> 32);
}

/* A block that belongs to one: a header, if there is room for one, and bytes that follow from the seed. */
void storm_fill(void *block, size_t bytes, uint64_t seed);
bool storm_is_filled(const void *block, size_t bytes, uint64_t seed);
/* Of a block that somebody else filled: 1 it is as it should be, 0 it was not finished, -1 it is spoilt. */
int storm_is_sound(const void *block, size_t bytes);
bool storm_is_zero(const void *block, size_t bytes);
#define STORM_HEADER_BYTES 32u

/* A block that many write to: a word for each line of the board, which only that thread changes and that
 * proves itself, and then bytes that follow from the seed and that everyone writes alike. */
#define STORM_COMMON_LEAST (STORM_LINES * sizeof(uint64_t) + 64)
/* After attaching: 0, or what is wrong. *own: what this thread's word counts to. */
const char *storm_common_begin(void *block, size_t bytes, uint64_t seed, uint32_t *own);
/* While it is held; counts the own word up. */
const char *storm_common_look(void *block, size_t bytes, uint64_t seed, uint32_t *own);

#endif

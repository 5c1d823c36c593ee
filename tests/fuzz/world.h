/* SPDX-License-Identifier: MIT
 *
 * The world around the core while it is fuzzed: time, processes and memory that the fuzzer makes up.
 *
 * The linker puts these functions in the place of those of core/os*.c (--wrap, see meson.build), so that the
 * code under test is the very code that ships. Nothing sleeps: who would wait finds that the time has passed.
 * So a run takes microseconds, is the same each time, and waiting for too long is noticed without a watch.
 *
 * No process outside the fuzzer is ever asked for or spoken to: a number in a damaged row names one of these
 * few.
 */
#ifndef SHM_FUZZ_WORLD_H
#define SHM_FUZZ_WORLD_H

#include <stdbool.h>
#include <stdint.h>

enum world_process {
    WORLD_SELF = 7001,
    WORLD_FRIEND,    /* lives and has the segment */
    WORLD_DEAD,      /* is gone; so is every number that is not in this list */
    WORLD_DEAD_TOO,  /* the same */
    WORLD_ZOMBIE,    /* all its threads have ended */
    WORLD_ELSEWHERE, /* lives, does not map the segment any more */
    WORLD_HIDDEN,    /* nothing can be told of it */
};

/* Every living process began at this time. */
#define WORLD_START UINT64_C(4711)

struct world {
    int32_t self;        /* who calls */
    bool everyone_lives; /* also the dead: while segments are made */
    bool full;           /* no memory is left */
    uint64_t clock;      /* ns */
    uint64_t patience;   /* waiting that one operation may still do, in ns */
    uint32_t looks;      /* at the clock, by this operation */
    uint64_t random;
};
extern struct world world;

/* Begins a run: the clock, chance and the processes are as ever. */
void world_begin(void);

/* Begins an operation, which may wait for `seconds` in all. */
void world_allow(uint64_t seconds);

/* Something is wrong that no sanitizer would notice: says so and aborts. */
_Noreturn void world_complain(const char *what);

#endif

/* SPDX-License-Identifier: MIT
 *
 * For victims that fork: a child, and taking turns with it. What the child finds wrong is in its exit status.
 */
#ifndef SHM_VICTIM_CHILD_H
#define SHM_VICTIM_CHILD_H

#include "victim.h"

#include <sys/wait.h>

struct turns {
    int to_child[2], to_parent[2];
};

static inline struct turns make_turns(void)
{
    struct turns turns;
    if (pipe(turns.to_child) != 0 || pipe(turns.to_parent) != 0)
        exit(2);
    return turns;
}

static inline void pass_on(const int pipe[2])
{
    if (write(pipe[1], "x", 1) != 1)
        exit(2);
}

static inline void wait_for(const int pipe[2])
{
    char byte;
    if (read(pipe[0], &byte, 1) != 1)
        exit(2);
}

/* What is done over and over at random: so many times, but all of them with SHM_TESTS=long in the
 * environment. */
static inline unsigned repeated(unsigned times, unsigned all)
{
    const char *form = getenv("SHM_TESTS");
    return form != NULL && strcmp(form, "long") == 0 ? all : times;
}

static inline pid_t checked_fork(void)
{
    fflush(stdout);
    const pid_t child = fork();
    if (child < 0)
        exit(2);
    return child;
}

/* True when it ended by itself with status 0. */
static inline bool ends_well(pid_t child)
{
    int status = 0;
    return waitpid(child, &status, 0) == child && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

#endif

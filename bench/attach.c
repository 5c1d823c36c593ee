/* SPDX-License-Identifier: MIT
 *
 * What it costs a short-lived process to open a segment and allocate its first block while others have it
 * open.
 *
 *     bench-attach ATTACHED ROUNDS
 *
 * ATTACHED processes have the segment open, and wait. Prints microseconds:
 *   turn    median of ROUNDS further ones that come and go one after the other; processor time, for they meet
 *           nobody
 *   at-once ATTACHED further ones begin at the same moment: from then until all have done it, by their number
 *   fault   what it costs here to see a page of shared memory for the first time: an attach is a few dozen of
 *           these
 */
#include <shmcore.h>

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

enum { ATTACHED_MOST = 128, ROUNDS_MOST = 4096, FAULTS = 256, PAGE = 4096, NAME_BYTES = 32 };

/* Shared with the children. */
static struct {
    double turn[ROUNDS_MOST];
    double ended[ATTACHED_MOST];
    double fault;
    char pages[FAULTS][PAGE];
} * seen;

static void fail(const char *why)
{
    fprintf(stderr, "bench-attach: %s\n", why);
    exit(1);
}

static void make_name(char *name, const char *kind, size_t index)
{
    snprintf(name, NAME_BYTES, "%s%zu", kind, index);
}

static void attach_and_allocate(const char *name)
{
    shmcore_segment *segment = shmcore_open("SHARED::bench", NULL);
    if (segment == NULL || shmcore_allocate(segment, name, 64) == NULL)
        fail(shmcore_error());
}

/* Says so, and no more: who waits notices when all that are to come have ended. */
static bool say_ready(const int *ready)
{
    const bool said = write(ready[1], "", 1) == 1;
    close(ready[1]);
    return said;
}

/* One that waits for the end of the pipe. */
static void hold(size_t index, const int *ready, const int *end)
{
    char byte, name[NAME_BYTES];
    close(end[1]);
    make_name(name, "hold", index);
    attach_and_allocate(name);
    _exit(say_ready(ready) && read(end[0], &byte, 1) == 0 ? 0 : 1);
}

static void take_turn(size_t index)
{
    char name[NAME_BYTES];
    make_name(name, "turn", index);
    const double start = busy();
    attach_and_allocate(name);
    seen->turn[index] = (busy() - start) / 1e3;
    exit(0);
}

/* Reads until the pipe's last writer is gone: then all begin. */
static void begin_at_once(size_t index, const int *ready, const int *begin)
{
    char byte, name[NAME_BYTES];
    close(begin[1]);
    make_name(name, "once", index);
    if (!say_ready(ready) || read(begin[0], &byte, 1) != 0)
        _exit(1);
    attach_and_allocate(name);
    seen->ended[index] = now();
    exit(0);
}

static pid_t process(void)
{
    const pid_t child = fork();
    if (child < 0)
        fail("no process");
    return child;
}

static void await_ready(const int *ready, size_t count)
{
    char byte;
    close(ready[1]);
    for (size_t i = 0; i < count; i++)
        if (read(ready[0], &byte, 1) != 1)
            fail("a process has ended");
}

static void await_ends(const pid_t *child, size_t count)
{
    int status;
    for (size_t i = 0; i < count; i++)
        if (waitpid(child[i], &status, 0) != child[i] || status != 0)
            fail("a process has failed");
}

static void make_pipe(int *ends)
{
    if (pipe(ends) != 0)
        fail("no pipe");
}

static double time_at_once(size_t processes)
{
    int ready[2], begin[2];
    pid_t child[ATTACHED_MOST];
    make_pipe(ready);
    make_pipe(begin);
    for (size_t i = 0; i < processes; i++)
        if ((child[i] = process()) == 0)
            begin_at_once(i, ready, begin);
    await_ready(ready, processes);
    const double start = now();
    close(begin[1]);
    await_ends(child, processes);
    double last = start;
    for (size_t i = 0; i < processes; i++)
        last = seen->ended[i] > last ? seen->ended[i] : last;
    return (last - start) / 1e3 / (double)processes;
}

static double time_in_turn(size_t rounds)
{
    for (size_t i = 0; i < rounds; i++) {
        const pid_t child = process();
        if (child == 0)
            take_turn(i);
        await_ends(&child, 1);
    }
    return median(seen->turn, rounds);
}

/* A forked child has the mapping and none of its pages. */
static double time_faults(void)
{
    memset(seen->pages, 1, sizeof seen->pages);
    const pid_t child = process();
    if (child == 0) {
        const double start = busy();
        for (size_t i = 0; i < FAULTS; i++)
            *(volatile char *)seen->pages[i] = 2;
        seen->fault = (busy() - start) / 1e3 / FAULTS;
        _exit(0);
    }
    await_ends(&child, 1);
    return seen->fault;
}

int main(int count, char **words)
{
    const size_t attached = number_in(count, words, 1, 1), rounds = number_in(count, words, 2, 50);
    int ready[2], end[2];
    pid_t child[ATTACHED_MOST];
    if (attached == 0 || attached > ATTACHED_MOST || rounds == 0 || rounds > ROUNDS_MOST)
        return 2;
    seen = mmap(NULL, sizeof *seen, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (seen == MAP_FAILED)
        fail("no memory");
    make_pipe(ready);
    make_pipe(end);
    for (size_t i = 0; i < attached; i++)
        if ((child[i] = process()) == 0)
            hold(i, ready, end);
    await_ready(ready, attached);
    print_figure("fault", time_faults());
    print_figure("turn", time_in_turn(rounds));
    print_figure("at-once", time_at_once(attached));
    close(end[1]);
    await_ends(child, attached);
    return 0;
}

/* SPDX-License-Identifier: MIT
 *
 * Victim: children made without fork handlers, by _Fork and by a raw clone, read what they have inherited,
 * free it, resize it and allocate; one forks in the ordinary way, and one execs. The parent waits meanwhile
 * and finds its blocks as they were, if the child has not written into them.
 */
#include "child.h"

#include <signal.h>
#include <sys/syscall.h>

enum { BLOCKS = 30 };

static unsigned char *block[BLOCKS];

static size_t size_of(unsigned i)
{
    return i % 3 == 0 ? 40 + i : i % 3 == 1 ? 3000 + i * 10 : 40000 + i * 3000;
}

static bool all_are(unsigned seed)
{
    bool good = true;
    for (unsigned i = 0; i < BLOCKS; i++)
        good = good && is_filled(block[i], size_of(i), seed + i);
    return good;
}

/* What it gets by it is its own, so it may write there. */
static bool turn_over(void)
{
    bool good = true;
    for (unsigned i = 0; i < BLOCKS; i++) {
        const size_t bytes = size_of(i);
        if (i % 2 == 0) {
            free(block[i]);
            block[i] = malloc(bytes);
        } else {
            block[i] = realloc(block[i], bytes * 3);
            good = good && is_filled(block[i], bytes, i);
        }
        fill(block[i], bytes, 50 + i);
    }
    return good && all_are(50);
}

static bool free_all(void)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        free(block[i]);
    return true;
}

static bool fork_again(void)
{
    const pid_t child = fork();
    if (child == 0)
        _exit(all_are(0) && turn_over() && free_all() ? 0 : 1);
    return child > 0 && ends_well(child) && all_are(0) && turn_over() && free_all();
}

static bool start_a_program(void)
{
    static char program[] = "fork-raw", word[] = "child";
    char *command[] = {program, word, NULL};
    execv("/proc/self/exe", command);
    return false;
}

static bool use_all(void)
{
    return all_are(0) && turn_over() && free_all();
}

static pid_t raw_clone(void)
{
    return (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, 0);
}

static void try(pid_t (*make_child)(void), bool (*act)(void), const char *what)
{
    fflush(stdout);
    const pid_t child = make_child();
    if (child == 0)
        _exit(act() ? 0 : 1);
    check(child > 0 && ends_well(child), what);
    check(all_are(0), "the parent's blocks are whole");
}

int main(int count, char **arguments)
{
    (void)arguments;
    if (count > 1) {
        unsigned char *own = malloc(50000);
        check_routed(own, "a program that was started is routed");
        free(own);
        return verdict();
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = malloc(size_of(i));
        check_routed(block[i], "the block is routed");
        fill(block[i], size_of(i), i);
    }
    for (int i = 0; i < 3; i++) {
        try(_Fork, use_all, "a child of _Fork");
        try(raw_clone, use_all, "a child of clone");
        try(_Fork, fork_again, "a child of _Fork that forks");
        try(raw_clone, fork_again, "a child of clone that forks");
        try(_Fork, start_a_program, "a child of _Fork that starts a program");
    }
    unsigned char *last = malloc(50000);
    check_routed(last, "the parent goes on being routed");
    free(last);
    free_all();
    return verdict();
}

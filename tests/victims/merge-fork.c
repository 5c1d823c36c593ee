/* SPDX-License-Identifier: MIT
 *
 * Victim: `merge-fork CASE` makes a block that has the same contents in every process which does, says
 * `ready`, and forks when it may go on, when the block may have been merged.
 */
#include "child.h"
#include "merged.h"

#include <pthread.h>
#include <spawn.h>
#include <stdatomic.h>
#include <sys/prctl.h>
#include <sys/syscall.h>

extern char **environ;

enum { BYTES = (6 << 20) + 4321, SEED = 5 };

/* The call site. */
static unsigned char *table(size_t bytes)
{
    unsigned char *block = malloc(bytes);
    if (block == NULL)
        exit(2);
    return hide(block);
}

static unsigned char *merged_table(void)
{
    unsigned char *block = table(BYTES);
    check_routed(block, "the block is routed");
    fill(block, BYTES, SEED);
    await_go("ready");
    check_merged(block, BYTES, "the block");
    return block;
}

/* What a child does with it: finds all, writes, allocates, gives back. */
static bool use(unsigned char *block, unsigned seed, unsigned found)
{
    bool good = is_filled(block, BYTES, found);
    fill(block, BYTES, seed);
    unsigned char *own = table(BYTES / 2), *small = malloc(60);
    fill(own, BYTES / 2, seed + 1);
    memset(small, 7, 60);
    own = realloc(own, BYTES);
    good =
        good && is_filled(own, BYTES / 2, seed + 1) && is_all(small, 60, 7) && is_filled(block, BYTES, seed);
    free(own);
    free(small);
    own = calloc(1, BYTES / 2);
    good = good && is_all(own, BYTES / 2, 0);
    free(own);
    return good;
}

/* ---------------------------------------------------------------- cases */

static void fork_copy(void)
{
    unsigned char *block = merged_table();
    struct turns turns = make_turns();
    const pid_t child = checked_fork();
    if (child == 0) {
        bool good = is_filled(block, BYTES, SEED);
        fill(block, BYTES / 2, 60);
        pass_on(turns.to_parent);
        wait_for(turns.to_child);
        good = good && is_filled(block, BYTES / 2, 60);
        fill(block, BYTES, SEED);
        good = good && use(block, 61, SEED);
        _exit(good ? 0 : 1);
    }
    wait_for(turns.to_parent);
    check(is_filled(block, BYTES, SEED), "the parent does not see what the child writes");
    fill(block, BYTES, 70);
    pass_on(turns.to_child);
    check(ends_well(child), "the child does not see what the parent writes");
    check(is_filled(block, BYTES, 70), "the parent has its own");
    fill(block, BYTES, SEED);
    await_go("again");
    check_merged(block, BYTES, "the parent's block, later");
    check(is_filled(block, BYTES, SEED), "it is whole");
    free(block);
}

static int generation(unsigned depth, unsigned char *block, unsigned found)
{
    bool good = true;
    if (depth < 4) {
        const pid_t child = checked_fork();
        if (child == 0)
            _exit(generation(depth + 1, block, found));
        good = use(block, depth + 100, found);
        good = ends_well(child) && good && is_filled(block, BYTES, depth + 100);
    } else
        good = use(block, 111, found);
    free(block);
    return good ? 0 : 1;
}

static void fork_nested(void)
{
    check(generation(1, merged_table(), SEED) == 0, "four generations keep to themselves");
}

/* The child lives on by itself; it may be merged as its parent is. */
static void fork_stay(void)
{
    unsigned char *block = merged_table();
    const pid_t child = checked_fork();
    if (child == 0) {
        bool good = use(block, 90, SEED);
        unsigned char *own = table(BYTES);
        fill(own, BYTES, SEED);
        fill(block, BYTES, SEED);
        await_go("child");
        good = good && is_filled(block, BYTES, SEED) && is_filled(own, BYTES, SEED);
        free(block);
        good = good && is_filled(own, BYTES, SEED);
        fill(own, BYTES, 91);
        good = good && is_filled(own, BYTES, 91);
        _exit(good ? 0 : 1);
    }
    check(ends_well(child), "a child that stays has all");
    check(is_filled(block, BYTES, SEED), "and its parent");
    free(block);
}

/* Forks that the shim sees late or not at all. */
static void fork_raw(void)
{
    unsigned char *block = merged_table();
    fflush(stdout);
    pid_t child = _Fork();
    if (child == 0)
        _exit(use(block, 33, SEED) ? 0 : 1);
    check(child > 0 && ends_well(child), "the child of _Fork has all");
    child = (pid_t)syscall(SYS_clone, SIGCHLD, NULL, NULL, NULL, NULL);
    if (child == 0) {
        const bool good = is_filled(block, BYTES, SEED);
        fill(block, BYTES, 34);
        _exit(good && is_filled(block, BYTES, 34) ? 0 : 1);
    }
    check(child > 0 && ends_well(child), "the child of clone has all");
    child = vfork();
    if (child == 0)
        _exit(*(volatile unsigned char *)block == SEED ? 0 : 1);
    check(child > 0 && ends_well(child), "the child of vfork has all");
    char name[] = "true", *const arguments[] = {name, NULL};
    check(posix_spawnp(&child, name, NULL, NULL, arguments, environ) == 0 && ends_well(child),
          "a program starts");
    check(is_filled(block, BYTES, SEED), "the parent has all");
    free(block);
}

/* The process ends before its child; what the child finds comes through the pipe, from the third generation.
 */
static void fork_orphan(void)
{
    unsigned char *block = merged_table();
    struct turns turns = make_turns();
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    const pid_t child = checked_fork();
    if (child == 0) {
        const pid_t grandchild = fork();
        if (grandchild != 0)
            _exit(grandchild < 0);
        wait_for(turns.to_child); /* until the parent is gone from the block */
        _exit(use(block, 44, SEED) ? 0 : 1);
    }
    check(ends_well(child), "the one between ends");
    fill(block, BYTES, 45);
    free(block);
    pass_on(turns.to_child);
    int status = 1;
    check(wait(&status) > 0 && status == 0, "its child has all when nobody else has");
}

/* Leaves a child behind that says what it found when all others have ended. */
static void fork_last(void)
{
    unsigned char *block = merged_table();
    fflush(stdout);
    if (fork() == 0) {
        setsid();
        await_go("last");
        check(use(block, 55, SEED), "the child has all when all others have ended");
        free(block);
        exit(verdict());
    }
}

static atomic_bool over;
static atomic_uint lost;

/* Counts in some pages of the block while others fork. */
static void *count(void *argument)
{
    unsigned char *block = argument;
    for (unsigned char value = block[0]; !atomic_load(&over);) {
        value++;
        for (size_t at = 0; at < BYTES; at += 100000)
            *(volatile unsigned char *)(block + at) = value;
        for (size_t at = 0; at < BYTES; at += 100000)
            atomic_fetch_add(&lost, *(volatile unsigned char *)(block + at) != value);
    }
    return NULL;
}

/* What is not written meanwhile. */
static bool rest_is_filled(const unsigned char *block)
{
    bool good = true;
    for (size_t at = 0; at < BYTES; at++)
        good = good && (at % 100000 == 0 || block[at] == (unsigned char)(SEED + at * 7 + at / 251));
    return good;
}

static void fork_busy(void)
{
    unsigned char *block = merged_table();
    pthread_t thread;
    unsigned failed = 0;
    if (pthread_create(&thread, NULL, count, block) != 0)
        exit(2);
    for (unsigned i = 0; i < 12; i++) {
        const pid_t child = checked_fork();
        if (child == 0)
            _exit(rest_is_filled(block) ? 0 : 1);
        failed += !ends_well(child);
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    check(failed == 0 && rest_is_filled(block), "each child has all that was not written");
    check(atomic_load(&lost) == 0, "a thread that writes meanwhile loses nothing");
    free(block);
}

static const struct {
    const char *name;
    void (*run)(void);
} cases[] = {{"copy", fork_copy},     {"nested", fork_nested}, {"stay", fork_stay}, {"raw", fork_raw},
             {"orphan", fork_orphan}, {"last", fork_last},     {"busy", fork_busy}};

int main(int argument_count, char **arguments)
{
    for (size_t i = 0; argument_count > 1 && i < sizeof cases / sizeof *cases; i++)
        if (strcmp(cases[i].name, arguments[1]) == 0) {
            cases[i].run();
            return verdict();
        }
    return 2;
}

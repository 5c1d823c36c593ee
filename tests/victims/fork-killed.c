/* SPDX-License-Identifier: MIT
 *
 * Victim: rounds in which a process is killed in the instant after a fork. `fork-killed parent`: the one that
 * has forked; its child goes on with its snapshot and its references to common blocks, while another process
 * comes and clears away the dead. `fork-killed child`: the one that was made; its parent's blocks are whole.
 */
#include "child.h"

#include <signal.h>
#include <sys/prctl.h>

enum { ROUNDS = 24, LONG_ROUNDS = 60, BLOCKS = 6, COMMON = 70000 };

static const size_t sizes[BLOCKS] = {40, 900, 6000, 33000, 70000, 300000};
static unsigned char *block[BLOCKS], *common_block, *small_block;

static unsigned char *common(size_t bytes)
{
    unsigned char *made = malloc(bytes);
    return hide(made);
}

static void write_all(unsigned seed)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        fill(block[i], sizes[i], seed + i);
}

static bool all_are(unsigned seed)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        if (!is_filled(block[i], sizes[i], seed + i))
            return false;
    return true;
}

static void make_all(unsigned seed)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        block[i] = malloc(sizes[i]);
    write_all(seed);
}

static void free_all(void)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        free(block[i]);
}

/* Another process joins, makes blocks where those of the dead were, and leaves. */
static bool let_another_come(void)
{
    fflush(stdout);
    const pid_t child = vfork();
    if (child == 0) {
        execl("/proc/self/exe", "fork-killed", "another", (char *)NULL);
        _exit(127);
    }
    return ends_well(child);
}

static int be_another(void)
{
    make_all(99);
    return all_are(99) ? 0 : 1;
}

static int survive(const int gone[2], unsigned round)
{
    char byte;
    close(gone[1]);
    bool good = read(gone[0], &byte, 1) == 0; /* the parent is dead */
    good = good && all_are(round) && is_filled(common_block, COMMON, round);
    write_all(round + 100);
    good = good && let_another_come();
    good = good && all_are(round + 100) && is_filled(common_block, COMMON, round) &&
           is_filled(small_block, 50, round);
    fill(common_block, COMMON, round + 1);
    fill(small_block, 50, round + 1);
    good = good && let_another_come() && is_filled(common_block, COMMON, round + 1) &&
           is_filled(small_block, 50, round + 1);
    free_all();
    make_all(round + 7);
    good = good && all_are(round + 7);
    free(common_block);
    free(small_block);
    return good ? 0 : 1;
}

/* The one that is killed is a child itself, so that there is somebody to wait for its child. */
static bool kill_a_parent(unsigned round)
{
    int gone[2], status = 0;
    if (pipe(gone) != 0)
        return false;
    const pid_t parent = checked_fork();
    if (parent == 0) {
        make_all(round);
        common_block = common(COMMON);
        small_block = common(50);
        fill(common_block, COMMON, round);
        fill(small_block, 50, round);
        if (fork() == 0)
            _exit(survive(gone, round));
        kill(getpid(), SIGKILL);
    }
    close(gone[0]);
    close(gone[1]);
    bool good = waitpid(parent, &status, 0) == parent && WIFSIGNALED(status);
    const pid_t orphan = waitpid(-1, &status, 0);
    return good && orphan > 0 && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static bool kill_a_child(unsigned round)
{
    int status = 0;
    write_all(round);
    const pid_t child = fork();
    if (child == 0) {
        write_all(round + 100);
        for (;;)
            free(malloc(40000));
    }
    if (round % 3 == 2) /* let some of them live for a moment */
        free_all(), make_all(round);
    kill(child, SIGKILL);
    const bool good = waitpid(child, &status, 0) == child && WIFSIGNALED(status) && all_are(round);
    free_all();
    make_all(round);
    return good && all_are(round);
}

int main(int count, char **arguments)
{
    const unsigned rounds = repeated(ROUNDS, LONG_ROUNDS);
    unsigned failed = 0;
    if (count < 2)
        return 2;
    if (strcmp(arguments[1], "another") == 0)
        return be_another();
    const bool parents = strcmp(arguments[1], "parent") == 0;
    if (!parents) {
        make_all(0);
        check_routed(block[0], "the block is routed");
    }
    prctl(PR_SET_CHILD_SUBREAPER, 1);
    for (unsigned round = 0; round < rounds; round++)
        failed += !(parents ? kill_a_parent(round) : kill_a_child(round));
    printf("%u of %u rounds failed\n", failed, rounds);
    check(failed == 0, "nobody loses anything");
    return verdict();
}

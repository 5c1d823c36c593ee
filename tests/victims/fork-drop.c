/* SPDX-License-Identifier: MIT
 *
 * Victim: `fork-drop DIRECTORY` does as servers do that begin as root: allocates, goes into an empty
 * directory with chroot(2), becomes nobody, and then goes on allocating, growing, forking and ending. With
 * VICTIM_KILLED it is killed in the end.
 */
#include "child.h"

#include <grp.h>
#include <pthread.h>
#include <signal.h>

enum { BLOCKS = 40, CHILDREN = 6, NOBODY = 65534 };

static unsigned char *block[BLOCKS], *common_block;

static unsigned char *common(void)
{
    unsigned char *made = malloc(60000);
    return hide(made);
}

static size_t size_of(unsigned i)
{
    return i % 3 == 0 ? 40 + i : i % 3 == 1 ? 3000 + i * 10 : 40000 + i * 3000;
}

static bool all_are(unsigned seed)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        if (!is_filled(block[i], size_of(i), seed + i))
            return false;
    return true;
}

static bool turn_over(unsigned from, unsigned to)
{
    bool good = all_are(from);
    for (unsigned i = 0; i < BLOCKS; i++) {
        const size_t bytes = size_of(i);
        block[i] = realloc(block[i], bytes * 3);
        good = good && is_filled(block[i], bytes, from + i);
        if (i % 2 == 0) {
            free(block[i]);
            block[i] = calloc(1, bytes);
            good = good && is_all(block[i], bytes, 0);
        }
        fill(block[i], bytes, to + i);
    }
    return good && all_are(to);
}

static bool grow(void)
{
    enum { MANY = 30, BYTES = 500000 };
    unsigned char *more[MANY];
    bool good = true;
    for (unsigned i = 0; i < MANY; i++) {
        more[i] = malloc(BYTES);
        fill(more[i], BYTES, i);
    }
    for (unsigned i = 0; i < MANY; i++) {
        good = good && is_filled(more[i], BYTES, i);
        free(more[i]);
    }
    return good;
}

static void *in_thread(void *argument)
{
    (void)argument;
    return grow() ? &block : NULL;
}

static bool grow_in_a_thread(void)
{
    pthread_t thread;
    void *answer = NULL;
    return pthread_create(&thread, NULL, in_thread, NULL) == 0 && pthread_join(thread, &answer) == 0 &&
           answer != NULL;
}

static bool become_nobody(const char *directory)
{
    return chroot(directory) == 0 && chdir("/") == 0 && setgroups(0, NULL) == 0 &&
           setresgid(NOBODY, NOBODY, NOBODY) == 0 && setresuid(NOBODY, NOBODY, NOBODY) == 0;
}

/* A worker: uses what it has inherited while its parent writes, and forks itself. */
static int work(unsigned from)
{
    const bool good = turn_over(from, 30) && grow();
    const pid_t child = fork();
    if (child == 0)
        _exit(turn_over(30, 40) && grow_in_a_thread() && is_filled(common_block, 60000, 9) ? 0 : 1);
    return good && ends_well(child) && all_are(30) && turn_over(30, 50) ? 0 : 1;
}

int main(int count, char **arguments)
{
    pid_t child[CHILDREN];
    if (count != 2)
        return 2;
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = malloc(size_of(i));
        check_routed(block[i], "the block is routed");
        fill(block[i], size_of(i), i);
    }
    common_block = common();
    fill(common_block, 60000, 9);
    if (!become_nobody(arguments[1]))
        return 2;
    check(turn_over(0, 1), "a process that has become nobody");
    check(grow() && grow_in_a_thread(), "it grows");
    for (unsigned i = 0; i < CHILDREN; i++) {
        child[i] = checked_fork();
        if (child[i] == 0)
            exit(work(i + 1));
        check(turn_over(i + 1, i + 2), "it goes on after a fork");
    }
    for (unsigned i = 0; i < CHILDREN; i++)
        check(ends_well(child[i]), "a worker");
    check(all_are(CHILDREN + 1) && is_filled(common_block, 60000, 9), "its blocks are whole");
    fflush(stdout);
    if (getenv("VICTIM_KILLED") != NULL)
        kill(getpid(), SIGKILL);
    return verdict();
}

/* SPDX-License-Identifier: MIT
 *
 * Victim: forks 200 times while four threads allocate; every child uses what it has inherited, allocates and
 * ends.
 */
#include "child.h"

#include <pthread.h>
#include <stdatomic.h>

enum { THREADS = 4, FORKS = 50, BYTES = 9000 };

static atomic_bool over, spoilt;
static atomic_int at_work;

static bool one_turn(unsigned seed)
{
    const size_t bytes = 1 + seed * 131 % 12000;
    unsigned char *block = malloc(bytes), *zero = calloc(1, bytes / 2 + 1);
    bool good = is_all(zero, bytes / 2 + 1, 0);
    fill(block, bytes, seed);
    block = realloc(block, bytes * 2);
    good = good && is_filled(block, bytes, seed);
    free(block);
    free(zero);
    return good;
}

static void *churn(void *argument)
{
    unsigned seed = (unsigned)(uintptr_t)argument;
    atomic_fetch_add(&at_work, 1);
    while (!atomic_load(&over))
        if (!one_turn(seed += 7))
            atomic_store(&spoilt, true);
    return NULL;
}

static int in_child(unsigned char *inherited, unsigned seed)
{
    bool good = is_filled(inherited, BYTES, seed);
    for (unsigned i = 0; i < 10; i++)
        good = good && one_turn(i * 11 + seed);
    inherited = realloc(inherited, BYTES * 3);
    good = good && is_filled(inherited, BYTES, seed);
    free(inherited);
    return good ? 0 : 1;
}

int main(void)
{
    pthread_t threads[THREADS];
    unsigned failed = 0;
    unsigned char *block = malloc(BYTES);
    check_routed(block, "the block is routed");
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) != 0)
            return 2;
    while (atomic_load(&at_work) < THREADS)
        sched_yield();
    for (unsigned i = 0; i < FORKS; i++) {
        fill(block, BYTES, i);
        const pid_t child = checked_fork();
        if (child == 0)
            _exit(in_child(block, i));
        failed += !ends_well(child);
    }
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    printf("%u children failed\n", failed);
    check(failed == 0, "all children end well");
    check(!atomic_load(&spoilt), "the threads' blocks are whole");
    free(block);
    return verdict();
}

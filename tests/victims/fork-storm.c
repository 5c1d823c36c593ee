/* SPDX-License-Identifier: MIT
 *
 * Victim: two threads fork 40 times each, 80 times with SHM_TESTS=long, while two others allocate, and let
 * four children at a time live on. A child sees the blocks of the thread that forked as they were at the
 * fork, though that thread writes them at once again and frees one; it frees and resizes what it has
 * inherited, allocates, and ends by exit(), by _exit() or by exec.
 */
#include "child.h"

#include <pthread.h>
#include <stdatomic.h>

enum { CHURNERS = 2, FORKERS = 2, FORKS = 40, LONG_FORKS = 80, AT_ONCE = 4, BLOCKS = 7 };

static const size_t sizes[BLOCKS] = {24, 700, 5000, 9000, 12000, 33000, 60000};
static atomic_bool over, spoilt;
static atomic_int at_work, failed;
static unsigned forks;

struct forker {
    unsigned char *block[BLOCKS];
    pid_t child[AT_ONCE];
    unsigned seed;
    unsigned long ended;
};

static bool one_turn(unsigned seed)
{
    const size_t bytes = 1 + seed * 131 % 9000;
    unsigned char *block = malloc(bytes), *zero = calloc(1, bytes / 2 + 1);
    bool good = is_all(zero, bytes / 2 + 1, 0);
    fill(block, bytes, seed);
    free(zero);
    block = realloc(block, bytes * 2);
    good = good && is_filled(block, bytes, seed);
    free(block);
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

static void write_all(struct forker *self, unsigned seed)
{
    self->seed = seed;
    for (unsigned i = 0; i < BLOCKS; i++)
        fill(self->block[i], sizes[i], seed + i);
}

static bool all_are_whole(const struct forker *self)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        if (!is_filled(self->block[i], sizes[i], self->seed + i))
            return false;
    return true;
}

/* Of the inherited blocks every third is freed, every third grows, every third shrinks. */
static bool turn_over(struct forker *self)
{
    bool good = true;
    for (unsigned i = 0; i < BLOCKS; i++) {
        const size_t bytes = i % 3 == 1 ? sizes[i] * 2 : sizes[i] / 2;
        if (i % 3 == 0) {
            free(self->block[i]);
            self->block[i] = malloc(sizes[i]);
            fill(self->block[i], sizes[i], 5);
            good = good && is_filled(self->block[i], sizes[i], 5);
        } else {
            self->block[i] = realloc(self->block[i], bytes);
            good = good && is_filled(self->block[i], bytes < sizes[i] ? bytes : sizes[i], self->seed + i);
        }
    }
    return good;
}

static _Noreturn void be_child(struct forker *self, unsigned number)
{
    static char program[] = "fork-storm", word[] = "ended";
    char *command[] = {program, word, NULL};
    bool good = all_are_whole(self) && turn_over(self);
    for (unsigned i = 0; i < 5; i++)
        good = good && one_turn(i * 11 + number);
    if (!good)
        _exit(1);
    if (number % 3 == 0)
        exit(0);
    if (number % 3 == 1)
        execv("/proc/self/exe", command);
    _exit(number % 3 == 1 ? 127 : 0);
}

static void await_oldest(struct forker *self)
{
    const unsigned long place = self->ended++ % AT_ONCE;
    if (!ends_well(self->child[place]))
        atomic_fetch_add(&failed, 1);
}

static void *fork_over_and_over(void *argument)
{
    struct forker *self = argument;
    for (unsigned i = 0; i < BLOCKS; i++)
        self->block[i] = malloc(sizes[i]);
    for (unsigned number = 0; number < forks; number++) {
        const unsigned replaced = number % BLOCKS;
        write_all(self, number);
        const pid_t child = fork();
        if (child < 0)
            abort();
        if (child == 0)
            be_child(self, number);
        write_all(self, number + 100);
        free(self->block[replaced]);
        self->block[replaced] = malloc(sizes[replaced]);
        if (number >= AT_ONCE)
            await_oldest(self);
        self->child[number % AT_ONCE] = child;
    }
    while (self->ended < forks)
        await_oldest(self);
    for (unsigned i = 0; i < BLOCKS; i++)
        free(self->block[i]);
    return NULL;
}

int main(int count, char **arguments)
{
    static struct forker forkers[FORKERS];
    pthread_t churner[CHURNERS], forker[FORKERS];
    (void)arguments;
    if (count > 1)
        return 0;
    forks = repeated(FORKS, LONG_FORKS);
    for (uintptr_t i = 0; i < CHURNERS; i++)
        if (pthread_create(&churner[i], NULL, churn, (void *)(i + 1)) != 0)
            return 2;
    while (atomic_load(&at_work) < CHURNERS)
        sched_yield();
    for (int i = 0; i < FORKERS; i++)
        if (pthread_create(&forker[i], NULL, fork_over_and_over, &forkers[i]) != 0)
            return 2;
    for (int i = 0; i < FORKERS; i++)
        pthread_join(forker[i], NULL);
    atomic_store(&over, true);
    for (int i = 0; i < CHURNERS; i++)
        pthread_join(churner[i], NULL);
    printf("%d of %d children failed\n", atomic_load(&failed), FORKERS * (int)forks);
    check(atomic_load(&failed) == 0, "all children end well");
    check(!atomic_load(&spoilt), "the threads' blocks are whole");
    return verdict();
}

/* SPDX-License-Identifier: MIT
 *
 * A mix of sizes, as large programs have it: most blocks are small, some are of many KiB, a few of a MiB;
 * some are zeroed, some grow. Two threads replace theirs at random and now and then leave one to the other.
 *
 *     mix ROUNDS
 */
#include <pthread.h>
#include <stdatomic.h>

#include "../measure.h"

enum { THREADS = 2, BLOCKS = 3000, LEFT = 64 };

static size_t rounds;
static _Atomic(void *) left[LEFT]; /* for whoever comes */

static size_t some_size(uint64_t *seed)
{
    const size_t kind = random_below(seed, 10000);
    if (kind < 9000)
        return 8 + random_below(seed, 505);
    if (kind < 9900)
        return 512 + random_below(seed, 7681);
    if (kind < 9998)
        return 8192 + random_below(seed, 122881);
    return (size_t)1 << 20;
}

static __attribute__((noinline)) void *take(size_t bytes, size_t kind)
{
    char *volatile block = kind == 0 ? calloc(1, bytes) : malloc(bytes);
    if (block == NULL)
        exit(1);
    block[0] = 1;
    return block;
}

static __attribute__((noinline)) void *grow(void *block, size_t bytes)
{
    void *volatile grown = realloc(block, bytes);
    if (grown == NULL)
        exit(1);
    return grown;
}

static void *replace(void *argument)
{
    static _Thread_local void *block[BLOCKS];
    uint64_t seed = (uint64_t)(uintptr_t)argument;
    for (size_t i = 0; i < rounds; i++) {
        void **const chosen = &block[random_below(&seed, BLOCKS)];
        const size_t kind = random_below(&seed, 16), bytes = some_size(&seed);
        if (kind == 1)
            *chosen = grow(*chosen, bytes);
        else if (kind == 2)
            *chosen = atomic_exchange(&left[random_below(&seed, LEFT)], *chosen);
        else {
            free(*chosen);
            *chosen = take(bytes, kind);
        }
    }
    for (size_t i = 0; i < BLOCKS; i++)
        free(block[i]);
    return NULL;
}

int main(int count, char **words)
{
    pthread_t thread[THREADS];
    rounds = number_in(count, words, 1, 1000000);
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&thread[i], NULL, replace, (void *)(i + 1)) != 0)
            return 1;
    for (size_t i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    for (size_t i = 0; i < LEFT; i++)
        free(atomic_load(&left[i]));
    print_figure("rounds", (double)rounds);
    return 0;
}

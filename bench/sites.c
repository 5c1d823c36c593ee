/* SPDX-License-Identifier: MIT
 *
 * Nanoseconds for a malloc/free pair of 64 bytes ten calls deep. Knows nothing of the shim: bench/sites
 * starts it with and without.
 */
#include "measure.h"

static __attribute__((noinline)) void *make_block(void)
{
    void *volatile block = malloc(64);
    return block;
}

static __attribute__((noinline)) int middle(long rounds)
{
    int made = 0;
    for (long i = 0; i < rounds; i++) {
        void *volatile block = make_block();
        made += block != NULL;
        free(block);
    }
    return made;
}

static __attribute__((noinline)) int outer(long rounds)
{
    return middle(rounds) + 1;
}

static __attribute__((noinline)) int deep(int depth, long rounds)
{
    volatile int here = depth; /* no loop can stand for this */
    return depth == 0 ? outer(rounds) : deep(depth - 1, rounds) + here;
}

int main(int count, char **words)
{
    const long rounds = count > 1 ? strtol(words[1], NULL, 10) : 20000000;
    double best = 1e18;
    for (int repeat = 0; repeat < 10; repeat++) {
        const double start = busy();
        deep(7, rounds / 10);
        const double each = (busy() - start) / (double)(rounds / 10);
        best = each < best ? each : best;
    }
    printf("%.1f\n", best);
    return 0;
}

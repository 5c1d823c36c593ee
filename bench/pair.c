/* SPDX-License-Identifier: MIT
 *
 * Nanoseconds for a malloc/free pair of 64 bytes from one call site. Knows nothing of the shim: bench/run
 * starts it with and without.
 */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static __attribute__((noinline)) void *make_block(void)
{
    void *volatile block = malloc(64);
    return block;
}

int main(int count, char **words)
{
    const long rounds = count > 1 ? strtol(words[1], NULL, 10) : 20000000;
    double best = 1e18;
    for (int repeat = 0; repeat < 5; repeat++) {
        const double start = now();
        for (long i = 0; i < rounds / 5; i++)
            free(make_block());
        const double each = (now() - start) / (double)(rounds / 5);
        best = each < best ? each : best;
    }
    printf("%.1f\n", best);
    return 0;
}

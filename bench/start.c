/* SPDX-License-Identifier: MIT
 *
 * Microseconds from the start of a command to its end: the median of many. bench/sites uses it.
 *
 *     bench-start ROUNDS COMMAND [ARGUMENT...]
 */
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <time.h>

extern char **environ;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e6 + (double)time.tv_nsec / 1e3;
}

static int by_size(const void *left, const void *right)
{
    const double a = *(const double *)left, b = *(const double *)right;
    return (a > b) - (a < b);
}

int main(int count, char **words)
{
    if (count < 3)
        return 2;
    const size_t rounds = strtoul(words[1], NULL, 10);
    double *took = calloc(rounds, sizeof *took);
    if (took == NULL)
        return 1;
    for (size_t i = 0; i < rounds; i++) {
        pid_t child;
        const double start = now();
        if (posix_spawnp(&child, words[2], NULL, NULL, words + 2, environ) != 0 ||
            waitpid(child, NULL, 0) != child)
            return 1;
        took[i] = now() - start;
    }
    qsort(took, rounds, sizeof *took, by_size);
    printf("%.0f\n", rounds > 0 ? took[rounds / 2] : 0);
    free(took);
    return 0;
}

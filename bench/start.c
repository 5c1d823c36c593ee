/* SPDX-License-Identifier: MIT
 *
 * Microseconds from the start of a command to its end: the median of many. bench/run and bench/sites use it.
 *
 *     bench-start ROUNDS COMMAND [ARGUMENT...]
 */
#include <spawn.h>
#include <sys/wait.h>

#include "measure.h"

extern char **environ;

int main(int count, char **words)
{
    const size_t rounds = number_in(count, words, 1, 0);
    if (count < 3 || rounds == 0)
        return 2;
    double *took = calloc(rounds, sizeof *took);
    if (took == NULL)
        return 1;
    for (size_t i = 0; i < rounds; i++) {
        pid_t child;
        const double start = now();
        if (posix_spawnp(&child, words[2], NULL, NULL, words + 2, environ) != 0 ||
            waitpid(child, NULL, 0) != child)
            return 1;
        took[i] = (now() - start) / 1e3;
    }
    printf("%.0f\n", median(took, rounds));
    free(took);
    return 0;
}

/* SPDX-License-Identifier: MIT
 *
 * What large blocks cost with their pages: each is written to once in each 4096 bytes. Knows nothing of the
 * shim.
 *
 *     bench-touch first MIB           GiB/s of one block that has never been used
 *     bench-touch again MIB ROUNDS    microseconds to allocate, touch and free it, once that has been done
 * before
 *     bench-touch grow MIB STEPS      microseconds for each step of realloc() up to that, what is new touched
 */
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

enum { PAGE = 4096, REPEATS = 8 };

static __attribute__((noinline)) char *make_block(size_t bytes)
{
    char *volatile block = malloc(bytes);
    if (block == NULL)
        exit(1);
    return block;
}

static __attribute__((noinline)) char *grow_block(char *block, size_t bytes)
{
    char *volatile grown = realloc(block, bytes);
    if (grown == NULL)
        exit(1);
    return grown;
}

static void touch(volatile char *block, size_t bytes)
{
    for (size_t at = 0; at < bytes; at += PAGE)
        block[at] = 1;
}

static void once(size_t bytes)
{
    char *block = make_block(bytes);
    touch(block, bytes);
    free(block);
}

static double time_rounds(size_t bytes, size_t rounds)
{
    const double start = now();
    for (size_t i = 0; i < rounds; i++)
        once(bytes);
    return (now() - start) / 1e3 / (double)rounds;
}

static double time_growing(size_t bytes, size_t steps)
{
    const size_t step = bytes / steps / PAGE * PAGE;
    const double start = now();
    char *block = NULL;
    for (size_t i = 0; i < steps; i++) {
        block = grow_block(block, (i + 1) * step);
        touch(block + i * step, step);
    }
    const double end = now();
    free(block);
    return (end - start) / 1e3 / (double)steps;
}

/* A child does the same before: where the machine is a virtual one, its memory is there then. */
static int touch_first(size_t bytes)
{
    const pid_t before = fork();
    if (before == 0) {
        once(bytes);
        _exit(0);
    }
    int status = -1;
    if (before < 0 || waitpid(before, &status, 0) != before || status != 0)
        return 1;
    const double start = now();
    char *block = make_block(bytes);
    touch(block, bytes);
    print_figure("first", (double)bytes / (double)(1 << 30) / ((now() - start) / 1e9));
    free(block);
    return 0;
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    const size_t bytes = number_in(count, words, 2, 0) << 20, rounds = number_in(count, words, 3, 10);
    if (bytes == 0 || rounds == 0)
        return 2;
    if (strcmp(what, "first") == 0)
        return touch_first(bytes);
    if (strcmp(what, "again") == 0) {
        double best = 1e18;
        once(bytes);
        for (int repeat = 0; repeat < REPEATS; repeat++)
            best = least_of(best, time_rounds(bytes, rounds));
        print_figure("again", best);
    } else if (strcmp(what, "grow") == 0 && bytes / PAGE >= rounds) {
        double best = 1e18;
        for (int repeat = 0; repeat < REPEATS; repeat++)
            best = least_of(best, time_growing(bytes, rounds));
        print_figure("grow", best);
    } else
        return 2;
    return 0;
}

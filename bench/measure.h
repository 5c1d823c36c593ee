/* SPDX-License-Identifier: MIT
 *
 * What the benchmarks have in common: a clock, random numbers that are the same in each run, and how a figure
 * is printed: one line each, `NAME VALUE`, which bench/run reads. For C and C++.
 */
#ifndef BENCH_MEASURE_H
#define BENCH_MEASURE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>

static inline double clock_nanoseconds(clockid_t clock)
{
    struct timespec time;
    clock_gettime(clock, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

/* Nanoseconds. */
static inline double now(void)
{
    return clock_nanoseconds(CLOCK_MONOTONIC);
}

/* Nanoseconds that this thread has had a processor: for what waits for nobody, on a machine that others use,
 * too. */
static inline double busy(void)
{
    return clock_nanoseconds(CLOCK_THREAD_CPUTIME_ID);
}

/* The next of a full-period sequence of pseudo-random numbers (Knuth, TAOCP 2, 3.3.4: MMIX), below `limit`.
 */
static inline size_t random_below(uint64_t *state, size_t limit)
{
    *state = *state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (size_t)(*state >> 33) % limit;
}

static inline void print_figure(const char *name, double value)
{
    printf("%s %.6g\n", name, value);
    fflush(stdout);
}

/* The number in words[index]; `otherwise` when there are not so many words. */
static inline size_t number_in(int count, char **words, int index, size_t otherwise)
{
    return index < count ? strtoul(words[index], NULL, 10) : otherwise;
}

static inline int by_size(const void *one, const void *other)
{
    const double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

/* Of at least one value; sorts them. */
static inline double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_size);
    return values[count / 2];
}

static inline double least_of(double one, double other)
{
    return one < other ? one : other;
}

#endif

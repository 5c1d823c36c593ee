/* SPDX-License-Identifier: MIT
 *
 * Nanoseconds for a named allocate/deallocate pair of 64 bytes, and for a find, at 10 … 1 000 000 live names,
 * in random order. Names are made beforehand: what is timed is the library.
 */
#include <shmcore.h>

#include <stdio.h>
#include <stdlib.h>
#include <time.h>

#define NAME_BYTES 24

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec * 1e9 + (double)time.tv_nsec;
}

static void fail(void)
{
    fprintf(stderr, "names: %s\n", shmcore_error());
    exit(1);
}

/* The next of a full-period sequence of pseudo-random numbers (Knuth, TAOCP 2, 3.3.4: MMIX). */
static size_t next_index(unsigned long *state, size_t live)
{
    *state = *state * 6364136223846793005UL + 1442695040888963407UL;
    return (size_t)(*state >> 33) % live;
}

static void measure(shmcore_segment *segment, size_t live, size_t rounds)
{
    char(*name)[NAME_BYTES] = malloc(live * NAME_BYTES);
    void **block = malloc(live * sizeof *block);
    unsigned long state = 1;
    if (name == NULL || block == NULL)
        exit(1);
    for (size_t i = 0; i < live; i++) {
        snprintf(name[i], NAME_BYTES, "n%zu", i);
        block[i] = shmcore_allocate(segment, name[i], 64);
        if (block[i] == NULL)
            fail();
    }
    double start = now();
    for (size_t i = 0; i < rounds; i++) {
        const size_t at = next_index(&state, live);
        if (shmcore_deallocate(segment, block[at]) != 0)
            fail();
        block[at] = shmcore_allocate(segment, name[at], 64);
        if (block[at] == NULL)
            fail();
    }
    const double pair = (now() - start) / (double)rounds;
    start = now();
    for (size_t i = 0; i < rounds; i++)
        if (shmcore_find(segment, name[next_index(&state, live)], NULL) == NULL)
            fail();
    const double find = (now() - start) / (double)rounds;
    printf("%8zu names: allocate+deallocate %7.1f ns, find %7.1f ns\n", live, pair, find);
    for (size_t i = 0; i < live; i++)
        shmcore_deallocate(segment, block[i]);
    free(block);
    free(name);
}

int main(int count, char **words)
{
    const size_t most = count > 1 ? strtoul(words[1], NULL, 10) : 1000000;
    shmcore_traits traits = shmcore_default_traits();
    traits.job = "bench-names";
    shmcore_segment *segment = shmcore_open("SHARED::bench", &traits);
    if (segment == NULL)
        fail();
    for (size_t live = 10; live <= most; live *= 10)
        measure(segment, live, 1000000);
    shmcore_close(segment);
    return 0;
}

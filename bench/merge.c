/* SPDX-License-Identifier: MIT
 *
 * What merging costs, beside the same machine's memcpy, memcmp and page faults in the same run:
 *
 *     bench-merge [-m MIB] [-d DIR] [-H]
 *
 * One process publishes a block of MIB (1024), a second one joins, and a third one joins with another number
 * in one of a hundred pages. Then merged memory is read at random and written to. -d: a directory for the
 * segment, such as a tmpfs with huge pages. -H: the processes ask for huge pages for their private memory.
 */
#include "shmcore.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { PAGE = 4096, ROUNDS = 5, READS = 1000000, WRITES = 4000 };

static const char *directory;
static size_t bytes = (size_t)1024 << 20;
static bool huge;

static double now(void)
{
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (double)time.tv_sec + (double)time.tv_nsec / 1e9;
}

static uint64_t mix(uint64_t number)
{
    number = (number ^ (number >> 30)) * 0xbf58476d1ce4e5b9u;
    return number ^ (number >> 27);
}

static void give_up(const char *what, const char *why)
{
    fprintf(stderr, "bench-merge: %s: %s\n", what, why);
    _exit(EXIT_FAILURE); /* whoever waits for this process hears of it by the end of its pipe */
}

static double per_gib(double seconds)
{
    return seconds * (double)(1 << 30) / (double)bytes;
}

/* ---------------------------------------------------------------- memory */

/* Private memory as a program would have it, with small pages or with huge ones where there are any. */
static uint64_t *plain_memory(int advice)
{
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (memory == MAP_FAILED)
        give_up("mmap", "no memory");
    madvise(memory, bytes, advice);
    return memory;
}

static void fill(uint64_t *words)
{
    for (size_t i = 0; i < bytes / sizeof *words; i++)
        words[i] = mix(i + 1);
}

static uint64_t *private_block(shmcore_segment *segment)
{
    uint64_t *words = shmcore_private(segment, "bench-merge", bytes);
    if (words == NULL)
        give_up("shmcore_private", shmcore_error());
    if (huge)
        madvise(words, bytes, MADV_HUGEPAGE);
    fill(words);
    return words;
}

static shmcore_segment *open_segment(void)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.dir = directory;
    shmcore_segment *segment = shmcore_open("SHARED::bench-merge", &traits);
    if (segment == NULL)
        give_up("shmcore_open", shmcore_error());
    return segment;
}

/* How many mappings of this process have a part of the block. */
static size_t mappings_of(const void *block)
{
    FILE *maps = fopen("/proc/self/maps", "re");
    unsigned long from, to;
    size_t found = 0;
    if (maps == NULL)
        return 0;
    while (fscanf(maps, "%lx-%lx%*[^\n]", &from, &to) == 2)
        found += from < (uintptr_t)block + bytes && to > (uintptr_t)block;
    fclose(maps);
    return found;
}

/* ---------------------------------------------------------------- what there is to compare with */

static double copying; /* seconds for a block */

static void measure_machine(void)
{
    uint64_t *from = plain_memory(MADV_NOHUGEPAGE), *to = plain_memory(MADV_NOHUGEPAGE);
    double comparing = 1e9;
    int same = 0;
    copying = 1e9;
    fill(from);
    memset(to, 1, bytes);
    for (int round = 0; round < ROUNDS; round++) {
        const double start = now();
        memcpy(to, from, bytes);
        const double copied = now();
        same += memcmp(to, from, bytes) == 0;
        const double compared = now();
        copying = copied - start < copying ? copied - start : copying;
        comparing = compared - copied < comparing ? compared - copied : comparing;
    }
    if (same != ROUNDS)
        give_up("memcpy", "it does not copy");
    munmap(from, bytes);
    munmap(to, bytes);
    printf("%-44s %8.3f s/GiB\n", "memcpy", per_gib(copying));
    printf("%-44s %8.3f s/GiB  %5.2f x memcpy\n", "memcmp", per_gib(comparing), comparing / copying);
}

/* ---------------------------------------------------------------- merge */

static void merge(shmcore_segment *segment, const char *what, void *block)
{
    const size_t before = mappings_of(block);
    const double start = now();
    const ssize_t merged = shmcore_merge(segment, block);
    const double taken = now() - start;
    if (merged < 0)
        give_up("shmcore_merge", shmcore_error());
    printf("%-44s %8.3f s/GiB  %5.2f x memcpy, %5.1f %% merged, %zu mappings (%zu before), %.0f a GiB\n",
           what, per_gib(taken), taken / copying, 100 * (double)merged / (double)bytes, mappings_of(block),
           before, per_gib((double)mappings_of(block)));
    fflush(stdout);
}

static int compare_numbers(const void *one, const void *other)
{
    const double a = *(const double *)one, b = *(const double *)other;
    return (a > b) - (a < b);
}

static double median(double *values)
{
    qsort(values, ROUNDS, sizeof *values, compare_numbers);
    return values[ROUNDS / 2];
}

/* ns for a read whose place depends on what the one before has found. */
static double read_at_random(const uint64_t *words)
{
    uint64_t found = 1;
    const double start = now();
    for (uint64_t i = 0; i < READS; i++)
        found = words[mix(found + i) % (bytes / sizeof *words)];
    const double taken = now() - start;
    __asm__ volatile("" : : "r"(found)); /* it is wanted, says this */
    return taken / READS * 1e9;
}

/* Of one piece of memory, once it has all its pages: whatever else runs can only add to it. */
static double best_read(const uint64_t *words)
{
    double best = 1e9;
    for (int round = 0; round < ROUNDS; round++) {
        const double each = read_at_random(words);
        best = each < best ? each : best;
    }
    return best;
}

static double best_read_of_fresh(int advice)
{
    uint64_t *words = plain_memory(advice);
    fill(words);
    const double each = best_read(words);
    munmap(words, bytes);
    return each;
}

/* Where the kernel finds its pages has more influence than anything else, so private memory is taken anew for
 * each round. What is merged is one copy, and has the pages that it has: bench/merge begins anew for those.
 */
static void compare_reads(const uint64_t *merged)
{
    double base[ROUNDS], of_merged[ROUNDS], large[ROUNDS];
    for (int round = 0; round < ROUNDS; round++) {
        base[round] = best_read_of_fresh(MADV_NOHUGEPAGE);
        of_merged[round] = best_read(merged);
        large[round] = best_read_of_fresh(MADV_HUGEPAGE);
    }
    const double middle = median(base);
    printf("%-44s %8.1f ns     %5.2f x … %.2f x\n", "random read, private 4 KiB pages", middle,
           base[0] / middle, base[ROUNDS - 1] / middle);
    printf("%-44s %8.1f ns     %5.2f x\n", "random read, merged", median(of_merged),
           median(of_merged) / middle);
    printf("%-44s %8.1f ns     %5.2f x\n", "random read, private huge pages", median(large),
           median(large) / middle);
}

/* ns for a write to a page, in pages that were not written to before. */
static double write_scattered(uint64_t *words)
{
    const size_t step = bytes / WRITES / PAGE * PAGE / sizeof *words;
    const double start = now();
    for (size_t i = 0; i < WRITES; i++)
        words[i * step] += 1;
    return (now() - start) / WRITES * 1e9;
}

static void compare_writes(uint64_t *merged)
{
    uint64_t *fresh = plain_memory(MADV_NOHUGEPAGE);
    printf("%-44s %8.1f ns\n", "first write to a page, private", write_scattered(fresh));
    printf("%-44s %8.1f ns\n", "first write to a page, merged", write_scattered(merged));
    printf("%-44s %8.1f ns\n", "the next write to it", write_scattered(merged));
    munmap(fresh, bytes);
}

/* ---------------------------------------------------------------- processes */

static void publish(shmcore_segment *segment)
{
    merge(segment, "publish", private_block(segment));
}

static void join(shmcore_segment *segment)
{
    uint64_t *block = private_block(segment);
    merge(segment, "join", block);
    compare_reads(block);
    compare_writes(block);
}

static void join_different(shmcore_segment *segment)
{
    uint64_t *block = private_block(segment);
    for (size_t page = 50; page < bytes / PAGE; page += 100)
        block[page * (PAGE / sizeof *block)] = 0;
    merge(segment, "join, 1 % of the pages differ", block);
}

/* A process does its part and lets go of it when `hold` ends. Returns when the part is done. */
static pid_t start(void (*part)(shmcore_segment *), const int hold[2])
{
    int done[2];
    char word = 0;
    fflush(stdout);
    if (pipe(done) != 0)
        give_up("pipe", "none left");
    const pid_t child = fork();
    if (child == 0) {
        close(hold[1]);
        shmcore_segment *segment = open_segment();
        part(segment);
        fflush(stdout);
        if (write(done[1], &word, 1) != 1 || read(hold[0], &word, 1) != 0)
            give_up("pipe", "broken");
        shmcore_close(segment);
        _exit(EXIT_SUCCESS);
    }
    close(done[1]);
    if (child < 0 || read(done[0], &word, 1) != 1)
        exit(EXIT_FAILURE); /* it has said why */
    close(done[0]);
    return child;
}

int main(int count, char **words)
{
    int letter, hold[2], status, failed = 0;
    while ((letter = getopt(count, words, "m:d:H")) != -1)
        if (letter == 'm')
            bytes = strtoul(optarg, NULL, 10) << 20;
        else if (letter == 'd')
            directory = optarg;
        else if (letter == 'H')
            huge = true;
        else
            return 2;
    if (bytes < (size_t)16 << 20 || pipe(hold) != 0)
        return 2;
    measure_machine();
    const pid_t child[] = {start(publish, hold), start(join, hold), start(join_different, hold)};
    close(hold[1]);
    for (size_t i = 0; i < sizeof child / sizeof child[0]; i++)
        failed |= waitpid(child[i], &status, 0) != child[i] || status != 0;
    return failed;
}

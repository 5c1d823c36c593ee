/* SPDX-License-Identifier: MIT
 *
 * A program that knows nothing of shared memory: it only calls calloc.
 *
 *     share_ring PROCESSES [MEBIBYTES]
 *
 * It takes a place in a ring, fills that part of it, waits until every place is filled and prints
 * the sum of the whole; then it keeps the ring until its standard input ends. On its own
 * (PROCESSES = 1) all places are its own. Under a rule `share func=attach_ring` several processes
 * have one ring: each fills a part, and all print the same sum.
 *
 * The ring begins as zeros: that is what calloc promises, and under `share` only the process that
 * creates the block zeroes it. All that the processes say to one another they say in the block,
 * with atomics and a futex, so nobody sleeps for a guessed time; a wait ends after a minute, with
 * a message, when the others do not come.
 */
#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

enum { PATIENCE_SECONDS = 60 };

struct ring {
    _Atomic uint32_t arrived; /* places taken */
    _Atomic uint32_t filled;  /* places whose words are written; the futex */
    uint64_t words[];
};

/* Not inlined, so that the call of calloc has this function's name in a release build as well. */
__attribute__((noinline)) static struct ring *attach_ring(size_t words)
{
    struct ring *ring = calloc(1, sizeof *ring + words * sizeof ring->words[0]);
    if (ring == NULL)
        perror("share_ring: no memory for the ring");
    return ring;
}

static void fill(struct ring *ring, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        ring->words[i] = i * UINT64_C(0x9e3779b97f4a7c15);
}

static uint64_t sum(const struct ring *ring, size_t words)
{
    uint64_t total = 0;
    for (size_t i = 0; i < words; i++)
        total += ring->words[i];
    return total;
}

/* Waits until all places are filled. False when time is up first. */
static bool wait_for_others(struct ring *ring, uint32_t processes)
{
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += PATIENCE_SECONDS;
    for (;;) {
        uint32_t filled = atomic_load(&ring->filled);
        if (filled >= processes)
            return true;
        long result = syscall(SYS_futex, &ring->filled, FUTEX_WAIT_BITSET, filled, &deadline, NULL,
                              FUTEX_BITSET_MATCH_ANY);
        if (result != 0 && errno != EAGAIN && errno != EINTR) {
            fprintf(stderr, "share_ring: %" PRIu32 " of %" PRIu32 " processes came in %d s\n", filled,
                    processes, PATIENCE_SECONDS);
            return false;
        }
    }
}

/* Takes a place, fills it, tells the others. False when all places are taken already. */
static bool take_part(struct ring *ring, uint32_t processes, size_t words)
{
    uint32_t place = atomic_fetch_add(&ring->arrived, 1);
    if (place >= processes) {
        fprintf(stderr, "share_ring: all %" PRIu32 " places are taken\n", processes);
        return false;
    }
    size_t part = words / processes;
    fill(ring, place * part, place + 1 == processes ? words : (place + 1) * part);
    atomic_fetch_add(&ring->filled, 1);
    syscall(SYS_futex, &ring->filled, FUTEX_WAKE, INT32_MAX, NULL, NULL, 0);
    return true;
}

int main(int argc, char **argv)
{
    unsigned long processes = argc > 1 ? strtoul(argv[1], NULL, 10) : 0;
    unsigned long mebibytes = argc > 2 ? strtoul(argv[2], NULL, 10) : 64;
    if (argc > 3 || processes < 1 || processes > 4096 || mebibytes < 1 || mebibytes > 65536) {
        fprintf(stderr, "usage: share_ring PROCESSES [MEBIBYTES]\n");
        return 2;
    }
    size_t words = ((size_t)mebibytes << 20) / sizeof(uint64_t);
    struct ring *ring = attach_ring(words);
    if (ring == NULL)
        return EXIT_FAILURE;
    bool complete = take_part(ring, (uint32_t)processes, words) && wait_for_others(ring, (uint32_t)processes);
    if (complete) {
        printf("sum %016" PRIx64 "\n", sum(ring, words));
        fflush(stdout);
        while (getchar() != EOF)
            ;
    }
    free(ring);
    return complete ? EXIT_SUCCESS : EXIT_FAILURE;
}

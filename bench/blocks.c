/* SPDX-License-Identifier: MIT
 *
 * Nanoseconds for allocating and freeing a block of 64 bytes from one call site, make_block(). Knows nothing
 * of the shim: bench/run starts it with and without, and with other allocators.
 *
 *     bench-blocks pair|replace|threads|handoff [ROUNDS [LIVE]]
 *
 *   pair      free(malloc(64)), in the one thread there is
 *   replace   a random one of LIVE blocks (10 000) is freed and allocated anew, likewise
 *   threads   both in two threads at a time, and how much more than one thread they get done
 *   handoff   one thread allocates, another one frees
 *
 * Each is the best of several repeats; of many short ones where two threads must have had a core each.
 */
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <string.h>

#include "measure.h"

enum { BLOCK_BYTES = 64, REPEATS = 5, SHORT_REPEATS = 50, THREADS = 2, RING_SLOTS = 1024, SPINS_MOST = 100 };

struct task {
    size_t rounds, live; /* live 0: pairs */
    uint64_t seed;
    pthread_barrier_t *begin;
    double started, ended;
};

static __attribute__((noinline)) void *make_block(void)
{
    void *volatile block = malloc(BLOCK_BYTES);
    return block;
}

static void fail(void)
{
    fprintf(stderr, "bench-blocks: no memory\n");
    exit(1);
}

/* ---------------------------------------------------------------- one thread */

static double time_pairs(size_t rounds)
{
    const double start = busy();
    for (size_t i = 0; i < rounds; i++)
        free(make_block());
    return (busy() - start) / (double)rounds;
}

static void **make_live(size_t live)
{
    void **block = malloc(live * sizeof *block);
    if (block == NULL)
        fail();
    for (size_t i = 0; i < live; i++)
        block[i] = make_block();
    return block;
}

static void free_live(void **block, size_t live)
{
    for (size_t i = 0; i < live; i++)
        free(block[i]);
    free(block);
}

static double time_replacing(void **block, size_t live, size_t rounds, uint64_t *seed)
{
    const double start = busy();
    for (size_t i = 0; i < rounds; i++) {
        void **const chosen = &block[random_below(seed, live)];
        free(*chosen);
        *chosen = make_block();
        *(char *)*chosen = (char)i; /* as anybody does who wants a block */
    }
    return (busy() - start) / (double)rounds;
}

static void measure_pairs(size_t rounds)
{
    double best = 1e18;
    for (int repeat = 0; repeat < REPEATS; repeat++)
        best = least_of(best, time_pairs(rounds));
    print_figure("pair", best);
}

static void measure_replacing(size_t rounds, size_t live)
{
    void **block = make_live(live);
    uint64_t seed = 1;
    double best = 1e18;
    for (int repeat = 0; repeat < REPEATS; repeat++)
        best = least_of(best, time_replacing(block, live, rounds, &seed));
    print_figure("replace", best);
    free_live(block, live);
}

/* ---------------------------------------------------------------- several threads */

static void *run_task(void *argument)
{
    struct task *task = argument;
    void **block = task->live > 0 ? make_live(task->live) : NULL;
    uint64_t seed = task->seed; /* the tasks may lie in one cache line */
    pthread_barrier_wait(task->begin);
    task->started = now();
    if (block == NULL)
        time_pairs(task->rounds);
    else
        time_replacing(block, task->live, task->rounds, &seed);
    task->ended = now();
    if (block != NULL)
        free_live(block, task->live);
    return NULL;
}

/* Nanoseconds until all of them together have done one. */
static double time_threads(size_t threads, size_t rounds, size_t live)
{
    struct task task[THREADS];
    pthread_t thread[THREADS];
    pthread_barrier_t begin;
    double first = 1e300, last = 0;
    pthread_barrier_init(&begin, NULL, (unsigned)threads);
    for (size_t i = 0; i < threads; i++) {
        task[i] = (struct task){.rounds = rounds, .live = live, .seed = i + 1, .begin = &begin};
        if (pthread_create(&thread[i], NULL, run_task, &task[i]) != 0)
            fail();
    }
    for (size_t i = 0; i < threads; i++) {
        pthread_join(thread[i], NULL);
        first = least_of(first, task[i].started);
        last = task[i].ended > last ? task[i].ended : last;
    }
    pthread_barrier_destroy(&begin);
    return (last - first) / (double)(threads * rounds);
}

static void measure_threads(const char *what, size_t rounds, size_t live)
{
    double one = 1e18, both = 1e18;
    char name[32];
    for (int repeat = 0; repeat < SHORT_REPEATS; repeat++) {
        one = least_of(one, time_threads(1, rounds, live));
        both = least_of(both, time_threads(THREADS, rounds, live));
    }
    print_figure(what, both);
    snprintf(name, sizeof name, "%s-scaling", what);
    print_figure(name, one / both);
}

/* ---------------------------------------------------------------- from one thread to another */

/* A ring of one writer and one reader; an empty slot is NULL. */
static struct {
    size_t rounds;
    _Atomic(void *) slot[RING_SLOTS];
} ring;

/* Returns after some spinning, or after others have had their turn: cores may be fewer than threads. */
static void wait_a_little(unsigned *spins)
{
    if (++*spins % SPINS_MOST == 0)
        sched_yield();
}

static void *free_what_comes(void *argument)
{
    unsigned spins = 0;
    for (size_t i = 0; i < ring.rounds; i++) {
        _Atomic(void *) *slot = &ring.slot[i % RING_SLOTS];
        void *block;
        while ((block = atomic_load_explicit(slot, memory_order_acquire)) == NULL)
            wait_a_little(&spins);
        atomic_store_explicit(slot, NULL, memory_order_relaxed);
        free(block);
    }
    return argument;
}

static double time_handoff(size_t rounds)
{
    pthread_t consumer;
    unsigned spins = 0;
    ring.rounds = rounds;
    const double start = now();
    if (pthread_create(&consumer, NULL, free_what_comes, NULL) != 0)
        fail();
    for (size_t i = 0; i < rounds; i++) {
        _Atomic(void *) *slot = &ring.slot[i % RING_SLOTS];
        void *block = make_block();
        while (atomic_load_explicit(slot, memory_order_relaxed) != NULL)
            wait_a_little(&spins);
        atomic_store_explicit(slot, block, memory_order_release);
    }
    pthread_join(consumer, NULL);
    return (now() - start) / (double)rounds;
}

static void measure_handoff(size_t rounds)
{
    double best = 1e18;
    for (int repeat = 0; repeat < SHORT_REPEATS; repeat++)
        best = least_of(best, time_handoff(rounds));
    print_figure("handoff", best);
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    const size_t rounds = number_in(count, words, 2, 4000000), live = number_in(count, words, 3, 10000);
    if (rounds == 0 || live == 0)
        return 2;
    if (strcmp(what, "pair") == 0)
        measure_pairs(rounds);
    else if (strcmp(what, "replace") == 0)
        measure_replacing(rounds, live);
    else if (strcmp(what, "threads") == 0) {
        measure_threads("pair", rounds, 0);
        measure_threads("replace", rounds, live);
    } else if (strcmp(what, "handoff") == 0)
        measure_handoff(rounds);
    else
        return 2;
    return 0;
}

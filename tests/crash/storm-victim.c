/* SPDX-License-Identifier: MIT
 *
 * A process of a storm through the shim: a program that knows nothing of segments, started by the supervisor
 * with the shim preloaded and everything under `export`, blocks that common() makes under `share`. Its three
 * threads allocate, resize, hand blocks to each other, free, fork, exec and exit at random. A block must read
 * as it was written until it is freed; a child sees the blocks as they were at the fork, whatever the parent
 * does.
 *
 *     storm-victim worker BOARD PLACE STEPS
 *
 * STEPS 0: until the storm is over; else one thread, for so many operations.
 */
#include "storm-board.h"

#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { OWN = 32, COMMON = 8, EXCHANGE = 32 };

struct block {
    size_t bytes;
    uint64_t seed;
    unsigned char data[];
};

struct common {
    void *pointer;
    uint32_t count;
};

struct actor {
    unsigned number;
    bool child;
    struct storm_dice dice;
    struct block *own[OWN];
    struct common common[COMMON];
};

static struct {
    struct storm_board *board;
    int descriptor;
    unsigned place;
    _Atomic(struct block *) exchange[EXCHANGE]; /* from any thread to any other */
    struct actor actor[STORM_THREADS];
} process;

#define COMPLAIN(...) storm_complain(process.board, __VA_ARGS__)

/* ---------------------------------------------------------------- own blocks */

/* Segments lie between these addresses, in every process. */
static bool is_routed(const void *pointer)
{
    return (uintptr_t)pointer - UINT64_C(0x210000000000) < UINT64_C(0x080000000000);
}

static void count_route(const void *pointer)
{
    atomic_fetch_add(is_routed(pointer) ? &process.board->routed : &process.board->passed, 1);
}

static size_t some_size(struct storm_dice *dice)
{
    const uint32_t kind = storm_roll(dice, 100);
    if (kind < 60)
        return storm_roll(dice, 300);
    if (kind < 93)
        return storm_roll(dice, 9000);
    return kind < 99 ? storm_roll(dice, 80000) : storm_roll(dice, 400000);
}

static struct block *written(struct actor *actor, struct block *block, size_t bytes)
{
    if (block == NULL) {
        COMPLAIN("no memory for %zu bytes", bytes);
        return NULL;
    }
    count_route(block);
    block->bytes = bytes;
    block->seed = storm_mix(storm_roll(&actor->dice, UINT32_MAX) | (uint64_t)storm_line() << 32);
    storm_fill(block->data, bytes, block->seed);
    return block;
}

static struct block *make(struct actor *actor)
{
    const size_t bytes = some_size(&actor->dice), whole = sizeof(struct block) + bytes;
    const uint32_t kind = storm_roll(&actor->dice, 4);
    storm_begin(STORM_ALLOCATE);
    struct block *block = kind == 0   ? calloc(1, whole)
                          : kind == 1 ? memalign((size_t)16 << storm_roll(&actor->dice, 8), whole)
                                      : malloc(whole);
    storm_end();
    if (kind == 0 && block != NULL && !storm_is_zero(block, whole))
        COMPLAIN("calloc of %zu bytes at %p is not zero", whole, (void *)block);
    return written(actor, block, bytes);
}

static void verify(const struct block *block, const char *when)
{
    if (!storm_is_filled(block->data, block->bytes, block->seed))
        COMPLAIN("block of %zu bytes at %p has changed %s", block->bytes, (const void *)block, when);
}

static void destroy(struct block *block)
{
    if (block == NULL)
        return;
    verify(block, "before it is freed");
    storm_begin(STORM_FREE);
    free(block);
    storm_end();
}

static struct block *resize(struct actor *actor, struct block *block)
{
    unsigned char kept[64];
    const size_t old = block->bytes, bytes = some_size(&actor->dice);
    const size_t compared = old < bytes ? old : bytes, first = compared < 64 ? compared : 64;
    verify(block, "before it is resized");
    const void *const before = block;
    const size_t usable = malloc_usable_size(block);
    memcpy(kept, block->data, first);
    storm_begin(STORM_RESIZE);
    block = realloc(block, sizeof *block + bytes);
    storm_end();
    if (block != NULL && (block->bytes != old || memcmp(kept, block->data, first) != 0))
        COMPLAIN("block of %zu bytes at %p (%zu usable) has changed when it was resized to %zu at %p", old,
                 before, usable, bytes, (void *)block);
    return written(actor, block, bytes);
}

static void own_step(struct actor *actor)
{
    struct block **place = &actor->own[storm_roll(&actor->dice, OWN)];
    const uint32_t choice = storm_roll(&actor->dice, 8);
    if (*place == NULL) {
        *place = make(actor);
    } else if (choice < 2 && !actor->child) { /* another thread will free it */
        *place = atomic_exchange(&process.exchange[storm_roll(&actor->dice, EXCHANGE)], *place);
    } else if (choice < 4) {
        *place = resize(actor, *place);
    } else {
        destroy(*place);
        *place = NULL;
    }
}

/* ---------------------------------------------------------------- common blocks */

static __attribute__((noinline)) void *common(size_t bytes)
{
    void *volatile block = calloc(1, bytes);
    return block;
}

static size_t common_size(unsigned number)
{
    static const size_t sizes[] = {STORM_COMMON_LEAST, 4096, 40000, 150000};
    return sizes[number % 4] / 8 * 8;
}

static void common_step(struct actor *actor)
{
    const unsigned number = storm_roll(&actor->dice, COMMON);
    struct common *mine = &actor->common[number];
    const size_t bytes = common_size(number);
    const char *wrong = NULL;
    if (mine->pointer == NULL) {
        storm_begin(STORM_ATTACH);
        mine->pointer = common(bytes);
        storm_end();
        if (mine->pointer != NULL)
            wrong = storm_common_begin(mine->pointer, bytes, bytes, &mine->count);
    } else if (storm_roll(&actor->dice, 2) == 0) {
        wrong = storm_common_look(mine->pointer, bytes, bytes, &mine->count);
    } else {
        storm_begin(STORM_FREE);
        free(mine->pointer);
        storm_end();
        mine->pointer = NULL;
    }
    if (wrong != NULL)
        COMPLAIN("common block of %zu bytes at %p: %s", bytes, mine->pointer, wrong);
}

/* ---------------------------------------------------------------- exec, exit, fork */

static void start_over(unsigned steps)
{
    char place[16], descriptor[16], count[16];
    char *const arguments[] = {(char[]){"storm-victim"}, (char[]){"worker"}, descriptor, place, count, NULL};
    snprintf(place, sizeof place, "%u", storm_place());
    snprintf(descriptor, sizeof descriptor, "%d", process.descriptor);
    snprintf(count, sizeof count, "%u", steps);
    storm_begin(STORM_EXEC);
    atomic_fetch_add(&process.board->execs, 1);
    execv("/proc/self/exe", arguments);
    COMPLAIN("exec: %s", strerror(errno));
    _exit(1);
}

static void leave(struct actor *actor)
{
    atomic_fetch_add(&process.board->exits, 1);
    if (actor->child && storm_roll(&actor->dice, 2) == 0)
        _exit(0);
    storm_begin(STORM_EXIT);
    exit(0);
}

static void one_step(struct actor *actor);

/* What the forking thread held is the child's, too. */
static void look_at_heritage(struct actor *actor)
{
    for (unsigned i = 0; i < OWN; i++)
        if (actor->own[i] != NULL)
            verify(actor->own[i], "after a fork, in the child");
    for (unsigned i = 0; i < COMMON; i++) {
        struct common *mine = &actor->common[i];
        const char *wrong = NULL;
        if (mine->pointer != NULL)
            wrong = storm_common_begin(mine->pointer, common_size(i), common_size(i), &mine->count);
        if (wrong != NULL)
            COMPLAIN("common block %u in a child: %s", i, wrong);
    }
}

/* A child for which no row was to be had, because somebody who was stopped held a lock, has its own copies
 * but no hold on common blocks. What it allocates is not in the segment. */
static bool has_part(void)
{
    void *const block = malloc(100);
    const bool routed = is_routed(block);
    free(block);
    return routed;
}

static void live_as_child(struct actor *actor)
{
    actor->child = true;
    actor->number = 0;
    actor->dice.state ^= storm_mix((uint64_t)getpid());
    if (!storm_take_place(process.board))
        _exit(0);
    if (!has_part()) {
        atomic_fetch_add(&process.board->apart, 1);
        leave(actor);
    }
    look_at_heritage(actor);
    const unsigned steps = storm_roll(&actor->dice, storm_roll(&actor->dice, 8) == 0 ? 2000 : 60);
    for (unsigned step = 0; step < steps && !storm_is_over(process.board); step++)
        one_step(actor);
    look_at_heritage(actor);
    if (storm_roll(&actor->dice, 4) == 0)
        start_over(storm_roll(&actor->dice, 100) + 1);
    leave(actor);
}

static void fork_child(struct actor *actor)
{
    storm_begin(STORM_FORK);
    const pid_t pid = fork();
    if (pid == 0)
        live_as_child(actor);
    storm_end();
    atomic_fetch_add(&process.board->forks, 1);
    if (pid < 0)
        COMPLAIN("fork: %s", strerror(errno));
}

static void bury_children(void)
{
    static atomic_flag busy = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&busy))
        return;
    storm_bury(process.board, false);
    atomic_flag_clear(&busy);
}

/* ---------------------------------------------------------------- a life */

static void look(const struct actor *actor, struct storm_dice *dice)
{
    const struct block *block = actor->own[storm_roll(dice, OWN)];
    if (block != NULL)
        verify(block, "while it was held");
}

static void one_step(struct actor *actor)
{
    const uint32_t choice = storm_roll(&actor->dice, 4000);
    if (choice < 2400)
        own_step(actor);
    else if (choice < 2900)
        common_step(actor);
    else if (choice < 3960)
        look(actor, &actor->dice);
    else if (choice < 3970)
        fork_child(actor);
    else if (choice < 3972)
        start_over(actor->child ? 20 : 0);
    else if (choice < 3973)
        leave(actor);
    else
        bury_children();
}

static void *live(void *argument)
{
    struct actor *actor = argument;
    storm_take_line(process.board, process.place, actor->number);
    while (!storm_is_over(process.board))
        one_step(actor);
    for (unsigned i = 0; i < OWN; i++)
        destroy(actor->own[i]);
    return NULL;
}

static void begin_actor(struct actor *actor, unsigned number)
{
    actor->number = number;
    actor->dice.state =
        storm_mix(process.board->seed + atomic_load(&process.board->place[process.place].generation)) +
        number;
}

/* EAGAIN: another thread is in execve() already. */
static bool start_thread(pthread_t *thread, struct actor *actor)
{
    const int error = pthread_create(thread, NULL, live, actor);
    if (error != 0 && error != EAGAIN)
        COMPLAIN("pthread_create: %s", strerror(error));
    return error == 0;
}

static void live_with_threads(void)
{
    pthread_t thread[STORM_THREADS];
    bool started[STORM_THREADS] = {false};
    for (unsigned i = 0; i < STORM_THREADS; i++)
        begin_actor(&process.actor[i], i);
    for (unsigned i = 1; i < STORM_THREADS; i++)
        started[i] = start_thread(&thread[i], &process.actor[i]);
    live(&process.actor[0]);
    for (unsigned i = 1; i < STORM_THREADS; i++)
        if (started[i])
            pthread_join(thread[i], NULL);
    for (unsigned i = 0; i < EXCHANGE; i++)
        destroy(process.exchange[i]);
}

static void live_alone(unsigned steps)
{
    struct actor *actor = &process.actor[0];
    begin_actor(actor, 0);
    actor->child = true;
    while (steps-- > 0 && !storm_is_over(process.board))
        one_step(actor);
}

int main(int count, char **arguments)
{
    if (count != 5)
        return 2;
    process.descriptor = atoi(arguments[2]);
    process.place = (unsigned)atoi(arguments[3]);
    process.board = storm_join_board(process.descriptor);
    if (process.board == NULL)
        return 2;
    const unsigned steps = (unsigned)atoi(arguments[4]);
    storm_take_line(process.board, process.place, 0);
    atomic_store(&process.board->place[process.place].generation,
                 atomic_fetch_add(&process.board->generation, 1) + 1);
    if (steps == 0)
        live_with_threads();
    else
        live_alone(steps);
    storm_begin(STORM_EXIT);
    return 0;
}

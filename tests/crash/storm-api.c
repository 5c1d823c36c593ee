/* SPDX-License-Identifier: MIT
 *
 * The life of a process in a storm through the C API: three threads that do at random what storm-actor.c has,
 * and
 *
 *   open, close    a nested open; a real close, after which everything is forgotten
 *   fork           the child holds what the forking thread held, does a little of everything, and ends
 * somehow exec, exit     at any time, with the segment open or closed, other threads in the middle of
 * something
 *
 * The threads of a process share one handle. A real close needs the others to be outside the library: they
 * hold `gate` for reading while they are inside. A forked child has one thread and does not use it.
 */
#include "storm-api.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "export.h"
#include "storm-actor.h"

struct process process;

/* ---------------------------------------------------------------- open, close */

static shmcore_traits traits(void)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.size = process.board->capacity;
    traits.dir = process.board->directory;
    traits.job = STORM_JOB;
    return traits;
}

static shmcore_segment *open_segment(void)
{
    const shmcore_traits wanted = traits();
    storm_begin(STORM_OPEN);
    shmcore_segment *segment = shmcore_open(STORM_SEGMENT, &wanted);
    const bool stopped = storm_end();
    if (segment == NULL)
        actor_judge("open", STORM_SEGMENT, errno, stopped);
    return segment;
}

static void close_segment(shmcore_segment *segment)
{
    storm_begin(STORM_CLOSE);
    const int result = shmcore_close(segment);
    const bool stopped = storm_end();
    if (result != 0)
        actor_judge("close", STORM_SEGMENT, errno, stopped);
}

static void forget(struct actor *actor)
{
    memset(actor->own, 0, sizeof actor->own);
    memset(actor->common, 0, sizeof actor->common);
    actor->epoch = process.epoch;
}

/* With nobody else inside the library. */
static void close_and_open(struct actor *actor, bool open)
{
    if (process.segment != NULL)
        close_segment(process.segment);
    process.epoch++;
    forget(actor);
    process.segment = NULL;
    while (open && process.segment == NULL && !storm_is_over(process.board))
        process.segment = open_segment();
}

static void reopen(struct actor *actor)
{
    if (!actor->child) {
        pthread_rwlock_unlock(&process.gate);
        pthread_rwlock_wrlock(&process.gate);
    }
    close_and_open(actor, true);
    if (!actor->child) {
        pthread_rwlock_unlock(&process.gate);
        pthread_rwlock_rdlock(&process.gate);
    }
}

static void open_nested(void)
{
    shmcore_segment *again = open_segment();
    if (again == NULL)
        return;
    if (again != process.segment && !atomic_load(&process.leaving))
        COMPLAIN("the second open gave another handle");
    close_segment(again);
}

/* ---------------------------------------------------------------- exec, exit, fork */

static void start_over(struct actor *actor, unsigned steps)
{
    char place[16], descriptor[16], count[16];
    char *const arguments[] = {(char[]){"storm"}, (char[]){"worker"}, descriptor, place, count, NULL};
    snprintf(place, sizeof place, "%u", storm_place());
    snprintf(descriptor, sizeof descriptor, "%d", process.descriptor);
    snprintf(count, sizeof count, "%u", steps);
    if (storm_roll(&actor->dice, 2) == 0) { /* else with everything open */
        if (!actor->child) {
            pthread_rwlock_unlock(&process.gate);
            pthread_rwlock_wrlock(&process.gate);
        }
        close_and_open(actor, false);
    }
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
    if (actor->child && process.segment != NULL && storm_roll(&actor->dice, 2) == 0)
        close_segment(process.segment);
    atomic_store(&process.leaving, true);
    storm_begin(STORM_EXIT);
    exit(0);
}

static void one_step(struct actor *actor);

static void live_as_child(struct actor *actor)
{
    actor->child = true;
    actor->number = 0;
    actor->dice.state ^= storm_mix((uint64_t)getpid());
    if (!storm_take_place(process.board))
        _exit(0);
    if (!export_is_member(process.segment)) { /* the lock was held by somebody who was stopped */
        atomic_fetch_add(&process.board->apart, 1);
        leave(actor);
    }
    actor_look_at_heritage(actor);
    const unsigned steps = storm_roll(&actor->dice, storm_roll(&actor->dice, 8) == 0 ? 2000 : 60);
    for (unsigned step = 0; step < steps && !storm_is_over(process.board); step++)
        one_step(actor);
    if (process.segment != NULL && storm_roll(&actor->dice, 4) == 0)
        start_over(actor, storm_roll(&actor->dice, 100) + 1);
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

static void one_step(struct actor *actor)
{
    const uint32_t choice = storm_roll(&actor->dice, 4000);
    if (process.segment == NULL) /* a child could not open it again */
        return;
    if (choice < 1900)
        actor_own_step(actor);
    else if (choice < 2900)
        actor_common_step(actor);
    else if (choice < 3560)
        actor_look(actor);
    else if (choice < 3600)
        actor_borrow(actor);
    else if (choice < 3750)
        actor_hammer(actor);
    else if (choice < 3850)
        actor_hammer_common(actor);
    else if (choice < 3910)
        open_nested();
    else if (choice < 3920)
        reopen(actor);
    else if (choice < 3945)
        fork_child(actor);
    else if (choice < 3948)
        start_over(actor, actor->child ? 20 : 0);
    else if (choice < 3950)
        leave(actor);
    else
        bury_children();
}

static void *live(void *argument)
{
    struct actor *actor = argument;
    storm_take_line(process.board, process.place, actor->number);
    pthread_rwlock_rdlock(&process.gate);
    while (!storm_is_over(process.board)) {
        if (actor->epoch != process.epoch)
            forget(actor);
        one_step(actor);
        pthread_rwlock_unlock(&process.gate); /* somebody may want to close */
        pthread_rwlock_rdlock(&process.gate);
    }
    if (actor->epoch == process.epoch && process.segment != NULL)
        actor_give_back(actor);
    pthread_rwlock_unlock(&process.gate);
    return NULL;
}

static void make_gate(void)
{
    pthread_rwlockattr_t attributes;
    pthread_rwlockattr_init(&attributes);
    pthread_rwlockattr_setkind_np(&attributes, PTHREAD_RWLOCK_PREFER_WRITER_NONRECURSIVE_NP);
    pthread_rwlock_init(&process.gate, &attributes);
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
}

static void live_alone(unsigned steps)
{
    struct actor *actor = &process.actor[0];
    begin_actor(actor, 0);
    actor->child = true;
    while (steps-- > 0 && !storm_is_over(process.board))
        one_step(actor);
}

void storm_api_worker(struct storm_board *board, int descriptor, unsigned place, unsigned steps)
{
    process.board = board;
    process.descriptor = descriptor;
    process.place = place;
    storm_take_line(board, place, 0);
    atomic_store(&board->place[place].generation, atomic_fetch_add(&board->generation, 1) + 1);
    make_gate();
    while (process.segment == NULL && !storm_is_over(board))
        process.segment = open_segment();
    if (process.segment != NULL && steps == 0)
        live_with_threads();
    else if (process.segment != NULL)
        live_alone(steps);
    if (process.segment != NULL)
        close_segment(process.segment);
    exit(0);
}

/* SPDX-License-Identifier: MIT
 *
 * What the processes of a storm through the C API do, all at random:
 *
 *   own blocks     names that no other process ever asks for first; filled once; must read the same until
 * freed borrowed ones  own blocks of another process, found by for_each and attached to: they outlive their
 * maker common ones    a few names that all use; a word for each thread, see storm-board.h looking find,
 * block_of, for_each (each own block seen exactly once), stat open, close    a nested open; a real close,
 * after which everything is forgotten fork           the child holds what the forking thread held, does a
 * little of everything, and ends somehow exec, exit     at any time, with the segment open or closed, other
 * threads in the middle of something
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
#include <sys/prctl.h>
#include <unistd.h>

#include "export.h"
#include "shmcore.h"

enum { OWN = 24, COMMON = 12 };

struct own {
    void *pointer; /* NULL: free */
    size_t bytes;
    uint64_t seed;
    bool borrowed;
    char name[SHMCORE_NAME_MAX + 1];
};

struct common {
    void *pointer; /* NULL: not held */
    uint32_t count;
};

struct actor {
    unsigned number;
    bool child;
    uint64_t made;
    unsigned epoch; /* of the process: another one means that the segment was closed under us */
    struct storm_dice dice;
    struct own own[OWN];
    struct common common[COMMON];
};

static struct {
    struct storm_board *board;
    int descriptor;
    unsigned place;
    shmcore_segment *segment; /* NULL: a close was not followed by an open yet */
    unsigned epoch;
    pthread_rwlock_t gate;
    struct actor actor[STORM_THREADS];
} process;

#define COMPLAIN(...) storm_complain(process.board, __VA_ARGS__)

/* ---------------------------------------------------------------- answers */

/* An operation has ended and failed. While somebody is stopped he may hold a lock, and what the dead held
 * cannot be given back past him. */
static void judge_failure(const char *what, const char *name, int error, bool stopped)
{
    struct storm_board *board = process.board;
    if (error == EBUSY)
        atomic_fetch_add(stopped ? &board->busy : &board->busy_in_calm, 1);
    else if (error == ENOMEM)
        atomic_fetch_add(stopped ? &board->full : &board->full_in_calm, 1);
    else
        COMPLAIN("%s of '%s': %s (%s)", what, name, strerror(error), shmcore_error());
}

static void *allocate(enum storm_operation operation, const char *name, size_t bytes)
{
    storm_begin(operation);
    void *pointer = shmcore_allocate(process.segment, name, bytes);
    const bool stopped = storm_end();
    if (pointer == NULL)
        judge_failure(storm_operation_name[operation], name, errno, stopped);
    return pointer;
}

static bool deallocate(void *pointer, const char *name)
{
    storm_begin(STORM_FREE);
    const int result = shmcore_deallocate(process.segment, pointer);
    const bool stopped = storm_end();
    if (result != 0)
        judge_failure("free", name, errno, stopped);
    return result == 0;
}

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
        judge_failure("open", STORM_SEGMENT, errno, stopped);
    return segment;
}

static void close_segment(shmcore_segment *segment)
{
    storm_begin(STORM_CLOSE);
    const int result = shmcore_close(segment);
    const bool stopped = storm_end();
    if (result != 0)
        judge_failure("close", STORM_SEGMENT, errno, stopped);
}

/* ---------------------------------------------------------------- own blocks */

static size_t some_size(struct storm_dice *dice)
{
    const uint32_t kind = storm_roll(dice, 100);
    if (kind < 60)
        return storm_roll(dice, 600);
    if (kind < 90)
        return storm_roll(dice, 9000);
    return kind < 98 ? storm_roll(dice, 80000) : storm_roll(dice, 1000000);
}

static void some_name(struct actor *actor, char name[SHMCORE_NAME_MAX + 1])
{
    const unsigned long generation = atomic_load(&process.board->place[storm_place()].generation);
    const int length = snprintf(name, SHMCORE_NAME_MAX + 1, "own/%lu.%u.%lu", generation, actor->number,
                                (unsigned long)actor->made++);
    if (storm_roll(&actor->dice, 3) != 0)
        return;
    size_t longer = (size_t)length + storm_roll(&actor->dice, SHMCORE_NAME_MAX - (uint32_t)length + 1);
    memset(name + length, 'x', longer - (size_t)length);
    name[longer] = '\0';
}

static void verify(const struct own *own, const char *when)
{
    if (!storm_is_filled(own->pointer, own->bytes, own->seed))
        COMPLAIN("block '%s' of %zu bytes, %s, at %p has changed %s", own->name, own->bytes,
                 own->borrowed ? "borrowed" : "own", own->pointer, when);
}

static void make_own(struct actor *actor, struct own *own)
{
    own->bytes = some_size(&actor->dice);
    own->borrowed = false;
    some_name(actor, own->name);
    own->seed = storm_mix(storm_roll(&actor->dice, UINT32_MAX) | (uint64_t)storm_line() << 32);
    own->pointer = allocate(STORM_ALLOCATE, own->name, own->bytes);
    if (own->pointer == NULL)
        return;
    if (!storm_is_zero(own->pointer, own->bytes))
        COMPLAIN("new block '%s' of %zu bytes is not zero", own->name, own->bytes);
    storm_fill(own->pointer, own->bytes, own->seed);
}

static void drop_own(struct own *own)
{
    verify(own, "before it is freed");
    if (deallocate(own->pointer, own->name))
        own->pointer = NULL; /* else it is tried again some time */
}

static void own_step(struct actor *actor)
{
    struct own *own = &actor->own[storm_roll(&actor->dice, OWN)];
    if (own->pointer == NULL)
        make_own(actor, own);
    else
        drop_own(own);
}

static size_t common_size(unsigned number)
{
    static const size_t sizes[] = {STORM_COMMON_LEAST, 4096, 40000, 9000, 300000, STORM_COMMON_LEAST + 1000};
    return sizes[number % 6] / 8 * 8;
}

static void common_name(unsigned number, char name[SHMCORE_NAME_MAX + 1])
{
    snprintf(name, SHMCORE_NAME_MAX + 1, "common/%u%s", number,
             number % 4 == 3 ? "/with a name that does not fit the record and needs room of its own" : "");
}

/* Most of the time inside the library, and there inside a transaction: so that is where a kill hits. */
static void hammer(struct actor *actor)
{
    char name[SHMCORE_NAME_MAX + 1];
    const unsigned times = storm_roll(&actor->dice, 500);
    const size_t bytes = storm_roll(&actor->dice, 4) != 0 ? storm_roll(&actor->dice, 2000) : 40000;
    some_name(actor, name);
    for (unsigned i = 0; i < times; i++) {
        void *pointer = allocate(STORM_ALLOCATE, name, bytes);
        while (pointer != NULL && !deallocate(pointer, name)) /* or the name would be another block's */
            if (storm_is_over(process.board))
                return;
    }
}

/* The same with a block that others have, too: what is counted is references. */
static void hammer_common(struct actor *actor)
{
    char name[SHMCORE_NAME_MAX + 1];
    const unsigned number = storm_roll(&actor->dice, COMMON), times = storm_roll(&actor->dice, 300);
    common_name(number, name);
    for (unsigned i = 0; i < times; i++) {
        void *pointer = allocate(STORM_ATTACH, name, common_size(number));
        while (pointer != NULL && !deallocate(pointer, name))
            if (storm_is_over(process.board))
                return;
    }
}

/* ---------------------------------------------------------------- borrowed blocks */

struct candidates {
    struct actor *actor;
    unsigned seen[OWN], met;
    shmcore_block chosen;
};

static int meet(const shmcore_block *block, void *argument)
{
    struct candidates *candidates = argument;
    if (strncmp(block->name, "own/", 4) != 0)
        return 0;
    for (unsigned i = 0; i < OWN; i++) {
        const struct own *own = &candidates->actor->own[i];
        if (own->pointer == block->address && strcmp(own->name, block->name) == 0) {
            candidates->seen[i]++;
            return 0;
        }
    }
    if (block->owner != getpid() && block->bytes >= 2 * STORM_HEADER_BYTES &&
        storm_roll(&candidates->actor->dice, ++candidates->met) == 0)
        candidates->chosen = *block;
    return 0;
}

/* Everything that this thread holds is seen once, whatever the others do meanwhile. */
static void visit(struct actor *actor, struct candidates *candidates)
{
    *candidates = (struct candidates){.actor = actor};
    storm_begin(STORM_VISIT);
    const int result = shmcore_for_each(process.segment, meet, candidates);
    storm_end();
    if (result != 0)
        COMPLAIN("for_each: %s", shmcore_error());
    for (unsigned i = 0; i < OWN; i++)
        if (candidates->seen[i] != (actor->own[i].pointer != NULL))
            COMPLAIN("for_each met '%s' (%zu bytes, %s) %u times", actor->own[i].name, actor->own[i].bytes,
                     actor->own[i].borrowed ? "borrowed" : "own", candidates->seen[i]);
}

static void borrow(struct actor *actor)
{
    struct candidates candidates;
    struct own *own = &actor->own[storm_roll(&actor->dice, OWN)];
    visit(actor, &candidates);
    if (own->pointer != NULL || candidates.met == 0)
        return;
    const shmcore_block *block = &candidates.chosen;
    own->pointer = allocate(STORM_ATTACH, block->name, block->bytes);
    if (own->pointer == NULL)
        return;
    own->borrowed = true;
    own->bytes = block->bytes;
    strcpy(own->name, block->name);
    const int sound = storm_is_sound(own->pointer, own->bytes);
    if (sound < 0)
        COMPLAIN("borrowed block '%s' of %zu bytes is spoilt", own->name, own->bytes);
    if (sound > 0) {
        memcpy(&own->seed, own->pointer, sizeof own->seed);
        return;
    }
    if (deallocate(own->pointer,
                   own->name)) /* its maker is at it, or has died at it, or it is ours and new */
        own->pointer = NULL;
    else
        own->seed = 0;
}

/* ---------------------------------------------------------------- common blocks */

static void common_step(struct actor *actor)
{
    const unsigned number = storm_roll(&actor->dice, COMMON);
    struct common *common = &actor->common[number];
    const size_t bytes = common_size(number);
    const uint64_t seed = storm_mix(number + 1);
    const char *wrong = NULL;
    char name[SHMCORE_NAME_MAX + 1];
    common_name(number, name);
    if (common->pointer == NULL) {
        common->pointer = allocate(STORM_ATTACH, name, bytes);
        if (common->pointer != NULL)
            wrong = storm_common_begin(common->pointer, bytes, seed, &common->count);
    } else {
        wrong = storm_common_look(common->pointer, bytes, seed, &common->count);
        if (storm_roll(&actor->dice, 3) == 0 && deallocate(common->pointer, name))
            common->pointer = NULL;
    }
    if (wrong != NULL)
        COMPLAIN("common block '%s' of %zu bytes: %s", name, bytes, wrong);
}

/* ---------------------------------------------------------------- looking */

static void look(struct actor *actor)
{
    const struct own *own = &actor->own[storm_roll(&actor->dice, OWN)];
    shmcore_statistics statistics;
    shmcore_block block;
    size_t bytes = 0;
    if (own->pointer == NULL) {
        storm_begin(STORM_STATISTICS);
        const int result = shmcore_stat(process.segment, &statistics);
        storm_end();
        if (result != 0 || statistics.processes == 0 || statistics.used > statistics.capacity)
            COMPLAIN("stat: %s", shmcore_error());
        return;
    }
    verify(own, "while it was held");
    storm_begin(STORM_FIND);
    const void *found = shmcore_find(process.segment, own->name, &bytes);
    storm_end();
    if (found != own->pointer || bytes != own->bytes)
        COMPLAIN("find of '%s': %p, %zu bytes, and it is at %p with %zu", own->name, found, bytes,
                 own->pointer, own->bytes);
    storm_begin(STORM_DESCRIBE);
    const int result = shmcore_block_of(own->pointer, &block);
    storm_end();
    if (result != 0 || strcmp(block.name, own->name) != 0 || block.bytes != own->bytes || block.refs == 0)
        COMPLAIN("block_of '%s' of %zu bytes: %s", own->name, own->bytes,
                 result != 0 ? shmcore_error() : block.name);
}

/* ---------------------------------------------------------------- open, close */

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
    if (again != process.segment)
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
    storm_begin(STORM_EXIT);
    exit(0);
}

static void one_step(struct actor *actor);

/* What the forking thread held, the child holds too. */
static void look_at_heritage(struct actor *actor)
{
    for (unsigned i = 0; i < OWN; i++)
        if (actor->own[i].pointer != NULL)
            verify(&actor->own[i], "after a fork, in the child");
    for (unsigned i = 0; i < COMMON; i++) {
        struct common *common = &actor->common[i];
        const char *wrong = NULL;
        if (common->pointer != NULL)
            wrong = storm_common_begin(common->pointer, common_size(i), storm_mix(i + 1), &common->count);
        if (wrong != NULL)
            COMPLAIN("common block %u in a child: %s", i, wrong);
    }
}

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
    look_at_heritage(actor);
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
        own_step(actor);
    else if (choice < 2900)
        common_step(actor);
    else if (choice < 3500)
        look(actor);
    else if (choice < 3650)
        borrow(actor);
    else if (choice < 3750)
        hammer(actor);
    else if (choice < 3850)
        hammer_common(actor);
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

static void give_everything_back(struct actor *actor)
{
    for (unsigned i = 0; i < OWN; i++)
        if (actor->own[i].pointer != NULL)
            drop_own(&actor->own[i]);
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
        give_everything_back(actor);
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

/* SPDX-License-Identifier: MIT
 *
 * A storm: six processes of three threads each, and their children, do everything they can with one segment
 * while they are killed at random, one every few milliseconds, and now and then stopped for a while.
 *
 *     storm api|shim|merge|merge-shim [--seconds N] [--kills N] [--seed N] [--short] [--hold]
 *
 *   api    the processes use the C API: storm-api.c
 *   shim   they are a preloaded program that uses malloc: storm-victim.c
 *   merge, merge-shim
 *          they have private memory that is merged, from the C API or from malloc: storm-merge.c
 *
 * The supervisor is in no segment. It starts a process again whenever one has ended, kills, stops and lets go
 * on, and watches that no operation takes for ever. It is the subreaper, so it also buries the children of
 * the dead. When time is over three of the six come to an end by themselves, the others are killed all at
 * once, and one fresh process must find a segment that is like new and leave nothing behind.
 *
 * How long something took is printed and never a reason to fail, but for HANG, which is far beyond everything
 * that is bounded. --short: a third of the time and of the kills, but not with SHM_TESTS=long. --hold leaves
 * processes as they are after a hang, for a debugger.
 */
#include "storm.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "storm-aim.h"

#define MILLISECOND UINT64_C(1000000)
#define SECOND      (1000 * MILLISECOND)
#define HANG        (21 * SECOND) /* the patience of a lock, and what a loaded machine may add */

struct storm storm = {.seconds = 12, .kills = 1000};

/* ---------------------------------------------------------------- starting and ending processes */

static void start_worker(unsigned place)
{
    struct storm_place *mine = &storm.board->place[place];
    for (unsigned thread = 0; thread < STORM_THREADS; thread++)
        atomic_store(&mine->line[thread].operation, STORM_NOTHING);
    atomic_store(&mine->continued, storm_clock());
    atomic_store(&mine->line[0].begun, storm_clock());
    atomic_store(&mine->line[0].operation, STORM_START);
    const pid_t pid = fork();
    if (pid == 0) {
        sigset_t none;
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &none, NULL);
        storm_become_worker(place);
    }
    if (pid < 0) {
        storm_complain(storm.board, "fork: %s", strerror(errno));
        return;
    }
    storm.started++;
    atomic_store(&mine->pid, pid);
}

/* The right process, or -1: see storm-board.h. */
static int open_process(unsigned place)
{
    const _Atomic int32_t *pid = &storm.board->place[place].pid;
    const int32_t before = atomic_load(pid);
    if (before == 0)
        return -1;
    const int descriptor = (int)syscall(SYS_pidfd_open, before, 0);
    if (descriptor >= 0 && atomic_load(pid) == before)
        return descriptor;
    if (descriptor >= 0)
        close(descriptor);
    return -1;
}

/* A zombie takes signals, too, but nothing comes of them. */
static bool has_ended(int32_t pid)
{
    char path[64], text[512];
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    FILE *file = fopen(path, "r");
    const size_t got = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
    text[got] = '\0';
    if (file != NULL)
        fclose(file);
    const char *name_ends = strrchr(text, ')');
    return name_ends == NULL || name_ends[1] != ' ' || name_ends[2] == 'Z' || name_ends[2] == 'X';
}

static bool send(unsigned place, int signal)
{
    const int descriptor = open_process(place);
    if (descriptor < 0)
        return false;
    const bool sent = !has_ended(atomic_load(&storm.board->place[place].pid)) &&
                      syscall(SYS_pidfd_send_signal, descriptor, signal, NULL, 0) == 0;
    close(descriptor);
    return sent;
}

/* A place that is in use, at random; STORM_PLACES: there is none. Who is stopped is let alone, or it would
 * never last for long. */
static unsigned some_place(void)
{
    unsigned chosen = STORM_PLACES, met = 0;
    for (unsigned i = 0; i < STORM_PLACES; i++) {
        const struct storm_place *place = &storm.board->place[i];
        if (atomic_load(&place->pid) != 0 && !atomic_load(&place->stopped) &&
            storm_roll(&storm.dice, ++met) == 0)
            chosen = i;
    }
    return chosen;
}

/* Half of the time somebody who holds a lock, if there is one. */
static unsigned some_target(void)
{
    unsigned place = STORM_PLACES;
    if (storm_roll(&storm.dice, 2) == 0)
        place = storm_holder(storm.board);
    return place != STORM_PLACES && !atomic_load(&storm.board->place[place].stopped) ? place : some_place();
}

static bool kill_one(void)
{
    const unsigned place = some_target();
    if (place == STORM_PLACES)
        return false;
    atomic_store(&storm.board->last_kill, storm_clock());
    const bool sent = send(place, SIGKILL);
    storm.killed += sent;
    storm.killed_inside += sent && storm_holds(storm.board, place);
    return sent;
}

/* ---------------------------------------------------------------- stopping */

static void let_go_on(struct storm_stop *stop)
{
    struct storm_place *place = &storm.board->place[stop->place];
    stop->until = 0;
    if (storm_roll(&storm.dice, 3) == 0) {
        storm.killed += send(stop->place, SIGKILL);
        return; /* it counts as stopped until it is buried */
    }
    atomic_store(&place->continued, storm_clock());
    send(stop->place, SIGCONT);
    if (!atomic_exchange(&place->stopped, false))
        return;
    atomic_store(&storm.board->last_continue, storm_clock());
    atomic_fetch_sub(&storm.board->stopped_now, 1);
}

/* Most stops are short and hit nobody who holds a lock. One that does is made longer than anybody
 * waits for a lock; not too often, for the others get little done meanwhile. */
static bool make_longer(struct storm_stop *stop, uint64_t now)
{
    if (stop->long_one || now < storm.next_long_stop || !storm_holds(storm.board, stop->place))
        return false;
    stop->long_one = true;
    stop->until = now + (1100 + storm_roll(&storm.dice, 900)) * MILLISECOND;
    storm.next_long_stop = stop->until + 3 * SECOND;
    storm.next_kill = stop->until; /* or nobody would live long enough to lose patience */
    storm.long_stops++;
    return true;
}

static void stop_one(struct storm_stop *stop, uint64_t now)
{
    const unsigned place = some_target();
    if (place == STORM_PLACES || has_ended(atomic_load(&storm.board->place[place].pid)) ||
        atomic_exchange(&storm.board->place[place].stopped, true))
        return;
    atomic_fetch_add(&storm.board->stopped_now, 1);
    atomic_store(&storm.board->last_stop, storm_clock());
    storm.stopped += send(place, SIGSTOP);
    *stop = (struct storm_stop){.place = place};
    stop->until = now + (5 + storm_roll(&storm.dice, 30)) * MILLISECOND;
}

static void stop_some(uint64_t now)
{
    for (unsigned i = 0; i < STORM_STOPS; i++) {
        struct storm_stop *stop = &storm.stop[i];
        if (stop->until != 0 && now >= stop->until && !make_longer(stop, now))
            let_go_on(stop);
    }
    struct storm_stop *stop = &storm.stop[storm_roll(&storm.dice, STORM_STOPS)];
    if (now < storm.next_stop)
        return;
    storm.next_stop = now + (20 + storm_roll(&storm.dice, 150)) * MILLISECOND;
    if (stop->until == 0)
        stop_one(stop, now);
}

/* Whoever is stopped when the storm ends, or whose place was taken over meanwhile. */
static void let_all_go_on(void)
{
    for (unsigned i = 0; i < STORM_STOPS; i++)
        storm.stop[i].until = 0;
    for (unsigned i = 0; i < STORM_PLACES; i++) {
        struct storm_place *place = &storm.board->place[i];
        if (atomic_exchange(&place->stopped, false)) {
            atomic_store(&place->continued, storm_clock());
            atomic_store(&storm.board->last_continue, storm_clock());
            atomic_fetch_sub(&storm.board->stopped_now, 1);
        }
        send(i, SIGCONT);
    }
}

/* ---------------------------------------------------------------- nobody hangs */

static void print_file(int32_t pid, int32_t thread, const char *name)
{
    char path[96], text[2048];
    snprintf(path, sizeof path, "/proc/%d/task/%d/%s", pid, thread, name);
    FILE *file = fopen(path, "r");
    const size_t got = file != NULL ? fread(text, 1, sizeof text - 1, file) : 0;
    text[got] = '\0';
    fprintf(stderr, "%s:\n%s\n", path, text);
    if (file != NULL)
        fclose(file);
}

static void report_hang(unsigned place, unsigned thread, uint64_t nanoseconds)
{
    static const char *const files[] = {"wchan", "syscall", "stack", "status"};
    const struct storm_place *at = &storm.board->place[place];
    const struct storm_line *line = &at->line[thread];
    const int32_t pid = atomic_load(&at->pid), number = atomic_load(&line->thread);
    storm_complain(storm.board, "process %d in place %u, thread %u (%d), hangs: %s for %" PRIu64 " ms", pid,
                   place, thread, number, storm_operation_name[atomic_load(&line->operation)],
                   nanoseconds / MILLISECOND);
    for (unsigned i = 0; i < sizeof files / sizeof files[0]; i++)
        print_file(pid, number, files[i]);
    if (storm.hold) {
        fprintf(stderr, "held; end me (%d) when you have looked\n", (int)getpid());
        pause();
    }
}

static bool somebody_hangs(void)
{
    for (unsigned i = 0; i < STORM_LINES; i++) {
        const struct storm_place *place = &storm.board->place[i / STORM_THREADS];
        const struct storm_line *line = &place->line[i % STORM_THREADS];
        const uint64_t begun = atomic_load(&line->begun), continued = atomic_load(&place->continued);
        if (atomic_load(&line->operation) == STORM_NOTHING || atomic_load(&place->pid) == 0 ||
            atomic_load(&place->stopped))
            continue;
        const uint64_t since = begun > continued ? begun : continued, now = storm_clock();
        if (now < since + HANG)
            continue;
        report_hang(i / STORM_THREADS, i % STORM_THREADS, now - since);
        return true;
    }
    return false;
}

/* ---------------------------------------------------------------- the storm */

static void wait_until(uint64_t when)
{
    const uint64_t now = storm_clock();
    const uint64_t left = when > now ? when - now : 0;
    const struct timespec most = {.tv_sec = (time_t)(left / SECOND), .tv_nsec = (long)(left % SECOND)};
    sigset_t child;
    sigemptyset(&child);
    sigaddset(&child, SIGCHLD);
    sigtimedwait(&child, NULL, &most);
}

static void bury_and_replace(void)
{
    storm_bury(storm.board, false);
    for (unsigned i = 0; i < STORM_WORKERS; i++)
        if (atomic_load(&storm.board->place[i].pid) == 0)
            start_worker(i);
}

static bool has_failed(void)
{
    return atomic_load(&storm.board->failures) > 0;
}

/* At the latest after a few milliseconds, for the sake of those who end by themselves and of stops. */
static uint64_t next_event(uint64_t now)
{
    const uint64_t soon = now + 2 * MILLISECOND;
    return storm.next_kill > now && storm.next_kill < soon ? storm.next_kill : soon;
}

static bool has_seen_enough(void)
{
    return storm.killed >= storm.kills && (!storm.merge || atomic_load(&storm.board->merged) > 0);
}

/* Mean distance of two kills such that there are enough in time; on a machine that is too slow for it, or for
 * memory to be merged, the storm takes longer. */
static void rage(void)
{
    const uint64_t start = storm_clock(), end = start + storm.seconds * SECOND;
    const uint64_t mean = storm.seconds * SECOND / (storm.kills + storm.kills / 2 + 1);
    uint64_t next_look = start;
    storm.next_kill = start + SECOND / 10;
    storm.next_stop = storm.next_long_stop = start + SECOND / 2;
    for (uint64_t now = start; (now < end || !has_seen_enough()) && !has_failed(); now = storm_clock()) {
        bury_and_replace();
        if (now >= storm.next_kill && kill_one())
            storm.next_kill += storm_roll(&storm.dice, (uint32_t)(2 * mean));
        stop_some(now);
        if (now >= next_look) {
            next_look = now + SECOND / 4;
            if (somebody_hangs())
                return;
        }
        wait_until(next_event(now));
    }
}

/* Half of them end by themselves, with everything verified and given back, while the others rage on. */
static void let_half_end(void)
{
    bool hangs = false;
    let_all_go_on();
    atomic_store(&storm.board->ending, STORM_WORKERS / 2);
    for (unsigned i = 0; i < STORM_WORKERS / 2 && !hangs; i++)
        while (atomic_load(&storm.board->place[i].pid) != 0 && !hangs) {
            wait_until(storm_clock() + SECOND / 10);
            storm_bury(storm.board, false);
            hangs = somebody_hangs();
        }
}

/* Again and again, for a child may just have been born. */
static void kill_the_rest(void)
{
    while (storm_bury(storm.board, false) >= 0) {
        for (unsigned i = 0; i < STORM_PLACES; i++)
            send(i, SIGKILL);
        wait_until(storm_clock() + SECOND / 100);
    }
}

/* ---------------------------------------------------------------- what is told */

static double milliseconds(uint64_t nanoseconds)
{
    return (double)nanoseconds / (double)MILLISECOND;
}

static unsigned worst_of(enum storm_weather weather, unsigned first, unsigned last)
{
    unsigned which = first;
    for (unsigned i = first; i <= last; i++)
        if (i != STORM_EXEC &&
            atomic_load(&storm.board->worst[weather][i]) > atomic_load(&storm.board->worst[weather][which]))
            which = i;
    return which;
}

/* Opening, closing and forking do much beside; what allocates, attaches, frees and finds waits for a lock
 * alone. */
static void print_worst(enum storm_weather weather, const char *what)
{
    const struct storm_board *board = storm.board;
    const unsigned any = worst_of(weather, STORM_OPEN, STORM_OPERATIONS - 1);
    const unsigned lock = worst_of(weather, STORM_ALLOCATE, STORM_FIND);
    printf(", worst %s %.1f ms in %s (%.1f ms without the wait for a processor), %.1f ms in %s", what,
           milliseconds(atomic_load(&board->worst[weather][any])), storm_operation_name[any],
           milliseconds(atomic_load(&board->worst_waiting[weather])),
           milliseconds(atomic_load(&board->worst[weather][lock])), storm_operation_name[lock]);
}

static void print_summary(const char *kind)
{
    const struct storm_board *board = storm.board;
    uint64_t operations = 0;
    for (unsigned i = 0; i < STORM_LINES; i++)
        operations += atomic_load(&board->place[i / STORM_THREADS].line[i % STORM_THREADS].count);
    printf("storm %s, seed %" PRIu64 ": %u processes started and %" PRIu64 " forked, %" PRIu64
           " execs, %" PRIu64
           " exits, %u kills (%u with a lock held), %u stops (%u long, with a lock held), %" PRIu64
           " operations",
           kind, board->seed, storm.started, atomic_load(&board->forks), atomic_load(&board->execs),
           atomic_load(&board->exits), storm.killed, storm.killed_inside, storm.stopped, storm.long_stops,
           operations);
    printf(", EBUSY %" PRIu64 " (+%" PRIu64 " with nobody stopped), ENOMEM %" PRIu64 " (+%" PRIu64 ")",
           atomic_load(&board->busy), atomic_load(&board->busy_in_calm), atomic_load(&board->full),
           atomic_load(&board->full_in_calm));
    printf(", children without a row %" PRIu64, atomic_load(&board->apart));
    if (atomic_load(&board->routed) > 0)
        printf(", blocks %" PRIu64 " in the segment, %" PRIu64 " not", atomic_load(&board->routed),
               atomic_load(&board->passed));
    if (storm.merge)
        printf(", %" PRIu64 " pages seen merged, %" PRIu64 " not", atomic_load(&board->merged),
               atomic_load(&board->unmerged));
    print_worst(STORM_CALM, "wait");
    print_worst(STORM_KILL, "after a kill");
    print_worst(STORM_STOP, "under a stop");
    printf("; left: %u rows for gc, %u promises of dead parents, %u loose regions; %" PRIu64 " failures\n",
           board->left_rows, board->left_promises, board->left_loose, atomic_load(&board->failures));
}

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "worker") == 0)
        storm_continue_as_worker(count, arguments);
    if (!storm_read_arguments(count, arguments) || !storm_prepare(arguments[1]))
        return 2;
    setvbuf(stdout, NULL, _IOLBF, 0);
    printf("storm %s --seed %" PRIu64 " in %s\n", arguments[1], storm.board->seed, storm.board->directory);
    if (!storm_run_apart(storm_measure))
        return 1;
    rage();
    let_half_end();
    kill_the_rest();
    if (!has_failed())
        storm_run_apart(storm_look);
    storm_look_at_directory();
    print_summary(arguments[1]);
    return has_failed() ? 1 : 0;
}

/* SPDX-License-Identifier: MIT
 *
 * Sleeps of the victim merge-writers that end by something that happens: what the launcher does (`woken_*`),
 * or a signal of the program's own (`alarmed_*`). Each checks that it ended by that and nothing else.
 */
#include "merge-writers.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>

/* ---------------------------------------------------------------- until something happens */

static void end_wait(struct writer *writer, bool good, const char *what)
{
    count_wake(writer);
    if (!good)
        failed(writer, what);
}

enum { LONG_MILLISECONDS = 600000 }; /* never over */

/* Without a timeout; else with one that is never over. */
static bool for_ever(const struct writer *writer)
{
    return writer->step / writer->kind->stride % 2 == 0;
}

void woken_epoll(struct writer *writer, uint64_t until)
{
    (void)until;
    struct epoll_event event;
    end_wait(writer, epoll_wait(writer->epoll, &event, 1, for_ever(writer) ? -1 : LONG_MILLISECONDS) == 1,
             "epoll_wait");
}

void woken_epoll_pwait(struct writer *writer, uint64_t until)
{
    (void)until;
    struct epoll_event event;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    const int timeout = for_ever(writer) ? -1 : LONG_MILLISECONDS;
    end_wait(writer, epoll_pwait(writer->epoll, &event, 1, timeout, &mask) == 1, "epoll_pwait");
}

void woken_poll(struct writer *writer, uint64_t until)
{
    (void)until;
    struct pollfd fed = {writer->fed, POLLIN, 0};
    end_wait(writer, poll(&fed, 1, for_ever(writer) ? -1 : LONG_MILLISECONDS) == 1, "poll");
}

void woken_ppoll(struct writer *writer, uint64_t until)
{
    (void)until;
    struct pollfd fed = {writer->fed, POLLIN, 0};
    const struct timespec length = timespec_of(LONG_MILLISECONDS * MILLISECOND);
    end_wait(writer, ppoll(&fed, 1, for_ever(writer) ? NULL : &length, NULL) == 1, "ppoll");
}

void woken_select(struct writer *writer, uint64_t until)
{
    (void)until;
    fd_set set = set_of(writer->fed);
    struct timeval length = {LONG_MILLISECONDS / 1000, 0};
    const int found = select(writer->fed + 1, &set, NULL, NULL, for_ever(writer) ? NULL : &length);
    end_wait(writer, found == 1, "select");
}

void woken_semaphore(struct writer *writer, uint64_t until)
{
    (void)until;
    sem_t *bell = &control->rank[writer->rank].bell[writer->number];
    const struct timespec end = timespec_of(now_of(CLOCK_REALTIME) + LONG_MILLISECONDS * MILLISECOND);
    const int answer = for_ever(writer) ? sem_wait(bell) : sem_timedwait(bell, &end);
    end_wait(writer, answer == 0, "sem_wait");
}

void woken_condition(struct writer *writer, uint64_t until)
{
    (void)until;
    struct rank *rank = &control->rank[writer->rank];
    const struct timespec end = timespec_of(now_of(CLOCK_REALTIME) + LONG_MILLISECONDS * MILLISECOND);
    int error = 0;
    pthread_mutex_lock(&rank->mutex);
    while (error == 0 && rank->announced <= writer->step)
        error = for_ever(writer) ? pthread_cond_wait(&rank->condition, &rank->mutex)
                                 : pthread_cond_timedwait(&rank->condition, &rank->mutex, &end);
    pthread_mutex_unlock(&rank->mutex);
    errno = error;
    end_wait(writer, error == 0, "pthread_cond_wait");
}

void woken_sigwaitinfo(struct writer *writer, uint64_t until)
{
    (void)until;
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, KNOCK);
    const struct timespec length = timespec_of(LONG_MILLISECONDS * MILLISECOND);
    const int got = for_ever(writer) ? sigwaitinfo(&set, NULL) : sigtimedwait(&set, NULL, &length);
    end_wait(writer, got == KNOCK, "sigwaitinfo");
}

void woken_sigsuspend(struct writer *writer, uint64_t until)
{
    (void)until;
    sigset_t mask;
    pthread_sigmask(SIG_SETMASK, NULL, &mask);
    sigdelset(&mask, RING);
    /* One ring a turn: none more, and if there were, the turn it was for would wait for ever. */
    const int due = (int)(writer->step / writer->kind->stride) + 1;
    while (writer->rings < due) {
        const int before = writer->rings;
        sigsuspend(&mask);
        if (writer->rings == before)
            report(writer, FAULT_EINTR, "sigsuspend returned without a signal");
        else if (writer->rings != before + 1)
            report(writer, FAULT_OTHER, "sigsuspend took two signals");
    }
    count_wake(writer);
}

/* ---------------------------------------------------------------- until a signal of the program's own */

enum { ALARM_EACH = 2, ALARMS_MOST = 500 };

/* Alarms for this thread alone, from `until` on, again and again: one that comes too soon for the call is
 * followed by another. */
static bool set_alarm(struct writer *writer, int signal_number, uint64_t first)
{
    struct sigevent event = {.sigev_notify = SIGEV_THREAD_ID, .sigev_signo = signal_number};
    event._sigev_un._tid = (pid_t)syscall(SYS_gettid);
    if (!writer->has_timer && timer_create(CLOCK_MONOTONIC, &event, &writer->timer) != 0) {
        failed(writer, "timer_create");
        return false;
    }
    writer->has_timer = true;
    const struct itimerspec times = {.it_interval = timespec_of(first == 0 ? 0 : ALARM_EACH * MILLISECOND),
                                     .it_value = timespec_of(first)};
    if (first != 0)
        writer->alarms = 0;
    timer_settime(writer->timer, 0, &times, NULL);
    return true;
}

static void end_alarms(struct writer *writer)
{
    writer->alarms_most = 0;
    set_alarm(writer, 0, 0);
    count_wake(writer);
}

/* A call that sleeps without end. What an alarm interrupts returns EINTR, and nothing else interrupts it. */
static void be_alarmed(struct writer *writer, uint64_t until, const char *what, int call(struct writer *))
{
    if (writer->tally->faults[FAULT_HIDDEN] > 2) /* each takes its time, and that is enough */
        return;
    if (!set_alarm(writer, SIGALRM, time_left(until)))
        return;
    if (sigsetjmp(writer->out, 1) == 0) {
        writer->alarms_most = ALARMS_MOST;
        errno = 0;
        const int answer = call(writer);
        if (answer != -1 || errno != EINTR)
            failed(writer, what);
        else if (writer->alarms == 0)
            failed(writer, what);
    } else
        report(writer, FAULT_HIDDEN, what);
    end_alarms(writer);
}

static int call_recv(struct writer *writer)
{
    char byte;
    return (int)recv(writer->silent[1], &byte, 1, 0);
}

static int call_epoll(struct writer *writer)
{
    struct epoll_event event;
    return epoll_wait(writer->epoll, &event, 1, -1);
}

static int call_pause(struct writer *writer)
{
    (void)writer;
    return pause();
}

static int call_nanosleep(struct writer *writer)
{
    const struct timespec length = timespec_of(LONG_MILLISECONDS * MILLISECOND);
    struct timespec left = {0, 0};
    const int answer = nanosleep(&length, &left);
    if (answer == -1 && (left.tv_sec <= 0 || left.tv_sec >= length.tv_sec))
        report(writer, FAULT_OTHER, "nanosleep says wrongly what is left");
    return answer;
}

void alarmed_recv(struct writer *writer, uint64_t until)
{
    be_alarmed(writer, until, "recv", call_recv);
}

void alarmed_epoll(struct writer *writer, uint64_t until)
{
    be_alarmed(writer, until, "epoll_wait", call_epoll);
}

void alarmed_pause(struct writer *writer, uint64_t until)
{
    be_alarmed(writer, until, "pause", call_pause);
}

void alarmed_nanosleep(struct writer *writer, uint64_t until)
{
    be_alarmed(writer, until, "nanosleep", call_nanosleep);
}

/* What is restarted after a handler with SA_RESTART. The byte stays for later. */
void alarmed_restarting(struct writer *writer, uint64_t until)
{
    (void)until;
    if (!set_alarm(writer, SIGUSR1, ALARM_EACH * MILLISECOND))
        return;
    unsigned char byte;
    const ssize_t got = recv(writer->fed, &byte, 1, MSG_PEEK);
    if (got != 1)
        failed(writer, "recv");
    end_alarms(writer);
}

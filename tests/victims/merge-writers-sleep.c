/* SPDX-License-Identifier: MIT
 *
 * Sleeps of the victim merge-writers that end when their time is over, and not before. Which calls there are
 * follows signal(7): those that a signal ends with EINTR even when its handler has SA_RESTART.
 */
#include "merge-writers.h"

#include <poll.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/sem.h>
#include <sys/socket.h>

/* ---------------------------------------------------------------- until a time */

struct nap {
    uint64_t from, length; /* nanoseconds */
};

static struct nap begin_nap(uint64_t until, uint64_t unit)
{
    const uint64_t from = now();
    return (struct nap){from, time_left(until) / unit * unit};
}

/* `slack`: how much too early the kernel may be of its own. */
static void end_nap(struct writer *writer, struct nap nap, bool good, const char *what, uint64_t slack)
{
    const uint64_t slept = now() - nap.from;
    count_wake(writer);
    if (!good)
        failed(writer, what);
    else if (slept + slack < nap.length) {
        char text[120];
        snprintf(text, sizeof text, "%s: after %llu us instead of %llu", what,
                 (unsigned long long)slept / 1000, (unsigned long long)nap.length / 1000);
        report(writer, FAULT_EARLY, text);
    }
}

static int milliseconds(struct nap nap)
{
    return (int)(nap.length / MILLISECOND);
}

void nap_epoll(struct writer *writer, uint64_t until)
{
    struct epoll_event event;
    const struct nap nap = begin_nap(until, MILLISECOND);
    const int found = epoll_wait(writer->epoll, &event, 1, milliseconds(nap));
    end_nap(writer, nap, found == 0, "epoll_wait", 0);
}

void nap_poll(struct writer *writer, uint64_t until)
{
    struct pollfd silent = {writer->silent[0], POLLIN, 0};
    const struct nap nap = begin_nap(until, MILLISECOND);
    const int found = poll(&silent, 1, milliseconds(nap));
    end_nap(writer, nap, found == 0, "poll", 0);
}

void nap_ppoll(struct writer *writer, uint64_t until)
{
    struct pollfd silent = {writer->silent[0], POLLIN, 0};
    const struct nap nap = begin_nap(until, 1);
    const struct timespec length = timespec_of(nap.length);
    const int found = ppoll(&silent, 1, &length, NULL);
    end_nap(writer, nap, found == 0, "ppoll", 0);
}

fd_set set_of(int descriptor)
{
    fd_set set;
    FD_ZERO(&set);
    FD_SET(descriptor, &set);
    return set;
}

void nap_select(struct writer *writer, uint64_t until)
{
    fd_set set = set_of(writer->silent[0]);
    const struct nap nap = begin_nap(until, 1000);
    struct timeval length = {0, (suseconds_t)(nap.length / 1000)};
    while (length.tv_usec >= 1000000) {
        length.tv_sec++;
        length.tv_usec -= 1000000;
    }
    const int found = select(writer->silent[0] + 1, &set, NULL, NULL, &length);
    end_nap(writer, nap, found == 0, "select", 0);
}

void nap_pselect(struct writer *writer, uint64_t until)
{
    fd_set set = set_of(writer->silent[0]);
    const struct nap nap = begin_nap(until, 1);
    const struct timespec length = timespec_of(nap.length);
    const int found = pselect(writer->silent[0] + 1, &set, NULL, NULL, &length, NULL);
    end_nap(writer, nap, found == 0, "pselect", 0);
}

void nap_nanosleep(struct writer *writer, uint64_t until)
{
    const struct nap nap = begin_nap(until, 1);
    const struct timespec length = timespec_of(nap.length);
    const int answer = nanosleep(&length, NULL);
    end_nap(writer, nap, answer == 0, "nanosleep", 0);
}

void nap_clock(struct writer *writer, uint64_t until)
{
    const struct nap nap = begin_nap(until, 1);
    const struct timespec length = timespec_of(nap.length);
    errno = clock_nanosleep(CLOCK_MONOTONIC, 0, &length, NULL);
    end_nap(writer, nap, errno == 0, "clock_nanosleep", 0);
}

void nap_clock_absolute(struct writer *writer, uint64_t until)
{
    const struct nap nap = begin_nap(until, 1);
    const struct timespec end = timespec_of(nap.from + nap.length);
    errno = clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &end, NULL);
    end_nap(writer, nap, errno == 0, "clock_nanosleep", 0);
}

void nap_usleep(struct writer *writer, uint64_t until)
{
    const struct nap nap = begin_nap(until, 1000);
    const int answer = usleep((useconds_t)(nap.length / 1000));
    end_nap(writer, nap, answer == 0, "usleep", 0);
}

/* Timeouts of sockets are counted in ticks of the kernel, of up to 10 ms. */
static const uint64_t TICK = 10000000;

static struct nap set_timeout(int socket, int which, uint64_t until)
{
    const struct nap nap = begin_nap(until, 1000);
    const struct timeval length = {(time_t)(nap.length / SECOND), (suseconds_t)(nap.length % SECOND / 1000)};
    setsockopt(socket, SOL_SOCKET, which, &length, sizeof length);
    return nap;
}

void nap_recv(struct writer *writer, uint64_t until)
{
    char byte;
    const struct nap nap = set_timeout(writer->silent[0], SO_RCVTIMEO, until);
    const bool good = recv(writer->silent[0], &byte, 1, 0) == -1 && errno == EAGAIN;
    end_nap(writer, nap, good, "recv", TICK);
}

void nap_read(struct writer *writer, uint64_t until)
{
    char byte;
    const struct nap nap = set_timeout(writer->silent[0], SO_RCVTIMEO, until);
    const bool good = read(writer->silent[0], &byte, 1) == -1 && errno == EAGAIN;
    end_nap(writer, nap, good, "read", TICK);
}

void nap_send(struct writer *writer, uint64_t until)
{
    const struct nap nap = set_timeout(writer->stuffed, SO_SNDTIMEO, until);
    const bool good = send(writer->stuffed, &nap, sizeof nap, 0) == -1 && errno == EAGAIN;
    end_nap(writer, nap, good, "send", TICK);
}

void nap_accept(struct writer *writer, uint64_t until)
{
    static const sa_family_t unnamed = AF_UNIX; /* the kernel finds a name that nobody else has */
    static int listener = -1;
    if (listener < 0) {
        listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(listener, (const struct sockaddr *)&unnamed, sizeof unnamed) != 0 ||
            listen(listener, 1) != 0)
            failed(writer, "listen");
    }
    const struct nap nap = set_timeout(listener, SO_RCVTIMEO, until);
    const bool good = accept(listener, NULL, NULL) == -1 && errno == EAGAIN;
    end_nap(writer, nap, good, "accept", TICK);
}

/* These look at a clock that can be set, so that is asked, too. */
static void end_appointment(struct writer *writer, uint64_t time, int error, const char *what)
{
    count_wake(writer);
    errno = error;
    if (error != ETIMEDOUT)
        failed(writer, what);
    else if (now_of(CLOCK_REALTIME) < time)
        report(writer, FAULT_EARLY, what);
}

static uint64_t appointment(uint64_t until)
{
    return now_of(CLOCK_REALTIME) + time_left(until);
}

void nap_semaphore(struct writer *writer, uint64_t until)
{
    const uint64_t time = appointment(until);
    const struct timespec end = timespec_of(time);
    const int error = sem_timedwait(&control->rank[writer->rank].bell[writer->number], &end) == 0 ? 0 : errno;
    end_appointment(writer, time, error, "sem_timedwait");
}

void nap_condition(struct writer *writer, uint64_t until)
{
    static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
    static pthread_cond_t never = PTHREAD_COND_INITIALIZER;
    const uint64_t time = appointment(until);
    const struct timespec end = timespec_of(time);
    int error;
    pthread_mutex_lock(&mutex);
    do
        error = pthread_cond_timedwait(&never, &mutex, &end);
    while (error == 0); /* it may wake for no reason */
    pthread_mutex_unlock(&mutex);
    end_appointment(writer, time, error, "pthread_cond_timedwait");
}

void nap_sigtimedwait(struct writer *writer, uint64_t until)
{
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, KNOCK);
    const struct nap nap = begin_nap(until, 1);
    const struct timespec length = timespec_of(nap.length);
    const bool good = sigtimedwait(&set, NULL, &length) == -1 && errno == EAGAIN;
    end_nap(writer, nap, good, "sigtimedwait", 0);
}

bool possible_semtimedop(struct writer *writer)
{
    (void)writer;
    return control->semaphores >= 0;
}

void nap_semtimedop(struct writer *writer, uint64_t until)
{
    struct sembuf take = {0, -1, 0};
    const struct nap nap = begin_nap(until, 1);
    const struct timespec length = timespec_of(nap.length);
    const bool good = semtimedop(control->semaphores, &take, 1, &length) == -1 && errno == EAGAIN;
    end_nap(writer, nap, good, "semtimedop", TICK);
}

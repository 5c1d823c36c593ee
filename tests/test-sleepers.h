/* SPDX-License-Identifier: MIT
 *
 * Threads that wait in one system call, of many kinds, until they are woken by what they wait for; for tests
 * that disturb them meanwhile. To be included after cmocka.h.
 */
#ifndef SHM_TEST_SLEEPERS_H
#define SHM_TEST_SLEEPERS_H

#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "os.h"

#define LONG_MS 60000
#define NAP_NS  UINT64_C(60000000)

struct sleeper {
    const struct kind *kind;
    pthread_t thread;
    _Atomic int32_t tid; /* when it is about to make the call */
    _Atomic bool over;
    int ends[2];
    sem_t semaphore;
    long result;
    int code;
    uint64_t slept;
};

struct kind {
    const char *name;
    long number; /* of the system call */
    long (*call)(struct sleeper *sleeper);
    long expected;
    enum { BYTE, POST, BY_ITSELF } waker;
};

static inline long call_read(struct sleeper *sleeper)
{
    char byte;
    return read(sleeper->ends[0], &byte, 1);
}

static inline long call_recv(struct sleeper *sleeper)
{
    char byte;
    return recv(sleeper->ends[0], &byte, 1, 0);
}

static inline long call_recv_timed(struct sleeper *sleeper)
{
    const struct timeval patience = {.tv_sec = LONG_MS / 1000};
    setsockopt(sleeper->ends[0], SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    return call_recv(sleeper);
}

static inline long call_poll(struct sleeper *sleeper)
{
    struct pollfd wanted = {.fd = sleeper->ends[0], .events = POLLIN};
    return poll(&wanted, 1, -1);
}

static inline long call_poll_timed(struct sleeper *sleeper)
{
    struct pollfd wanted = {.fd = sleeper->ends[0], .events = POLLIN};
    return poll(&wanted, 1, LONG_MS);
}

static inline long call_ppoll(struct sleeper *sleeper)
{
    const struct timespec patience = {.tv_sec = LONG_MS / 1000};
    struct pollfd wanted = {.fd = sleeper->ends[0], .events = POLLIN};
    return ppoll(&wanted, 1, &patience, NULL);
}

static inline long wait_with_epoll(const struct sleeper *sleeper, int patience)
{
    struct epoll_event event = {.events = EPOLLIN};
    const int epoll = epoll_create1(EPOLL_CLOEXEC);
    epoll_ctl(epoll, EPOLL_CTL_ADD, sleeper->ends[0], &event);
    const long found = epoll_wait(epoll, &event, 1, patience);
    const int code = errno;
    close(epoll);
    errno = code;
    return found;
}

static inline long call_epoll(struct sleeper *sleeper)
{
    return wait_with_epoll(sleeper, -1);
}

static inline long call_epoll_timed(struct sleeper *sleeper)
{
    return wait_with_epoll(sleeper, LONG_MS);
}

static inline long call_select(struct sleeper *sleeper)
{
    struct timeval patience = {.tv_sec = LONG_MS / 1000};
    fd_set wanted;
    FD_ZERO(&wanted);
    FD_SET(sleeper->ends[0], &wanted);
    return select(sleeper->ends[0] + 1, &wanted, NULL, NULL, &patience);
}

static inline long call_sem_wait(struct sleeper *sleeper)
{
    return sem_wait(&sleeper->semaphore);
}

static inline long call_sem_timedwait(struct sleeper *sleeper)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += LONG_MS / 1000;
    return sem_timedwait(&sleeper->semaphore, &until);
}

static inline long call_nanosleep(struct sleeper *sleeper)
{
    const struct timespec length = {.tv_nsec = NAP_NS};
    struct timespec left = {.tv_nsec = 1};
    (void)sleeper;
    return nanosleep(&length, &left);
}

static inline long call_sleep_until(struct sleeper *sleeper)
{
    struct timespec until;
    (void)sleeper;
    clock_gettime(CLOCK_MONOTONIC, &until);
    until.tv_nsec += (long)NAP_NS;
    until.tv_sec += until.tv_nsec / 1000000000;
    until.tv_nsec %= 1000000000;
    return clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &until, NULL);
}

static inline long call_poll_nap(struct sleeper *sleeper)
{
    struct pollfd wanted = {.fd = sleeper->ends[0], .events = POLLIN};
    return poll(&wanted, 1, (int)(NAP_NS / 1000000));
}

static inline long call_epoll_nap(struct sleeper *sleeper)
{
    return wait_with_epoll(sleeper, (int)(NAP_NS / 1000000));
}

static const struct kind kinds[] = {
    {"read", SYS_read, call_read, 1, BYTE},
    {"recv", SYS_recvfrom, call_recv, 1, BYTE},
    {"recv with a timeout", SYS_recvfrom, call_recv_timed, 1, BYTE},
    {"poll", SYS_poll, call_poll, 1, BYTE},
    {"poll with a timeout", SYS_poll, call_poll_timed, 1, BYTE},
    {"ppoll", SYS_ppoll, call_ppoll, 1, BYTE},
    {"epoll_wait", SYS_epoll_wait, call_epoll, 1, BYTE},
    {"epoll_wait with a timeout", SYS_epoll_wait, call_epoll_timed, 1, BYTE},
    {"select", SYS_pselect6, call_select, 1, BYTE},
    {"sem_wait", SYS_futex, call_sem_wait, 0, POST},
    {"sem_timedwait", SYS_futex, call_sem_timedwait, 0, POST},
    {"nanosleep", SYS_clock_nanosleep, call_nanosleep, 0, BY_ITSELF},
    {"clock_nanosleep until a time", SYS_clock_nanosleep, call_sleep_until, 0, BY_ITSELF},
    {"poll until its time is over", SYS_poll, call_poll_nap, 0, BY_ITSELF},
    {"epoll_wait until its time is over", SYS_epoll_wait, call_epoll_nap, 0, BY_ITSELF},
};

static inline void *sleep_in_call(void *argument)
{
    struct sleeper *sleeper = argument;
    atomic_store(&sleeper->tid, os_thread());
    const uint64_t start = os_clock();
    errno = 0;
    sleeper->result = sleeper->kind->call(sleeper);
    sleeper->code = errno;
    sleeper->slept = os_clock() - start;
    atomic_store(&sleeper->over, true);
    return NULL;
}

/* It is in the call when this returns, or in the wait for the rest of a timeout that a handler of ours makes
 * for it; or it is over already. */
static inline void await_call(struct sleeper *sleeper, struct os_call *out)
{
    do {
        sched_yield();
        out->number = -1;
        if (atomic_load(&sleeper->tid) != 0)
            os_thread_call(sleeper->tid, out);
    } while (out->number != sleeper->kind->number && out->number != SYS_ppoll &&
             !atomic_load(&sleeper->over));
}

static inline void start_sleeper(struct sleeper *sleeper, const struct kind *kind)
{
    struct os_call call;
    memset(sleeper, 0, sizeof *sleeper);
    sleeper->kind = kind;
    sem_init(&sleeper->semaphore, 0, 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sleeper->ends), 0);
    assert_int_equal(pthread_create(&sleeper->thread, NULL, sleep_in_call, sleeper), 0);
    await_call(sleeper, &call);
}

static inline void wake_sleeper(struct sleeper *sleeper)
{
    if (sleeper->kind->waker == BYTE)
        assert_int_equal(send(sleeper->ends[1], "x", 1, 0), 1);
    else if (sleeper->kind->waker == POST)
        sem_post(&sleeper->semaphore);
}

static inline void join_sleeper(struct sleeper *sleeper)
{
    pthread_join(sleeper->thread, NULL);
    close(sleeper->ends[0]);
    close(sleeper->ends[1]);
    sem_destroy(&sleeper->semaphore);
}

static inline void end_sleeper_well(struct sleeper *sleeper)
{
    wake_sleeper(sleeper);
    join_sleeper(sleeper);
    if (sleeper->result != sleeper->kind->expected)
        fail_msg("%s: %ld, %s", sleeper->kind->name, sleeper->result, strerror(sleeper->code));
    if (sleeper->kind->waker == BY_ITSELF && sleeper->slept < NAP_NS)
        fail_msg("%s: over after %lu ns", sleeper->kind->name, (unsigned long)sleeper->slept);
}

#endif

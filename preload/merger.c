/* SPDX-License-Identifier: MIT */
#include "merger.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdint.h>
#include <string.h>

#include "error.h"
#include "log.h"
#include "os.h"
#include "private.h"
#include "real.h"
#include "shmcore.h"
#include "thread.h"

#define STACK_BYTES      (256 * KIBI)
#define LOOK_LEAST       UINT64_C(25000000)  /* between two looks, ns */
#define LOOK_MOST        UINT64_C(500000000) /* at the most: also how long a process of ours alone lives on */
#define BUSY_SHARE       4u   /* looks that find something changing: one part in so many of the time */
#define IDLE_SHARE       100u /* that find nothing */
#define COLLECTIVE_SHARE 20u

static struct {
    _Atomic bool runs;
    _Atomic uint64_t next_collective; /* not before this time */
} merger;

/* ---------------------------------------------------------------- what is said */

static const char *why_full(int error)
{
    switch (error) {
    case ENOMEM:
        return "the process has too many mappings (vm.max_map_count)";
    case EACCES:
    case EPERM:
        return "the process has become another user, who may not open the files of their common copy";
    default:
        return "no memory is left for their common copy";
    }
}

static void report(const struct private_tally *tally)
{
    if (tally->error == ENOTSUP)
        log_say(SETTINGS_LOG_WARN, "merge never", "%s", shmcore_error());
    else if (tally->full != 0)
        log_say(SETTINGS_LOG_WARN, "merge full",
                "%lu pieces of 2 MiB are not merged for now: %s; they stay the program's own memory",
                (unsigned long)tally->full, why_full(tally->error));
    if (tally->busy != 0)
        log_say(
            SETTINGS_LOG_INFO, "merge busy",
            "memory is not merged for now, because a thread blocks all signals or does not come to a stop");
    if (tally->merged != 0)
        log_say(SETTINGS_LOG_INFO, "merge first", "merging: %lu pieces of 2 MiB looked at, %lu merged",
                (unsigned long)tally->looked, (unsigned long)tally->merged);
}

/* ---------------------------------------------------------------- the thread */

/* The program's threads have ended, the first one with pthread_exit(): the process ends with this one. */
static bool is_alone(void)
{
    return os_thread_state(os_process(), SIGTERM) == OS_THREAD_ENDED && os_thread_count() <= 1;
}

/* How long to sleep after a look that took `spent` ns of processor time. */
static uint64_t pause_after(const struct private_tally *tally, uint64_t spent, uint64_t quiet)
{
    const bool idle = tally->waiting == 0 && tally->merged == 0;
    const uint64_t wanted = least(most(quiet / 4, LOOK_LEAST), LOOK_MOST);
    return most(wanted, spent * (idle ? IDLE_SHARE : BUSY_SHARE));
}

/* Sleeps in steps, because somebody may ask, or the program end. False: it has. */
static bool sleep_until(uint64_t end)
{
    for (uint64_t now = os_clock(); !is_alone(); now = os_clock()) {
        struct private_tally tally;
        private_listen(true);
        if (private_wait(now < end ? least(end - now, LOOK_MOST) : 0)) {
            const uint32_t asked = private_asked();
            private_pass(PRIVATE_MANUAL, true, &tally);
            report(&tally);
            private_answer(asked);
        } else if (os_clock() >= end) {
            return true;
        }
    }
    return false;
}

static void *run(void *argument)
{
    struct private_tally tally = {0};
    uint64_t quiet, spent = 0;
    (void)argument;
    thread_self.inside++; /* whatever is allocated here is the next allocator's */
    if (os_own_descriptors() == 0)
        log_from_apart();
    while (sleep_until(os_clock() + (private_wants(PRIVATE_QUIET, &quiet) ? pause_after(&tally, spent, quiet)
                                                                          : LOOK_MOST))) {
        if (!private_wants(PRIVATE_QUIET, &quiet))
            continue;
        const uint64_t before = os_thread_time();
        private_pass(PRIVATE_QUIET, false, &tally);
        spent = os_thread_time() - before;
        report(&tally);
    }
    private_listen(false);
    return NULL;
}

void merger_start(void)
{
    pthread_attr_t attributes;
    pthread_t thread;
    sigset_t all, before;
    if (atomic_exchange(&merger.runs, true) || real.pthread_create == NULL)
        return;
    const int kept_errno = errno;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    pthread_attr_init(&attributes);
    pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attributes, STACK_BYTES);
    const int error = real.pthread_create(&thread, &attributes, run, NULL);
    pthread_attr_destroy(&attributes);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (error != 0)
        log_say(SETTINGS_LOG_WARN, "merger",
                "no thread can be made to look for equal memory (%s): merge rules merge nothing",
                error_words(error));
    errno = kept_errno;
}

void merger_after_fork(void)
{
    atomic_store(&merger.runs, false);
}

/* ---------------------------------------------------------------- collectives */

void merger_after_collective(void)
{
    struct private_tally tally;
    uint64_t unused;
    const uint64_t start = os_clock();
    if (thread_self.inside > 0 || start < atomic_load_explicit(&merger.next_collective, memory_order_relaxed))
        return;
    const int kept_errno = errno;
    thread_self.inside++;
    if (private_wants(PRIVATE_BARRIER, &unused)) {
        private_pass(PRIVATE_BARRIER, true, &tally);
        report(&tally);
    }
    thread_self.inside--;
    const uint64_t end = os_clock();
    atomic_store_explicit(&merger.next_collective, end + COLLECTIVE_SHARE * (end - start),
                          memory_order_relaxed);
    errno = kept_errno;
}

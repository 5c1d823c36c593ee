/* SPDX-License-Identifier: MIT
 *
 * core/os_resume: a system call that a signal of ours has broken off goes on as if nothing had been, unless a
 * signal of the program's comes as well.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/uio.h>

#include "plain.h"
#include "test-sleepers.h"

#define OURS       SIGURG
#define BIG        ((size_t)1 << 20)
#define bit(which) (UINT64_C(1) << ((which)-1))

/* ---------------------------------------------------------------- the handler */

static struct {
    struct os_call seen;
    bool resumes; /* false: an ordinary handler, to see what that does */
    _Atomic bool holds;
    _Atomic unsigned entered;
} handler;

static _Atomic unsigned programs; /* signals of the program that were handled */

static void handle_ours(int signal, siginfo_t *information, void *context)
{
    const int kept_errno = errno;
    const struct os_call seen = handler.seen;
    const struct os_interruption by = {.signal = signal,
                                       .blocked = bit(OURS) | bit(SIGUSR1) | bit(SIGALRM) | bit(SIGCHLD)};
    (void)information;
    atomic_fetch_add(&handler.entered, 1);
    while (atomic_load(&handler.holds))
        sched_yield();
    if (handler.resumes)
        os_resume_call(context, &seen, &by);
    errno = kept_errno;
}

static void handle_programs(int signal)
{
    (void)signal;
    atomic_fetch_add(&programs, 1);
}

static void set_programs(int signal, int flags)
{
    struct sigaction action = {.sa_handler = handle_programs, .sa_flags = flags};
    sigaction(signal, &action, NULL);
}

static int prepare(void **state)
{
    struct sigaction action = {.sa_flags = SA_SIGINFO | SA_RESTART};
    (void)state;
    action.sa_sigaction = handle_ours;
    sigaddset(&action.sa_mask, SIGUSR1);
    sigaddset(&action.sa_mask, SIGALRM);
    sigaddset(&action.sa_mask, SIGCHLD);
    sigaction(OURS, &action, NULL);
    set_programs(SIGUSR1, 0);
    memset(&handler, 0, sizeof handler);
    handler.resumes = true;
    atomic_store(&programs, 0);
    return 0;
}

static void signal_it(struct sleeper *sleeper)
{
    const unsigned before = handler.entered;
    pthread_kill(sleeper->thread, OURS);
    while (atomic_load(&handler.entered) == before)
        sched_yield();
}

/* Breaks the call off, as parking does. `knows`: by what /proc says of the thread. */
static void disturb(struct sleeper *sleeper, bool knows)
{
    struct os_call call;
    await_call(sleeper, &call);
    if (!knows)
        call.number = -1;
    handler.seen = call;
    if (!atomic_load(&sleeper->over))
        signal_it(sleeper);
}

/* Breaks it off and holds it in the handler, while `meanwhile` is sent to it. */
static void disturb_with(struct sleeper *sleeper, int meanwhile)
{
    atomic_store(&handler.holds, true);
    disturb(sleeper, true);
    pthread_kill(sleeper->thread, meanwhile);
    atomic_store(&handler.holds, false);
}

static void expect_broken_off(struct sleeper *sleeper)
{
    join_sleeper(sleeper);
    if (sleeper->result != -1 || sleeper->code != EINTR)
        fail_msg("%s: %ld, %s", sleeper->kind->name, sleeper->result, strerror(sleeper->code));
}

static bool ends_by_itself(const struct kind *kind)
{
    return kind->waker == BY_ITSELF;
}

/* ---------------------------------------------------------------- hidden */

/* Without os_resume_call() most of them would end with EINTR: else the tests below mean nothing. */
static void an_ordinary_handler_breaks_off(void **state)
{
    (void)state;
    unsigned broken = 0;
    handler.resumes = false;
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
        struct sleeper sleeper;
        if (ends_by_itself(&kinds[i]))
            continue;
        start_sleeper(&sleeper, &kinds[i]);
        disturb(&sleeper, true);
        wake_sleeper(&sleeper);
        join_sleeper(&sleeper);
        broken += sleeper.result == -1 && sleeper.code == EINTR;
    }
    assert_true(broken >= 7);
}

static void disturb_all(bool knows)
{
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
        struct sleeper sleeper;
        start_sleeper(&sleeper, &kinds[i]);
        for (unsigned round = 0; round < 4; round++)
            disturb(&sleeper, knows);
        end_sleeper_well(&sleeper);
    }
}

static void a_call_goes_on(void **state)
{
    (void)state;
    disturb_all(true);
}

/* The registers alone, and the code before the call. */
static void a_call_that_is_not_known_goes_on(void **state)
{
    (void)state;
    disturb_all(false);
}

static void what_was_seen_may_be_over(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
        struct sleeper sleeper;
        if (ends_by_itself(&kinds[i]))
            continue;
        start_sleeper(&sleeper, &kinds[i]);
        handler.seen = (struct os_call){.number = SYS_write, .stack = 16, .place = 16};
        signal_it(&sleeper);
        end_sleeper_well(&sleeper);
    }
}

static void *just_counts(void *argument)
{
    struct sleeper *sleeper = argument;
    volatile uint64_t *sum = &sleeper->slept;
    atomic_store(&sleeper->tid, os_thread());
    for (uint64_t i = 0; !atomic_load(&sleeper->over); i++)
        *sum += i;
    return NULL;
}

/* In no call at all: nothing is changed. */
static void code_of_the_program_is_left_alone(void **state)
{
    (void)state;
    struct sleeper sleeper = {.kind = &kinds[0]};
    assert_int_equal(pthread_create(&sleeper.thread, NULL, just_counts, &sleeper), 0);
    for (unsigned round = 0; round < 200; round++) {
        handler.seen = (struct os_call){.number = round % 3 == 0 ? -1 : (int64_t)round};
        signal_it(&sleeper);
    }
    atomic_store(&sleeper.over, true);
    pthread_join(sleeper.thread, NULL);
}

/* ---------------------------------------------------------------- the program's own */

static void a_signal_of_the_programs_breaks_off(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
        struct sleeper sleeper;
        if (ends_by_itself(&kinds[i]))
            continue;
        struct os_call call;
        const unsigned before = programs;
        start_sleeper(&sleeper, &kinds[i]);
        disturb(&sleeper, true);
        disturb(&sleeper, true);
        await_call(&sleeper, &call);
        pthread_kill(sleeper.thread, SIGUSR1);
        expect_broken_off(&sleeper);
        assert_int_equal(programs, before + 1);
    }
}

static void so_does_one_that_comes_at_the_same_time(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
        struct sleeper sleeper;
        if (ends_by_itself(&kinds[i]))
            continue;
        const unsigned before = programs;
        start_sleeper(&sleeper, &kinds[i]);
        disturb_with(&sleeper, SIGUSR1);
        expect_broken_off(&sleeper);
        assert_int_equal(programs, before + 1);
    }
}

/* For the whole process: an alarm. This thread does not take it. */
static void an_alarm_breaks_off(void **state)
{
    (void)state;
    sigset_t alarm;
    struct sleeper sleeper;
    set_programs(SIGALRM, 0);
    start_sleeper(&sleeper, &kinds[6]); /* epoll_wait */
    sigemptyset(&alarm);
    sigaddset(&alarm, SIGALRM);
    pthread_sigmask(SIG_BLOCK, &alarm, NULL);
    atomic_store(&handler.holds, true);
    disturb(&sleeper, true);
    kill(getpid(), SIGALRM);
    atomic_store(&handler.holds, false);
    expect_broken_off(&sleeper);
    assert_int_equal(programs, 1);
    pthread_sigmask(SIG_UNBLOCK, &alarm, NULL);
    signal(SIGALRM, SIG_DFL);
}

/* SA_RESTART: read() goes on after the program's handler, poll() does not; and nobody hears of what is
 * ignored. */
static void restarted_as_ever(void **state)
{
    (void)state;
    struct sleeper reading, polling;
    set_programs(SIGUSR1, SA_RESTART);
    start_sleeper(&reading, &kinds[0]);
    disturb_with(&reading, SIGUSR1);
    while (atomic_load(&programs) == 0)
        sched_yield();
    end_sleeper_well(&reading);
    start_sleeper(&polling, &kinds[3]);
    disturb_with(&polling, SIGUSR1);
    expect_broken_off(&polling);
    assert_int_equal(programs, 2);
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
        struct sleeper sleeper;
        start_sleeper(&sleeper, &kinds[i]);
        disturb_with(&sleeper, SIGCHLD);
        end_sleeper_well(&sleeper);
    }
}

/* ---------------------------------------------------------------- transfers */

static unsigned char *outgoing, *incoming;

static long write_big(struct sleeper *sleeper)
{
    return write(sleeper->ends[0], outgoing, BIG);
}

static long send_big(struct sleeper *sleeper)
{
    return send(sleeper->ends[0], outgoing, BIG, 0);
}

/* Pieces of unlike lengths, some empty. */
static void cut(struct iovec piece[9])
{
    size_t at = 0;
    for (unsigned i = 0; i < 8; i++) {
        const size_t length = i % 3 == 2 ? 0 : BIG / 16 * (i + 1) / 2 + 13;
        piece[i] = (struct iovec){outgoing + at, length};
        at += length;
    }
    piece[8] = (struct iovec){outgoing + at, BIG - at};
}

static long writev_big(struct sleeper *sleeper)
{
    struct iovec piece[9];
    cut(piece);
    return writev(sleeper->ends[0], piece, 9);
}

static long sendmsg_big(struct sleeper *sleeper)
{
    struct iovec piece[9];
    struct msghdr message = {.msg_iov = piece, .msg_iovlen = 9};
    cut(piece);
    return sendmsg(sleeper->ends[0], &message, 0);
}

static const struct kind senders[] = {
    {"write", SYS_write, write_big, (long)BIG, BY_ITSELF},
    {"send", SYS_sendto, send_big, (long)BIG, BY_ITSELF},
    {"writev", SYS_writev, writev_big, (long)BIG, BY_ITSELF},
    {"sendmsg", SYS_sendmsg, sendmsg_big, (long)BIG, BY_ITSELF},
};

/* Behind `got` bytes that are there, up to `most`. */
static size_t receive(int descriptor, size_t got, size_t most_bytes)
{
    while (got < most_bytes) {
        const ssize_t part = read(descriptor, incoming + got, most_bytes - got);
        if (part <= 0)
            break;
        got += (size_t)part;
    }
    return got;
}

static int make_data(void **state)
{
    outgoing = malloc(BIG), incoming = malloc(BIG);
    for (size_t i = 0; outgoing != NULL && i < BIG; i++)
        outgoing[i] = (unsigned char)(i * 7 + i / 251);
    return outgoing != NULL && incoming != NULL ? prepare(state) : -1;
}

static int free_data(void **state)
{
    (void)state;
    free(outgoing), free(incoming);
    return 0;
}

static void a_transfer_is_completed(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(senders); i++) {
        struct sleeper sleeper;
        size_t got = 0;
        start_sleeper(&sleeper, &senders[i]);
        for (unsigned round = 0; round < 6; round++) {
            disturb(&sleeper, true);
            const ssize_t part = read(sleeper.ends[1], incoming + got, 100001);
            assert_true(part > 0);
            got += (size_t)part;
        }
        got = receive(sleeper.ends[1], got, BIG);
        join_sleeper(&sleeper);
        if (sleeper.result != (long)BIG)
            fail_msg("%s: %ld, %s", sleeper.kind->name, sleeper.result, strerror(sleeper.code));
        assert_int_equal(got, BIG);
        assert_memory_equal(incoming, outgoing, BIG);
    }
}

/* The program's signal ends it with what was done by then, and nothing is sent twice. */
static void unless_the_program_breaks_it_off(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(senders); i++) {
        struct sleeper sleeper;
        start_sleeper(&sleeper, &senders[i]);
        disturb_with(&sleeper, SIGUSR1);
        pthread_join(sleeper.thread, NULL);
        assert_true(sleeper.result > 0 && sleeper.result < (long)BIG);
        close(sleeper.ends[0]);
        assert_int_equal(receive(sleeper.ends[1], 0, BIG), sleeper.result);
        assert_memory_equal(incoming, outgoing, (size_t)sleeper.result);
        close(sleeper.ends[1]);
    }
}

static long receive_all(struct sleeper *sleeper)
{
    return recv(sleeper->ends[0], incoming, 1000, MSG_WAITALL);
}

static void a_receive_of_all_gets_all(void **state)
{
    (void)state;
    const struct kind kind = {"recv of all", SYS_recvfrom, receive_all, 1000, BY_ITSELF};
    struct sleeper sleeper;
    start_sleeper(&sleeper, &kind);
    for (unsigned part = 0; part < 4; part++) {
        disturb(&sleeper, true);
        assert_int_equal(send(sleeper.ends[1], outgoing + part * 250, 250, 0), 250);
    }
    join_sleeper(&sleeper);
    assert_int_equal(sleeper.result, 1000);
    assert_memory_equal(incoming, outgoing, 1000);
}

#define PREPARED(function)  cmocka_unit_test_setup(function, prepare)
#define WITH_DATA(function) cmocka_unit_test_setup_teardown(function, make_data, free_data)

int main(void)
{
    const struct CMUnitTest tests[] = {
        PREPARED(an_ordinary_handler_breaks_off),
        PREPARED(a_call_goes_on),
        PREPARED(a_call_that_is_not_known_goes_on),
        PREPARED(what_was_seen_may_be_over),
        PREPARED(code_of_the_program_is_left_alone),
        PREPARED(a_signal_of_the_programs_breaks_off),
        PREPARED(so_does_one_that_comes_at_the_same_time),
        PREPARED(an_alarm_breaks_off),
        PREPARED(restarted_as_ever),
        WITH_DATA(a_transfer_is_completed),
        WITH_DATA(unless_the_program_breaks_it_off),
        WITH_DATA(a_receive_of_all_gets_all),
    };
    if (!os_can_resume()) {
        print_message("system calls cannot be resumed on this kind of machine\n");
        return 77;
    }
    return cmocka_run_group_tests_name("resume", tests, NULL, NULL);
}

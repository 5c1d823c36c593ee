/* SPDX-License-Identifier: MIT
 *
 * core/park: threads in user code, in system calls, on their way in and out of life stand still for a moment
 * and notice nothing of it; when one cannot be parked none is.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <sys/mman.h>
#include <sys/wait.h>

#include "child.h"
#include "park.h"
#include "plain.h"
#include "test-sleepers.h"

static unsigned char nowhere[2 * PAGE_BYTES]; /* no stack lies there */

/* On a busy machine a thread may be late, and blocks signals while it makes another, or comes from the last
 * moment. */
static enum park_answer park_begin_in_time(const void *address, uint64_t bytes)
{
    for (;;) {
        const enum park_answer answer = park_begin(address, bytes);
        if (answer != PARK_LATE && answer != PARK_BLOCKED)
            return answer;
        sched_yield();
    }
}

static void park(void)
{
    assert_int_equal(park_begin_in_time(nowhere, sizeof nowhere), PARKED);
}

static enum park_answer try_to_park(const void *address, uint64_t bytes)
{
    const enum park_answer answer = park_begin_in_time(address, bytes);
    if (answer == PARKED)
        park_end();
    return answer;
}

/* ---------------------------------------------------------------- user code */

struct counter {
    pthread_t thread;
    _Atomic uint64_t count;
    _Atomic bool over;
};

static void *count_on(void *argument)
{
    struct counter *counter = argument;
    while (!atomic_load_explicit(&counter->over, memory_order_relaxed))
        atomic_fetch_add_explicit(&counter->count, 1, memory_order_relaxed);
    return NULL;
}

static void await_progress(struct counter *counter)
{
    const uint64_t before = counter->count;
    while (counter->count == before)
        sched_yield();
}

static void start_counter(struct counter *counter, const pthread_attr_t *attributes)
{
    memset(counter, 0, sizeof *counter);
    assert_int_equal(pthread_create(&counter->thread, attributes, count_on, counter), 0);
    await_progress(counter);
}

static void end_counter(struct counter *counter)
{
    counter->over = true;
    pthread_join(counter->thread, NULL);
}

static void expect_rest(struct counter *counter)
{
    const uint64_t before = counter->count;
    for (unsigned i = 0; i < 2000; i++)
        assert_int_equal(counter->count, before);
}

static void threads_in_user_code(void **state)
{
    (void)state;
    struct counter counters[3];
    for (unsigned i = 0; i < 3; i++)
        start_counter(&counters[i], NULL);
    for (unsigned round = 0; round < 6; round++) {
        park();
        for (unsigned i = 0; i < 3; i++)
            expect_rest(&counters[i]);
        park_end();
        for (unsigned i = 0; i < 3; i++)
            await_progress(&counters[i]);
    }
    for (unsigned i = 0; i < 3; i++)
        end_counter(&counters[i]);
}

static void *count_once(void *argument)
{
    struct counter *counter = argument;
    counter->count++;
    return NULL;
}

static void *make_threads(void *argument)
{
    struct counter *counter = argument;
    pthread_t thread;
    while (!counter->over)
        if (pthread_create(&thread, NULL, count_once, counter) == 0)
            pthread_join(thread, NULL);
    return NULL;
}

static void threads_that_come_and_go(void **state)
{
    (void)state;
    struct counter counter = {.count = 0};
    assert_int_equal(pthread_create(&counter.thread, NULL, make_threads, &counter), 0);
    for (unsigned round = 0; round < 20; round++) {
        await_progress(&counter);
        park();
        expect_rest(&counter);
        park_end();
    }
    end_counter(&counter);
}

static void alone(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3; round++)
        park(), park_end();
}

/* ---------------------------------------------------------------- system calls */

static void threads_in_system_calls(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
        struct sleeper sleeper;
        start_sleeper(&sleeper, &kinds[i]);
        for (unsigned round = 0; round < 3; round++) {
            park();
            park_end();
        }
        end_sleeper_well(&sleeper);
    }
}

/* What it waits for comes while it stands still. */
static void woken_while_parked(void **state)
{
    (void)state;
    for (unsigned i = 0; i < COUNT_OF(kinds); i++) {
        struct sleeper sleeper;
        if (kinds[i].waker == BY_ITSELF)
            continue;
        start_sleeper(&sleeper, &kinds[i]);
        park();
        wake_sleeper(&sleeper);
        assert_false(sleeper.over);
        park_end();
        join_sleeper(&sleeper);
        assert_int_equal(sleeper.result, kinds[i].expected);
    }
}

static void all_kinds_at_once(void **state)
{
    (void)state;
    static struct sleeper sleepers[COUNT_OF(kinds)];
    for (unsigned i = 0; i < COUNT_OF(kinds); i++)
        start_sleeper(&sleepers[i], &kinds[i]);
    for (unsigned round = 0; round < 10; round++) {
        park();
        park_end();
    }
    for (unsigned i = 0; i < COUNT_OF(kinds); i++)
        end_sleeper_well(&sleepers[i]);
}

/* ---------------------------------------------------------------- who cannot be parked */

static _Atomic int got;

/* Waits for whatever signal comes. */
static void *take_any_signal(void *argument)
{
    struct sleeper *sleeper = argument;
    sigset_t all;
    int signal = 0;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    atomic_store(&sleeper->tid, os_thread());
    sigwait(&all, &signal);
    atomic_store(&got, signal);
    return NULL;
}

static void who_blocks_all_signals_sees_none_of_ours(void **state)
{
    (void)state;
    struct sleeper sleeper = {.kind = &(struct kind){.number = SYS_rt_sigtimedwait}};
    struct counter counter;
    struct os_call call;
    atomic_store(&got, 0);
    start_counter(&counter, NULL);
    assert_int_equal(pthread_create(&sleeper.thread, NULL, take_any_signal, &sleeper), 0);
    await_call(&sleeper, &call);
    for (unsigned round = 0; round < 20; round++) {
        assert_int_equal(park_begin(nowhere, sizeof nowhere), PARK_BLOCKED);
        await_progress(&counter); /* the others are not held */
    }
    assert_int_equal(got, 0);
    pthread_kill(sleeper.thread, SIGUSR1);
    pthread_join(sleeper.thread, NULL);
    assert_int_equal(got, SIGUSR1);
    park();
    park_end();
    end_counter(&counter);
}

static void *count_with_signals_blocked(void *argument)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    park_except_this();
    return count_on(argument);
}

static void expect_to_go_on(void *(*own_thread)(void *))
{
    struct counter own = {.count = 0}, counter;
    start_counter(&counter, NULL);
    assert_int_equal(pthread_create(&own.thread, NULL, own_thread, &own), 0);
    await_progress(&own);
    for (unsigned round = 0; round < 5; round++) {
        park();
        await_progress(&own);
        expect_rest(&counter);
        park_end();
    }
    end_counter(&own);
    end_counter(&counter);
}

static void ones_own_thread_goes_on(void **state)
{
    (void)state;
    expect_to_go_on(count_with_signals_blocked);
    park_after_fork(); /* forgets who was excepted */
}

static void *count_as_another_copys(void *argument)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    os_name_thread("shmcore-merge");
    return count_on(argument);
}

/* The shim's thread, seen from the library that the program is linked with. */
static void another_copys_thread_goes_on(void **state)
{
    (void)state;
    expect_to_go_on(count_as_another_copys);
}

/* ---------------------------------------------------------------- stacks */

static void a_stack_in_the_range_is_in_use(void **state)
{
    (void)state;
    enum { STACK = 1 << 20 };
    struct counter counter;
    pthread_attr_t attributes;
    unsigned char *stack =
        mmap(NULL, 3 * STACK, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(stack != MAP_FAILED);
    pthread_attr_init(&attributes);
    assert_int_equal(pthread_attr_setstack(&attributes, stack + STACK, STACK), 0);
    start_counter(&counter, &attributes);
    assert_int_equal(try_to_park(stack + STACK, STACK), PARK_IN_USE);
    assert_int_equal(try_to_park(stack, 3 * STACK), PARK_IN_USE);
    await_progress(&counter);
    assert_int_equal(try_to_park(stack, STACK), PARKED);
    end_counter(&counter);
    assert_int_equal(try_to_park(stack, 3 * STACK), PARKED);
    pthread_attr_destroy(&attributes);
    munmap(stack, 3 * STACK);
}

static void ones_own_stack_is_in_use(void **state)
{
    (void)state;
    unsigned char here[64];
    memset(here, 0, sizeof here);
    assert_int_equal(try_to_park(here, sizeof here), PARK_IN_USE);
}

static unsigned char *signal_stack;

static void *count_with_a_signal_stack(void *argument)
{
    const stack_t own = {.ss_sp = signal_stack, .ss_size = MEBI};
    sigaltstack(&own, NULL);
    return count_on(argument);
}

/* Where the handler stands. */
static void a_signal_stack_in_the_range_is_in_use(void **state)
{
    (void)state;
    struct counter counter = {.count = 0};
    signal_stack =
        mmap(NULL, MEBI, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_int_equal(pthread_create(&counter.thread, NULL, count_with_a_signal_stack, &counter), 0);
    await_progress(&counter);
    assert_int_equal(try_to_park(signal_stack, MEBI), PARK_IN_USE);
    assert_int_equal(try_to_park(nowhere, sizeof nowhere), PARKED);
    end_counter(&counter);
    munmap(signal_stack, MEBI);
}

/* ---------------------------------------------------------------- signals of the program */

static void note(int signal)
{
    atomic_store(&got, signal);
}

static bool is_taken(int signal)
{
    struct sigaction action;
    return sigaction(signal, NULL, &action) == 0 && (action.sa_flags & SA_SIGINFO) != 0;
}

static void a_signal_of_the_programs_is_left_to_it(void **state)
{
    (void)state;
    struct counter counter;
    start_counter(&counter, NULL);
    signal(SIGURG, note);
    park();
    park_end();
    assert_true(is_taken(SIGWINCH));
    signal(SIGURG, SIG_DFL);
    signal(SIGWINCH, note); /* the program takes ours as well */
    park();
    expect_rest(&counter);
    park_end();
    assert_true(is_taken(SIGURG));
    atomic_store(&got, 0);
    raise(SIGWINCH);
    assert_int_equal(got, SIGWINCH);
    end_counter(&counter);
    signal(SIGWINCH, SIG_DFL);
}

static void without_a_signal_there_is_no_parking(void **state)
{
    (void)state;
    signal(SIGURG, SIG_IGN); /* that is a wish, too */
    signal(SIGWINCH, note);
    assert_int_equal(park_begin(nowhere, sizeof nowhere), PARK_NEVER);
    signal(SIGURG, SIG_DFL);
    signal(SIGWINCH, SIG_DFL);
    park();
    park_end();
    assert_true(is_taken(SIGURG));
}

/* Whoever calls exec just then takes the signal into the new program, as a thread that blocks it does here.
 */
static void the_signal_does_no_harm_after_exec(void **state)
{
    (void)state;
    park();
    park_end();
    const pid_t child = fork();
    if (child == 0) {
        sigset_t all, none;
        sigfillset(&all);
        sigemptyset(&none);
        sigprocmask(SIG_SETMASK, &all, NULL);
        for (int number = 1; number <= SIGRTMAX; number++)
            if (is_taken(number))
                raise(number);
        execlp("python3", "python3", "-c",
               "import signal; assert signal.sigpending(); signal.pthread_sigmask(signal.SIG_SETMASK, [])",
               NULL);
        _exit(127);
    }
    int status = -1;
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_int_equal(status, 0);
}

/* A handler of the program's would run while its thread stands still. */
static void handlers_wait_for_the_end(void **state)
{
    (void)state;
    struct counter counter;
    signal(SIGUSR1, note);
    start_counter(&counter, NULL);
    for (unsigned round = 0; round < 5; round++) {
        atomic_store(&got, 0);
        park();
        pthread_kill(counter.thread, SIGUSR1);
        expect_rest(&counter);
        assert_int_equal(got, 0);
        park_end();
        while (atomic_load(&got) == 0)
            sched_yield();
    }
    end_counter(&counter);
    signal(SIGUSR1, SIG_DFL);
}

/* ---------------------------------------------------------------- fork */

static int parks_too(struct child *self, void *argument)
{
    struct counter counter = {.count = 0};
    (void)self, (void)argument;
    park_after_fork();
    if (try_to_park(nowhere, sizeof nowhere) != PARKED)
        return 1;
    if (pthread_create(&counter.thread, NULL, count_on, &counter) != 0)
        return 2;
    await_progress(&counter);
    if (try_to_park(nowhere, sizeof nowhere) != PARKED)
        return 3;
    await_progress(&counter);
    return 0;
}

static void a_child_of_a_moment_is_free(void **state)
{
    (void)state;
    struct counter counter;
    start_counter(&counter, NULL);
    park();
    struct child child = child_start(parks_too, NULL);
    park_end();
    assert_int_equal(child_end(&child), 0);
    await_progress(&counter);
    end_counter(&counter);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone),
        cmocka_unit_test(threads_in_user_code),
        cmocka_unit_test(threads_that_come_and_go),
        cmocka_unit_test(threads_in_system_calls),
        cmocka_unit_test(woken_while_parked),
        cmocka_unit_test(all_kinds_at_once),
        cmocka_unit_test(who_blocks_all_signals_sees_none_of_ours),
        cmocka_unit_test(ones_own_thread_goes_on),
        cmocka_unit_test(another_copys_thread_goes_on),
        cmocka_unit_test(a_stack_in_the_range_is_in_use),
        cmocka_unit_test(ones_own_stack_is_in_use),
        cmocka_unit_test(a_signal_stack_in_the_range_is_in_use),
        cmocka_unit_test(a_signal_of_the_programs_is_left_to_it),
        cmocka_unit_test(without_a_signal_there_is_no_parking),
        cmocka_unit_test(the_signal_does_no_harm_after_exec),
        cmocka_unit_test(handlers_wait_for_the_end),
        cmocka_unit_test(a_child_of_a_moment_is_free),
    };
    if (!os_can_resume()) {
        print_message("threads cannot be parked on this kind of machine\n");
        return 77;
    }
    return cmocka_run_group_tests_name("park", tests, NULL, NULL);
}

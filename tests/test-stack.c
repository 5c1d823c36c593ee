/* SPDX-License-Identifier: MIT
 *
 * preload/stack, with the steps that steps.h finds: frames of all kinds against what the C
 * library's own unwinder says; stacks that threads and coroutines stand on; stacks that end early.
 *
 *     test-stack SYMBOLS_MODULE
 */
#include "stack.h"
#include "steps.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <alloca.h>
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <sys/mman.h>
#include <ucontext.h>

#include "real.h"

enum { MOST = 48 };

struct real_allocator real = {.pthread_create = pthread_create};

static _Atomic unsigned asked;

static bool count_and_find(uintptr_t address, struct stack_step *out)
{
    asked++;
    return steps_at(address, out);
}

/* What was seen from the innermost function, which is as malloc() would be. */
static struct seen {
    uintptr_t walked[MOST];
    void *expected[MOST];
    unsigned count;
    int expected_count;
} seen;

static NEVER_INLINE int look(void)
{
    seen.count = stack_walk(__builtin_return_address(0), NULL, seen.walked, MOST);
    seen.expected_count = backtrace(seen.expected, MOST);
    return 1;
}

/* The first of backtrace()'s lies in look() itself. It shows the handler's caller and what lies behind, where
 * a walk ends. */
static void compare(unsigned least)
{
    assert_true(seen.count >= least);
    for (unsigned i = 0; i < seen.count && (int)i + 1 < seen.expected_count; i++)
        if (seen.walked[i] != (uintptr_t)seen.expected[i + 1])
            fail_msg("frame %u: %#lx, expected %p", i, (unsigned long)seen.walked[i], seen.expected[i + 1]);
}

static void compare_all(void)
{
    compare(4);
    if (seen.expected_count < MOST)
        assert_in_range(seen.count, (unsigned)seen.expected_count - 2, (unsigned)seen.expected_count - 1);
}

/* ---------------------------------------------------------------- frames */

static NEVER_INLINE int small(void)
{
    return look() + 1;
}

static NEVER_INLINE int large(int depth)
{
    volatile char room[100000];
    room[depth] = 1;
    return small() + room[depth];
}

/* Its frame ends at a distance from the stack pointer that is not constant. */
static NEVER_INLINE int variable(size_t bytes)
{
    volatile char *room = alloca(bytes);
    room[bytes / 2] = 1;
    return large(3) + room[bytes / 2];
}

static NEVER_INLINE int many_registers(int a, int b, int c, int d, int e, int f, int g, int h)
{
    const int sum = variable((size_t)(a * 100 + b)) + variable((size_t)(c * 1000 + d));
    return sum + a * b + c * d + e * f + g * h;
}

static NEVER_INLINE int deep(int depth)
{
    volatile int here = depth; /* no loop can stand for this */
    return depth == 0 ? many_registers(1, 2, 3, 4, 5, 6, 7, 8) : deep(depth - 1) + here;
}

static void frames_of_all_kinds(void **state)
{
    (void)state;
    small();
    compare_all();
    large(5);
    compare_all();
    for (size_t bytes = 64; bytes < 5000; bytes += 777) {
        variable(bytes);
        compare_all();
    }
    many_registers(1, 2, 3, 4, 5, 6, 7, 8);
    compare_all();
}

static void only_so_many_are_asked_for(void **state)
{
    (void)state;
    deep(200);
    assert_int_equal(seen.count, MOST);
    compare(MOST);
}

static void a_step_is_asked_for_once(void **state)
{
    (void)state;
    unsigned before = 0;
    for (int i = 0; i < 3; i++) {
        if (i == 2)
            stack_forget();
        deep(20);
        compare_all();
        if (i == 1)
            assert_int_equal(asked, before);
        if (i == 2)
            assert_true(asked > before);
        before = asked;
    }
}

static int compare_numbers(const void *one, const void *other)
{
    if (seen.count == 0)
        small();
    return *(const int *)one - *(const int *)other;
}

/* Called back from a library. */
static void through_a_library(void **state)
{
    (void)state;
    int numbers[] = {3, 1, 2};
    seen.count = 0;
    qsort(numbers, 3, sizeof numbers[0], compare_numbers);
    assert_int_equal(numbers[0], 1);
    compare_all();
}

/* ---------------------------------------------------------------- stacks */

static void *on_a_thread(void *argument)
{
    (void)argument;
    deep(5);
    return NULL;
}

static void a_thread_has_its_own(void **state)
{
    (void)state;
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, on_a_thread, NULL), 0);
    pthread_join(thread, NULL);
    compare_all();
}

static ucontext_t outside, inside;

static void coroutine(void)
{
    for (int i = 0; i < 3; i++) {
        deep(i);
        swapcontext(&inside, &outside);
    }
}

static void coroutines(void **state)
{
    (void)state;
    const size_t bytes = 1 << 20;
    void *stack = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    getcontext(&inside);
    inside.uc_stack.ss_sp = stack;
    inside.uc_stack.ss_size = bytes;
    inside.uc_link = &outside;
    makecontext(&inside, coroutine, 0);
    for (int i = 0; i < 3; i++) {
        swapcontext(&outside, &inside);
        compare_all();
        small();
        compare_all();
    }
    munmap(stack, bytes);
}

static void handle(int signal)
{
    volatile int here = signal;
    small();
    here = 0;
    (void)here;
}

static void a_signal_handler_is_an_end(void **state)
{
    (void)state;
    signal(SIGUSR1, handle);
    raise(SIGUSR1);
    compare(2);
    assert_true((int)seen.count < seen.expected_count);
}

static void a_caller_that_is_not_on_the_stack(void **state)
{
    (void)state;
    uintptr_t walked[MOST];
    assert_int_equal(stack_walk((const void *)0x1234, NULL, walked, MOST), 1);
    assert_int_equal(walked[0], 0x1234);
}

/* ---------------------------------------------------------------- trails */

static struct stack_trail trail;

static NEVER_INLINE int follow(void)
{
    trail = (struct stack_trail){0};
    struct os_frame start;
    os_frame_of(__builtin_frame_address(0), &start);
    seen.count = stack_walk_from(&start, __builtin_return_address(0), seen.walked, MOST, &trail);
    seen.expected_count = backtrace(seen.expected, MOST);
    return 1;
}

static bool is_as_it_was(void)
{
    for (uint32_t i = 0; i < trail.count; i++)
        if (*trail.word[i].place != trail.word[i].value)
            return false;
    return true;
}

static NEVER_INLINE int from_one_place(size_t bytes)
{
    volatile char *room = alloca(bytes);
    room[0] = 1;
    return follow() + room[0];
}

static NEVER_INLINE bool from_another_place(size_t bytes)
{
    volatile char *room = alloca(bytes);
    room[0] = 0;
    const bool same = is_as_it_was();
    return same;
}

static void a_trail_tells_when_the_stack_is_another(void **state)
{
    (void)state;
    from_one_place(200);
    compare_all();
    assert_in_range(trail.count, seen.count - 1, STACK_TRAIL_MOST);
    follow();
    compare_all();
    assert_true(is_as_it_was());
    uintptr_t *const place = (uintptr_t *)trail.word[0].place;
    const uintptr_t kept = *place;
    *place = kept + 1;
    const bool same = is_as_it_was();
    *place = kept;
    assert_false(same);
    from_one_place(200);
    assert_false(from_another_place(3000)); /* the frame is gone */
}

/* ---------------------------------------------------------------- hops */

static uintptr_t hopped, second;
static uint32_t hop;

static NEVER_INLINE int leap(void)
{
    uintptr_t walked[2];
    struct os_frame start;
    os_frame_of(__builtin_frame_address(0), &start);
    second = stack_walk_from(&start, __builtin_return_address(0), walked, 2, NULL) == 2 ? walked[1] : 0;
    hop = stack_hop(start.place);
    hopped = stack_beyond(&start, hop);
    return 1;
}

static NEVER_INLINE int leap_from_large(int depth)
{
    volatile char room[3000];
    room[depth] = 1;
    return leap() + room[depth];
}

static NEVER_INLINE int leap_from_variable(size_t bytes)
{
    volatile char *room = alloca(bytes);
    room[0] = 1;
    return leap() + room[0];
}

static void a_hop_is_a_step(void **state)
{
    (void)state;
    leap_from_large(5);
    assert_int_not_equal(second, 0);
    assert_int_not_equal(hop, 0);
    assert_int_equal(hopped, second);
    leap_from_variable(200);
    assert_int_not_equal(second, 0);
    assert_int_equal(hop, 0);
}

/* ---------------------------------------------------------------- wrong steps */

static struct stack_step wrong;

static bool give_wrong(uintptr_t address, struct stack_step *out)
{
    const uintptr_t from = (uintptr_t)look;
    const bool in_look = address - from < 256;
    if (!in_look)
        return steps_at(address, out);
    *out = wrong;
    return true;
}

/* Whatever the tables say, nothing outside of the stack is read. */
static void wrong_steps_end_the_walk(void **state)
{
    (void)state;
    static const struct stack_step steps[] = {
        {.end = INT64_C(1) << 31},
        {.end = -4096},
        {.end = 0},
        {.end = 12},
        {.end = 4097},
        {.from_frame = true, .end = -(INT64_C(1) << 31)},
        {.end = 64, .saves = true, .saved = INT64_C(1) << 31},
        {.end = 64, .saves = true, .saved = -(INT64_C(1) << 31)},
        {.end = INT64_C(1) << 50},
    };
    for (size_t i = 0; i < sizeof steps / sizeof steps[0]; i++) {
        wrong = steps[i];
        stack_forget();
        stack_begin(give_wrong);
        small();
        assert_int_equal(seen.count, 1);
        assert_ptr_equal(seen.walked[0], seen.expected[1]);
    }
    stack_forget();
    stack_begin(count_and_find);
    small();
    compare_all();
}

static bool know_nothing(uintptr_t address, struct stack_step *out)
{
    (void)address, (void)out;
    return false;
}

static void without_tables_there_is_the_caller(void **state)
{
    (void)state;
    stack_forget();
    stack_begin(know_nothing);
    small();
    assert_int_equal(seen.count, 1);
    stack_begin(NULL);
    stack_forget();
    small();
    assert_int_equal(seen.count, 1);
    assert_ptr_equal(seen.walked[0], seen.expected[1]);
    stack_forget();
    stack_begin(count_and_find);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(frames_of_all_kinds),
        cmocka_unit_test(only_so_many_are_asked_for),
        cmocka_unit_test(a_step_is_asked_for_once),
        cmocka_unit_test(through_a_library),
        cmocka_unit_test(a_thread_has_its_own),
        cmocka_unit_test(coroutines),
        cmocka_unit_test(a_signal_handler_is_an_end),
        cmocka_unit_test(a_caller_that_is_not_on_the_stack),
        cmocka_unit_test(a_trail_tells_when_the_stack_is_another),
        cmocka_unit_test(a_hop_is_a_step),
        cmocka_unit_test(wrong_steps_end_the_walk),
        cmocka_unit_test(without_tables_there_is_the_caller),
    };
    stack_begin(count_and_find);
    return cmocka_run_group_tests(tests, NULL, NULL);
}

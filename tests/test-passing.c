/* SPDX-License-Identifier: MIT
 *
 * preload/passing: callers that share a place, stacks of two frames, what is forgotten and what is not
 * believed.
 */
#include "passing.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>

#include <cmocka.h>

enum { HOP = 3 /* words */ };

#define FIRST  ((uintptr_t)0x401234)
#define SECOND ((uintptr_t)0x7f0012345678)

static const void *at(uintptr_t address)
{
    return (const void *)address;
}

static bool known(uintptr_t caller)
{
    static const uintptr_t nothing[2];
    return passing_caller(at(caller)) || passing_after_all(at(caller), nothing);
}

static int forget_all(void **state)
{
    (void)state;
    passing_forget_callers();
    passing_suspend();
    passing_forget_stacks();
    passing_resume(1);
    return 0;
}

/* ---------------------------------------------------------------- callers */

static void test_one_caller(void **state)
{
    (void)state;
    assert_false(known(FIRST));
    passing_note_caller(FIRST);
    assert_true(passing_caller(at(FIRST)));
    assert_false(known(FIRST + 1));
    assert_false(known(FIRST + PASSING_CALLERS));
    passing_forget_caller(FIRST + PASSING_CALLERS); /* of the same place, and not it */
    assert_true(passing_caller(at(FIRST)));
    passing_forget_caller(FIRST);
    assert_false(known(FIRST));
}

/* The second one that belongs to a place is found at its other one; a third one there takes that. */
static void test_shared_place(void **state)
{
    (void)state;
    const uintptr_t second = FIRST + PASSING_CALLERS,
                    third = second + (uintptr_t)PASSING_CALLERS * PASSING_CALLERS;
    passing_note_caller(FIRST);
    passing_note_caller(second);
    assert_true(passing_caller(at(FIRST)));
    assert_false(passing_caller(at(second)));
    assert_true(known(second));
    passing_note_caller(FIRST); /* again: it has a place */
    assert_true(known(second));
    passing_note_caller(third);
    assert_true(known(FIRST));
    assert_true(known(third));
    assert_false(known(second));
    passing_forget_caller(third);
    assert_false(known(third));
    passing_note_caller(second);
    passing_forget_callers();
    assert_false(known(FIRST));
    assert_false(known(second));
}

/* ---------------------------------------------------------------- stacks */

/* As if `caller` had called a function whose frame address this is, and were to return to `second`. */
struct stack {
    uintptr_t word[OS_FRAME_WORDS + HOP + 1];
};

static struct stack stack_of(uintptr_t caller, uintptr_t second)
{
    struct stack stack = {{0}};
    stack.word[OS_FRAME_WORDS - 1] = caller;
    stack.word[OS_FRAME_WORDS + HOP] = second;
    return stack;
}

static bool passes(const struct stack *stack)
{
    stack_own.start = (uintptr_t)stack->word;
    stack_own.end = (uintptr_t)(stack + 1);
    return passing_after_all(at(stack->word[OS_FRAME_WORDS - 1]), stack->word);
}

static void test_one_stack(void **state)
{
    (void)state;
    const struct stack stack = stack_of(FIRST, SECOND), other = stack_of(FIRST, SECOND + 8);
    assert_false(passes(&stack));
    passing_note_stack(FIRST, SECOND); /* before its hop: nothing */
    passing_note_hop(FIRST, HOP * sizeof(uintptr_t));
    assert_false(passes(&stack));
    passing_note_stack(FIRST, SECOND);
    assert_true(passes(&stack));
    assert_false(passes(&other));
}

/* Where the stack cannot be read, or is not of that caller, nothing is known. */
static void test_strange_stacks(void **state)
{
    (void)state;
    struct stack stack = stack_of(FIRST, SECOND);
    passing_note_hop(FIRST, HOP * sizeof(uintptr_t));
    passing_note_stack(FIRST, SECOND);
    assert_true(passes(&stack));
    stack_own.end -= sizeof(uintptr_t);
    assert_false(passing_after_all(at(FIRST), stack.word));
    stack_own.start = stack_own.end = 0;
    assert_false(passing_after_all(at(FIRST), stack.word));
    stack.word[OS_FRAME_WORDS - 1] = FIRST + 1;
    stack_own.start = (uintptr_t)stack.word;
    stack_own.end = (uintptr_t)(&stack + 1);
    assert_false(passing_after_all(at(FIRST), stack.word));
}

/* A place among the hops has one caller until all is forgotten: else stacks of one would count for another.
 */
static void test_hops_that_share(void **state)
{
    (void)state;
    const uintptr_t rival = FIRST + PASSING_HOPS;
    const struct stack stack = stack_of(FIRST, SECOND), of_rival = stack_of(rival, SECOND);
    passing_note_hop(FIRST, HOP * sizeof(uintptr_t));
    passing_note_hop(rival, HOP * sizeof(uintptr_t));
    passing_note_stack(FIRST, SECOND);
    assert_true(passes(&stack));
    assert_false(passes(&of_rival));
    passing_note_stack(rival, SECOND);
    assert_false(passes(&of_rival));
    passing_suspend();
    passing_forget_stacks();
    passing_note_hop(rival, HOP * sizeof(uintptr_t));
    passing_note_stack(FIRST, SECOND); /* late */
    passing_resume(2);
    assert_false(passes(&of_rival));
    assert_false(passes(&stack));
}

/* Two callers at other places with the same second frame. */
static void test_same_second(void **state)
{
    (void)state;
    const struct stack stack = stack_of(FIRST, SECOND), other = stack_of(FIRST + 1, SECOND);
    passing_note_hop(FIRST, HOP * sizeof(uintptr_t));
    passing_note_hop(FIRST + 1, HOP * sizeof(uintptr_t));
    passing_note_stack(FIRST, SECOND);
    assert_true(passes(&stack));
    assert_false(passes(&other));
}

static void test_hop_too_far(void **state)
{
    (void)state;
    passing_note_hop(FIRST, (uint32_t)(UINT16_MAX + 1 + HOP) * (uint32_t)sizeof(uintptr_t));
    passing_note_stack(FIRST, SECOND);
    const struct stack stack = stack_of(FIRST, SECOND);
    assert_false(passes(&stack));
    passing_note_hop(FIRST, HOP * sizeof(uintptr_t)); /* the place is still free */
    passing_note_stack(FIRST, SECOND);
    assert_true(passes(&stack));
}

/* While it is suspended, nothing; the same generation brings all back, another one nothing that was noted for
 * the one before. */
static void test_generations(void **state)
{
    (void)state;
    const struct stack stack = stack_of(FIRST, SECOND);
    passing_note_hop(FIRST, HOP * sizeof(uintptr_t));
    passing_note_stack(FIRST, SECOND);
    passing_suspend();
    assert_false(passes(&stack));
    passing_note_stack(FIRST, SECOND + 8);
    passing_resume(1);
    assert_true(passes(&stack));
    const struct stack other = stack_of(FIRST, SECOND + 8);
    assert_false(passes(&other));
    for (uint64_t generation = 2; generation < 200; generation++) {
        passing_resume(generation);
        assert_false(passes(&stack));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_one_caller, forget_all),
        cmocka_unit_test_setup(test_shared_place, forget_all),
        cmocka_unit_test_setup(test_one_stack, forget_all),
        cmocka_unit_test_setup(test_strange_stacks, forget_all),
        cmocka_unit_test_setup(test_hops_that_share, forget_all),
        cmocka_unit_test_setup(test_same_second, forget_all),
        cmocka_unit_test_setup(test_hop_too_far, forget_all),
        cmocka_unit_test_setup(test_generations, forget_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

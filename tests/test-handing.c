/* SPDX-License-Identifier: MIT
 *
 * preload/handing: when is an operator new known well enough to be jumped to? Functions of libc stand for the
 * operators and for those who ask: the shim's own rooms are in this program.
 */
#include "test-preload.h"

#include "handing.h"

#define INSIDE 24 /* bytes behind the beginning of a function */

static const void *operator_new(void)
{
    return (const void *)(uintptr_t)qsort;
}

static const void *in_operator(void)
{
    return (const char *)operator_new() + INSIDE;
}

static const void *far_from_it(void)
{
    return (const char *)operator_new() - 8 * KIBI;
}

/* What is handed on, and is asked for from there: may the operator be jumped to from now on? */
static bool passes_when_asked_from(const void *caller)
{
    const void *before = handing_begin(operator_new());
    assert_true(handing_is_on());
    handing_asked(caller);
    assert_false(handing_is_on());
    return handing_end(operator_new(), true, before);
}

static bool is_let_pass(const void *caller)
{
    struct site *site;
    return site_known(caller, &site) && site == NULL;
}

static void test_from_itself(void **state)
{
    (void)state;
    assert_false(is_let_pass(in_operator()));
    assert_true(passes_when_asked_from(in_operator()));
    assert_true(is_let_pass(in_operator()));
    assert_true(passes_when_asked_from(in_operator()));
}

/* What the operator calls may be called by others as well. */
static void test_from_elsewhere(void **state)
{
    (void)state;
    assert_false(passes_when_asked_from(far_from_it()));
    assert_false(is_let_pass(far_from_it()));
}

/* The operator is new[] and has jumped to new, whose caller is where the shim has called new[]. */
static void test_jumped(void **state)
{
    (void)state;
    const void *here = (const char *)(uintptr_t)handing_begin + INSIDE;
    assert_true(passes_when_asked_from(here));
    assert_false(is_let_pass(here)); /* all that the shim hands on comes from there */
    const void *before = handing_begin(operator_new());
    handing_asked(here);
    const void *inner = (const char *)operator_new() + 4 * KIBI, *between = handing_begin(inner);
    handing_asked((const char *)inner + INSIDE);
    assert_true(handing_end(inner, true, between));
    assert_true(handing_end(operator_new(), true, before));
}

/* It has memory of its own, or there was no rule for what it has asked for. */
static void test_not_asked(void **state)
{
    (void)state;
    const void *before = handing_begin(operator_new());
    assert_false(handing_end(operator_new(), false, before));
    assert_false(handing_is_on());
    assert_null(thread_self.handed_to);
}

int main(int count, char **arguments)
{
    (void)count;
    be_a_job(arguments);
    if (!begin_routing("export func=alpha"))
        return 77;
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_from_itself),
        cmocka_unit_test(test_from_elsewhere),
        cmocka_unit_test(test_jumped),
        cmocka_unit_test(test_not_asked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

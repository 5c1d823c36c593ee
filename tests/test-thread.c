/* SPDX-License-Identifier: MIT
 *
 * preload/thread: numbers of threads by their place in the tree of creation; sources and their counters.
 */
#include "test-preload.h"

static struct site *site;
static unsigned labels_made;

static size_t label_of_rule(const struct site *where, const struct policy_rule *rule, char *out, size_t bytes,
                            bool *counts, uint64_t *salt)
{
    assert_ptr_equal(where, site);
    labels_made++;
    *counts = rule->verb == POLICY_EXPORT;
    *salt = 77;
    return (size_t)snprintf(out, bytes, "%s", rule->name);
}

static const struct policy_rule rules[] = {
    {.verb = POLICY_EXPORT, .name = "one"},
    {.verb = POLICY_SHARE, .name = "two"},
    {.verb = POLICY_EXPORT, .name = "one"},
};

static struct thread_source *source_for(uint16_t rule)
{
    return thread_source_for(site, rule, &rules[rule], label_of_rule);
}

/* ---------------------------------------------------------------- numbers */

static char numbers[8][THREAD_NUMBER_BYTES];
static _Atomic unsigned noted;

static void *note_number(void *argument)
{
    pthread_t grandchild;
    memcpy(numbers[noted++], thread_self.number, THREAD_NUMBER_BYTES);
    if (argument != NULL && thread_create(&grandchild, NULL, note_number, NULL) == 0)
        pthread_join(grandchild, NULL);
    return argument;
}

static void test_numbers(void **state)
{
    (void)state;
    pthread_t thread;
    void *result;
    assert_string_equal(thread_self.number, "");
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(thread_create(&thread, NULL, note_number, &noted), 0);
        assert_int_equal(pthread_join(thread, &result), 0);
        assert_ptr_equal(result, &noted);
    }
    assert_int_equal(thread_self.inside, 0);
    assert_string_equal(numbers[0], "1");
    assert_string_equal(numbers[1], "1.1");
    assert_string_equal(numbers[2], "2");
    assert_string_equal(numbers[3], "2.1");
}

static int refuse(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *), void *argument)
{
    (void)thread, (void)attributes, (void)start, (void)argument;
    return EAGAIN;
}

static void test_refused(void **state)
{
    (void)state;
    pthread_t thread;
    real.pthread_create = refuse;
    assert_int_equal(thread_create(&thread, NULL, note_number, NULL), EAGAIN);
    real.pthread_create = pthread_create;
    assert_int_equal(thread_self.inside, 0);
}

/* ---------------------------------------------------------------- sources */

static void test_sources(void **state)
{
    (void)state;
    struct thread_source *one = source_for(0), *two = source_for(1), *again = source_for(2);
    assert_non_null(one);
    assert_ptr_equal(source_for(0), one);
    assert_ptr_not_equal(one, two);
    assert_ptr_not_equal(one, again);
    assert_int_equal(labels_made, 3);
    assert_int_equal(one->salt, 77);
    assert_true(one->counts);
    assert_false(two->counts);
    assert_ptr_equal(one->counter, again->counter); /* names that are alike are counted together */
    assert_ptr_not_equal(one->counter, two->counter);
    one->counter->next = 5;
    thread_after_fork();
    assert_ptr_not_equal(source_for(0), one);
    assert_int_equal(source_for(0)->counter->next, 5);
}

static size_t label_of_site(const struct site *where, const struct policy_rule *rule, char *out, size_t bytes,
                            bool *counts, uint64_t *salt)
{
    (void)rule;
    *counts = true;
    *salt = 0;
    return (size_t)snprintf(out, bytes, "site-%u", where->id / 2);
}

/* Two sites each have the same name, of thousands. */
static void test_many_sources(void **state)
{
    enum { NAMES = 3000 };
    static struct site sites[2 * NAMES];
    (void)state;
    for (uint32_t i = 0; i < NAMES; i++) {
        sites[2 * i].id = 100 + 2 * i;
        struct thread_source *source = thread_source_for(&sites[2 * i], 0, &rules[0], label_of_site);
        assert_non_null(source);
        assert_int_equal(source->counter->next, 0);
        source->counter->next = 1 + i;
    }
    for (uint32_t i = 0; i < NAMES; i++) {
        sites[2 * i + 1].id = 100 + 2 * i + 1;
        struct thread_source *source = thread_source_for(&sites[2 * i + 1], 0, &rules[0], label_of_site);
        assert_non_null(source);
        assert_int_equal(source->counter->next, 1 + i);
    }
}

static void *make_sources(void *argument)
{
    struct thread_source *source = source_for(0);
    source->counter->next++;
    *(uint64_t *)argument = source->counter->next;
    return NULL;
}

/* A thread counts for itself, and its memory goes with it. */
static void test_end(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 200; i++) {
        pthread_t thread;
        uint64_t next = 0;
        assert_int_equal(thread_create(&thread, NULL, make_sources, &next), 0);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(next, 1);
    }
}

int main(void)
{
    code_begin(NULL, "/usr/bin/tester", find_function);
    site_begin(parse("export module=*"), false);
    thread_begin();
    site = site_look_up(site_in(alpha));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_numbers),      cmocka_unit_test(test_refused), cmocka_unit_test(test_sources),
        cmocka_unit_test(test_many_sources), cmocka_unit_test(test_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

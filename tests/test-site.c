/* SPDX-License-Identifier: MIT
 *
 * preload/site: addresses of calls and what is known of them; threads that look up while the cache grows; a
 * module that is unloaded.
 */
#include "passing.h"
#include "test-preload.h"

#include <dlfcn.h>

enum { ADDRESSES = 5000, THREADS = 4 };

static void test_known(void **state)
{
    (void)state;
    struct site *site = NULL;
    assert_false(site_known(site_in(alpha), &site));
    const unsigned asked = names_asked;
    struct site *found = site_look_up(site_in(alpha));
    assert_non_null(found);
    assert_string_equal(found->module, "tester");
    assert_string_equal(found->function, "alpha");
    assert_int_equal(found->function_offset, 2);
    assert_int_equal(found->rule_count, 2);
    assert_int_equal(found->rules[0], 1);
    assert_int_equal(found->rules[1], 2);
    assert_int_not_equal(found->build, 0);
    assert_ptr_equal(site_look_up(site_in(alpha)), found);
    assert_true(site_known(site_in(alpha), &site));
    assert_ptr_equal(site, found);
    assert_int_equal(names_asked, asked + 1);
}

/* No rule can route it: that is remembered as well, and that a `pass` rule had its say. */
static void test_passed(void **state)
{
    (void)state;
    struct site *site;
    assert_false(site_was_passed(0));
    assert_null(site_look_up(site_in(beta)));
    assert_true(site_known(site_in(beta), &site));
    assert_null(site);
    assert_true(passing_caller(site_in(beta)));
    assert_false(passing_caller(site_in(alpha)));
    assert_true(site_was_passed(0));
    assert_false(site_was_passed(1));
}

static void test_describe(void **state)
{
    (void)state;
    char text[256], expected[256], few[12];
    Dl_info here;
    assert_int_not_equal(dladdr(site_in(alpha), &here), 0);
    const unsigned long offset = (unsigned long)((uintptr_t)site_in(alpha) - (uintptr_t)here.dli_fbase);
    snprintf(expected, sizeof expected, "alpha+0x2 (tester!0x%lx)", offset);
    assert_int_equal(code_describe(site_in(alpha), text, sizeof text), strlen(expected));
    assert_string_equal(text, expected);
    assert_int_equal(code_describe(site_in(alpha), few, sizeof few), 11);
    assert_string_equal(few, "alpha+0x2 (");
    snprintf(expected, sizeof expected, "tester!0x%lx", offset + 100000);
    code_describe((const unsigned char *)site_in(alpha) + 100000, text, sizeof text);
    if (strncmp(text, "tester!", 7) == 0) /* else it lies beyond the program */
        assert_string_equal(text, expected);
    code_describe((const void *)0x10, text, sizeof text);
    assert_string_equal(text, "?!0x10");
}

/* Code made at run time, for instance. */
static const void *made_up(unsigned i)
{
    return (const void *)(uintptr_t)(0x10000 + i * 8);
}

static void *look_up_all(void *argument)
{
    struct site **found = argument;
    for (unsigned i = 0; i < ADDRESSES; i++)
        found[i] = site_look_up(made_up(i));
    return NULL;
}

/* The cache grows several times meanwhile. */
static void test_threads(void **state)
{
    (void)state;
    static struct site *found[THREADS][ADDRESSES];
    pthread_t thread[THREADS];
    for (unsigned t = 0; t < THREADS; t++)
        assert_int_equal(pthread_create(&thread[t], NULL, look_up_all, found[t]), 0);
    for (unsigned t = 0; t < THREADS; t++)
        assert_int_equal(pthread_join(thread[t], NULL), 0);
    for (unsigned i = 0; i < ADDRESSES; i++) {
        assert_non_null(found[0][i]);
        assert_int_equal(found[0][i]->module_offset, (uintptr_t)made_up(i));
        for (unsigned t = 1; t < THREADS; t++)
            assert_ptr_equal(found[t][i], found[0][i]);
    }
}

static void test_unloaded(void **state)
{
    (void)state;
    struct site *site;
    void *module = dlopen("libresolv.so.2", RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) {
        print_message("skipped: no libresolv.so.2 to be loaded and unloaded\n");
        skip();
    }
    const unsigned char *inside = dlsym(module, "ns_get16");
    assert_non_null(inside);
    struct site *before = site_look_up(inside + 2);
    assert_non_null(before);
    assert_string_equal(before->module, "libresolv.so.2");
    site_forget_unloaded();
    assert_true(site_known(inside + 2, &site));
    assert_int_equal(dlclose(module), 0);
    if (dlopen("libresolv.so.2", RTLD_NOW | RTLD_NOLOAD) != NULL) {
        print_message("skipped: somebody else uses libresolv.so.2\n");
        skip();
    }
    site_forget_unloaded();
    assert_false(site_known(inside + 2, &site));
    assert_true(site_known(site_in(alpha), &site));
    struct site *after = site_look_up(inside + 2);
    assert_ptr_not_equal(after, before);
    assert_string_equal(after->module, "?");
}

/* One that no rule is for. */
static void test_passing_unloaded(void **state)
{
    (void)state;
    void *module = dlopen("libthread_db.so.1", RTLD_LAZY | RTLD_LOCAL);
    const unsigned char *inside = module != NULL ? dlsym(module, "td_init") : NULL;
    if (inside == NULL) {
        print_message("skipped: no libthread_db.so.1 to be loaded and unloaded\n");
        skip();
    }
    assert_null(site_look_up(inside + 2));
    site_forget_unloaded();
    assert_true(passing_caller(inside + 2));
    assert_int_equal(dlclose(module), 0);
    site_forget_unloaded();
    assert_false(passing_caller(inside + 2));
}

/* Nobody trusts the caches then; what is still loaded is known again afterwards, and what is found out
 * meanwhile, too. */
static void test_unloading(void **state)
{
    (void)state;
    struct site *site, *known = site_look_up(site_in(alpha));
    assert_null(site_look_up(site_in(beta)));
    assert_true(passing_caller(site_in(beta)));
    site_before_unloading();
    site_before_unloading();
    for (int left = 2; left > 0; left--) {
        assert_false(site_known(site_in(alpha), &site));
        assert_false(passing_caller(site_in(beta)));
        assert_ptr_equal(site_look_up(site_in(alpha)), known);
        assert_null(site_look_up(site_in(beta)));
        assert_null(site_look_up(site_in(beta) + left));
        assert_false(site_known(site_in(alpha), &site));
        assert_false(passing_caller(site_in(beta)));
        site_after_unloading();
    }
    assert_true(site_known(site_in(alpha), &site));
    assert_ptr_equal(site, known);
    assert_true(passing_caller(site_in(beta)));
    assert_true(passing_caller(site_in(beta) + 1));
}

int main(void)
{
    const struct policy *policy =
        parse("pass func=beta; export func=alpha size>=1K; share module=tester func=a*; share module=?; "
              "share module=libresolv*");
    code_begin(policy, "/usr/bin/tester", find_function);
    site_begin(policy, false);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_known),     cmocka_unit_test(test_passed),
        cmocka_unit_test(test_describe),  cmocka_unit_test(test_threads),
        cmocka_unit_test(test_unloaded),  cmocka_unit_test(test_passing_unloaded),
        cmocka_unit_test(test_unloading),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

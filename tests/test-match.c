/* SPDX-License-Identifier: MIT
 *
 * config/match and config/glob: the answers of a parsed policy, and the globs they rest on.
 */
#include "config/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static _Alignas(16) char memory[POLICY_MEMORY];

static const struct policy *parse(const char *text)
{
    struct policy_error error = {0};
    const struct policy *policy = policy_parse(text, strlen(text), memory, sizeof memory, &error);
    if (!policy)
        fail_msg("%s: %u:%u %s", text, error.line, error.column, error.message);
    return policy;
}

static void globs(void **state)
{
    (void)state;
    static const struct {
        const char *pattern, *text;
        bool matches;
    } cases[] = {
        {"", "", true},
        {"", "a", false},
        {"*", "", true},
        {"*", "a/b", true},
        {"**a**", "xxaxx", true},
        {"abc", "abc", true},
        {"abc", "abd", false},
        {"abc", "ab", false},
        {"ab", "abc", false},
        {"a?c", "abc", true},
        {"a?", "a", false},
        {"a*c", "abcbc", true},
        {"a*c", "abcb", false},
        {"a*b*c", "a1b2b3c", true},
        {"*ab", "aab", true},
        {"*aab", "aaab", true},
        {"*.so*", "libx.so.6", true},
        {"[abc]", "b", true},
        {"[abc]", "d", false},
        {"[abc]", "", false},
        {"[a-c]x", "bx", true},
        {"[a-c]", "-", false},
        {"[a-]", "-", true},
        {"[-a]", "-", true},
        {"[c-a]", "b", false},
        {"[!a-c]", "d", true},
        {"[!a-c]", "b", false},
        {"[^a]", "a", false},
        {"[^a]", "b", true},
        {"[a^]", "^", true},
        {"[]a]", "]", true},
        {"[!]a]", "]", false},
        {"[\\]a]", "]", true},
        {"[\\]a]", "\\", false},
        {"[a\\-z]", "-", true},
        {"[a\\-z]", "m", false},
        {"[\xe0-\xff]", "\xf0", true},
        {"[*]", "*", true},
        {"[*]", "a", false},
        {"\\*", "*", true},
        {"\\*", "a", false},
        {"\\[a]", "[a]", true},
        {"a\\", "a\\", true},
        {"a\\", "a", false},
        {"operator[]", "operator[]", true},
        {"[", "[", true},
        {"[a", "[a", true},
        {"[a", "a", false},
        {"*[a-", "xx[a-", true},
        {"*[ab]*[cd", "xa[cd", true},
        {"[!", "[!", true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (policy_glob(cases[i].pattern, cases[i].text) != cases[i].matches)
            fail_msg("'%s' and '%s': expected %d", cases[i].pattern, cases[i].text, cases[i].matches);
}

/* A matcher that comes back to every star would not end in a lifetime. */
static void hostile_globs_end(void **state)
{
    (void)state;
    enum { STARS = 4000, SETS = 500, LENGTH = 20000 };
    static char pattern[2 * STARS + 2], text[LENGTH + 1];
    memset(text, 'a', LENGTH);
    for (size_t i = 0; i < STARS; i++)
        memcpy(pattern + 2 * i, "a*", 2);
    strcpy(pattern + (size_t)2 * STARS, "b");
    assert_false(policy_glob(pattern, text));
    text[LENGTH - 1] = 'b';
    assert_true(policy_glob(pattern, text));

    memset(text, '[', LENGTH);
    pattern[0] = '*';
    memset(pattern + 1, '[', SETS);
    pattern[SETS + 1] = '\0';
    assert_true(policy_glob(pattern, text));
    strcpy(pattern + 1 + SETS, "b");
    assert_false(policy_glob(pattern, text));
}

static void programs(void **state)
{
    (void)state;
    static const struct {
        const char *directive, *path;
        bool applies;
    } cases[] = {
        {"", "/usr/bin/anything", true},
        {"program solver", "/opt/bin/solver", true},
        {"program solver", "solver", true},
        {"program solver", "/opt/solver/bin/mpirun", false},
        {"program solver", "/opt/bin/solver2", false},
        {"program sol*", "/opt/bin/solver2", true},
        {"program ./solver*", "/home/u/solver2", true},
        {"program ./solver*", "./solver2", true},
        {"program ./solver*", "solver2", true},
        {"program ./solver*", "/home/u/solver/bin/mpirun", false},
        {"program bin/app", "/opt/bin/app", true},
        {"program bin/app", "bin/app", true},
        {"program bin/app", "/opt/sbin/app", false},
        {"program bin/app", "app", false},
        {"program ./b?n/*", "/opt/bin/app", true},
        {"program /opt/bin/app", "/opt/bin/app", true},
        {"program /bin/app", "/opt/bin/app", false},
        {"program /opt/*/app", "/opt/bin/app", true},
        {"program /opt/*", "/opt/bin/app", false},
        {"program a b; program c", "/x/c", true},
        {"program a b; program c", "/x/b", true},
        {"program a b; program c", "/x/d", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++)
        if (policy_applies_to(parse(cases[i].directive), cases[i].path) != cases[i].applies)
            fail_msg("'%s' and %s: expected %d", cases[i].directive, cases[i].path, cases[i].applies);
}

static void sites(void **state)
{
    (void)state;
    static const struct policy_site library = {"libgrid.so.1", false, 0x1f0, "grid_init(int)", NULL, 0};
    static const struct policy_site program = {"solver", true, 0x1f0, "main", NULL, 0};
    static const struct policy_site nameless = {"solver", true, 0x2, NULL, NULL, 0};
    static const struct policy_site unknown = {NULL, false, 0, NULL, NULL, 0};
    static const struct policy_site impostor = {"exe", false, 0x1f0, "main", NULL, 0};
    static const struct {
        const char *rule;
        bool library, program, nameless, unknown, impostor;
    } cases[] = {
        {"share", true, true, true, true, true},
        {"share func=*", true, true, true, true, true},
        {"share func=**", true, true, false, false, true},
        {"share func=grid_*", true, false, false, false, false},
        {"share func='grid_init(int)'", true, false, false, false, false},
        {"share module=libgrid.so*", true, false, false, false, false},
        {"share module=exe", false, true, true, false, false},
        {"share module=solver", false, true, true, false, false},
        {"share module=*", true, true, true, true, true},
        {"share site=libgrid.so.1!0x1f0", true, false, false, false, false},
        {"share site=libgrid.so.1!0x1f1", false, false, false, false, false},
        {"share site=lib*!0x1f0", false, false, false, false, false},
        {"share site=exe!0x1f0", false, true, false, false, true},
        {"share site=solver!0x1F0", false, true, false, false, false},
        {"share module=exe func=main", false, true, false, false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct policy_rule *rule = &parse(cases[i].rule)->rules[0];
        if (policy_rule_matches_site(rule, &library) != cases[i].library ||
            policy_rule_matches_site(rule, &program) != cases[i].program ||
            policy_rule_matches_site(rule, &nameless) != cases[i].nameless ||
            policy_rule_matches_site(rule, &unknown) != cases[i].unknown ||
            policy_rule_matches_site(rule, &impostor) != cases[i].impostor)
            fail_msg("%s", cases[i].rule);
    }
}

static void requests(void **state)
{
    (void)state;
    const struct policy_rule *rule = &parse("share size=16..32 call=calloc,new,aligned")->rules[0];
    assert_true(policy_rule_matches_request(rule, 16, POLICY_CALL_CALLOC));
    assert_true(policy_rule_matches_request(rule, 32, POLICY_CALL_NEW));
    assert_true(policy_rule_matches_request(rule, 32, POLICY_CALL_ALIGNED));
    assert_false(policy_rule_matches_request(rule, 15, POLICY_CALL_CALLOC));
    assert_false(policy_rule_matches_request(rule, 33, POLICY_CALL_CALLOC));
    assert_false(policy_rule_matches_request(rule, 20, POLICY_CALL_MALLOC));
    assert_false(policy_rule_matches_request(rule, 20, POLICY_CALL_REALLOC));
    rule = &parse("share size>=0")->rules[0];
    assert_true(policy_rule_matches_request(rule, 0, POLICY_CALL_MALLOC));
    assert_true(policy_rule_matches_request(rule, SIZE_MAX, POLICY_CALL_REALLOC));
    assert_int_equal(parse("share call=malloc")->rules[0].calls, POLICY_CALL_MALLOC);
    assert_int_equal(parse("share call=realloc")->rules[0].calls, POLICY_CALL_REALLOC);
}

/* What the compiler inlined is there as well, where DWARF tells it. */
static void frames_of_dwarf(void **state)
{
    (void)state;
    static const struct policy_frame frames[] = {
        {"table_new", "/src/solver/table.h", 30}, {NULL, NULL, 0}, {"grid_init", "/src/solver/grid.c", 112}};
    static const struct policy_site site = {"solver", true, 0x1f0, "grid_init", frames, 3};
    static const struct policy_site bare = {"solver", true, 0x1f0, "grid_init", NULL, 0};
    static const struct {
        const char *rule;
        bool site, bare;
    } cases[] = {
        {"share func=grid_init", true, true},
        {"share func=table_new", true, false},
        {"share func=table_old", false, false},
        {"share src=table.h:30", true, false},
        {"share src=table.h:31", false, false},
        {"share src=table.h", true, false},
        {"share src=able.h:30", false, false},
        {"share src=solver/table.h:30", true, false},
        {"share src=/src/solver/table.h:30", true, false},
        {"share src=/table.h:30", true, false},
        {"share src=other/src/solver/table.h:30", false, false},
        {"share src=grid.c:100-112", true, false},
        {"share src=grid.c:112-120", true, false},
        {"share src=grid.c:113-120", false, false},
        {"share src=grid.c:30", false, false},
        {"share src=grid.c:112 func=main", false, false},
        {"share src=grid.c:112 func=table_new module=exe", true, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct policy_rule *rule = &parse(cases[i].rule)->rules[0];
        if (policy_rule_matches_site(rule, &site) != cases[i].site ||
            policy_rule_matches_site(rule, &bare) != cases[i].bare)
            fail_msg("%s", cases[i].rule);
    }
}

static void stacks(void **state)
{
    (void)state;
    static const struct policy_step steps[] = {{"xmalloc", "libgrid.so.1", false, 0x10},
                                               {"grid_new", "libgrid.so.1", false, 0x20},
                                               {"grid_init", "libgrid.so.1", false, 0x30},
                                               {NULL, "solver", true, 0x40},
                                               {"solve", "solver", true, 0x50},
                                               {"grid_init", "solver", true, 0x60},
                                               {"main", NULL, false, 0x70}};
    enum { COUNT = sizeof steps / sizeof steps[0] };
    static const struct {
        const char *stack;
        bool first, second; /* when the innermost may be the first frame only; the first or the second */
    } cases[] = {
        {"xmalloc", true, true},
        {"grid_new", false, true},
        {"grid_init", false, false},
        {"xmalloc<-grid_new", true, true},
        {"grid_new<-grid_init", false, true},
        {"xmalloc<-grid_init", false, false},
        {"xmalloc<-...<-grid_init", true, true},
        {"xmalloc<-...<-grid_new", true, true},
        {"xmalloc<-...<-xmalloc", false, false},
        {"...<-grid_init", true, true},
        {"...<-main", true, true},
        {"...<-grid_init<-main", true, true},
        {"...<-solve<-main", false, false},
        {"...<-...<-solve", true, true},
        {"xmalloc<-*<-grid_*<-*<-solve", true, true},
        {"xmalloc<-*<-grid_*<-?*<-solve", false, false},
        {"grid_new<-...<-solve<-...<-main", false, true},
        {"...<-grid_init<-main<-start", false, false},
        {"...<-main<-...<-start", false, false},
        {"libgrid.so.1!0x10", true, true},
        {"libgrid.so.1!0x20", false, true},
        {"libgrid.so!0x10", false, false},
        {"libgrid.so.1!0x11", false, false},
        {"exe!0x10", false, false},
        {"libgrid.so.1!0x10<-grid_new<-*<-exe!0x40<-solver!0x50", true, true},
        {"xmalloc<-...<-exe!0x60<-main", true, true},
        {"xmalloc<-...<-exe!0x70", false, false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128] = "share stack=";
        strcat(text, cases[i].stack);
        const struct policy_rule *rule = &parse(text)->rules[0];
        if (policy_rule_matches_stack(rule, steps, COUNT, 1) != cases[i].first ||
            policy_rule_matches_stack(rule, steps, COUNT, 2) != cases[i].second)
            fail_msg("%s", cases[i].stack);
        assert_false(policy_rule_matches_stack(rule, steps, 0, 1));
    }
    assert_true(policy_rule_matches_stack(&parse("share func=a")->rules[0], steps, COUNT, 1));
}

static void wrappers(void **state)
{
    (void)state;
    const struct policy *policy = parse("wrapper func=my_* module=libgrid.so*\nwrapper func=take module=exe");
    assert_true(policy_is_wrapper(policy, "my_alloc", "libgrid.so.1", false));
    assert_false(policy_is_wrapper(policy, "my_alloc", "libother.so", false));
    assert_false(policy_is_wrapper(policy, "alloc", "libgrid.so.1", false));
    assert_true(policy_is_wrapper(policy, "take", "solver", true));
    assert_false(policy_is_wrapper(policy, "take", "solver", false));
    assert_false(policy_is_wrapper(policy, NULL, "solver", true));
    policy = parse("");
    static const char *const known[] = {"xmalloc",
                                        "PyMem_RawMalloc",
                                        "PyDataMem_UserNEW",
                                        "_gfortrani_xmallocarray",
                                        "std::__new_allocator<double>::allocate",
                                        "std::_Vector_base<int, std::allocator<int> >::_M_allocate"};
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++)
        assert_true(policy_is_wrapper(policy, known[i], "x", false));
    static const char *const others[] = {"main", "my_alloc", "PyList_New", "std::vector<int>::resize",
                                         "malloc_table"};
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++)
        assert_false(policy_is_wrapper(policy, others[i], "x", false));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(globs),    cmocka_unit_test(hostile_globs_end), cmocka_unit_test(programs),
        cmocka_unit_test(sites),    cmocka_unit_test(frames_of_dwarf),   cmocka_unit_test(stacks),
        cmocka_unit_test(wrappers), cmocka_unit_test(requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

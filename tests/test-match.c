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
    static const struct policy_site library = {"libgrid.so.1", false, 0x1f0, "grid_init(int)"};
    static const struct policy_site program = {"solver", true, 0x1f0, "main"};
    static const struct policy_site nameless = {"solver", true, 0x2, NULL};
    static const struct policy_site unknown = {NULL, false, 0, NULL};
    static const struct policy_site impostor = {"exe", false, 0x1f0, "main"};
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(globs), cmocka_unit_test(hostile_globs_end), cmocka_unit_test(programs),
        cmocka_unit_test(sites), cmocka_unit_test(requests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

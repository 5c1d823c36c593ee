/* SPDX-License-Identifier: MIT
 *
 * config/policy: what a text means. What is refused is in test-policy-errors.c, the matching in test-match.c.
 */
#include "config/policy.h"

#include <limits.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static _Alignas(16) char memory[POLICY_MEMORY];

static const struct policy *parse_bytes(const char *text, size_t length)
{
    struct policy_error error = {0};
    const size_t bytes = policy_memory(text, length);
    assert_true(bytes <= sizeof memory);
    memset(memory, 0xa5, sizeof memory); /* the parser must not count on zeros */
    const struct policy *policy = policy_parse(text, length, memory, bytes, &error);
    if (!policy)
        fail_msg("refused at %u:%u: %s\n%s", error.line, error.column, error.message, text);
    for (size_t i = bytes; i < sizeof memory && i < bytes + 4096; i++)
        assert_int_equal((unsigned char)memory[i], 0xa5);
    return policy;
}

static const struct policy *parse(const char *text)
{
    return parse_bytes(text, strlen(text));
}

static const struct policy_rule *rule_of(const char *text)
{
    const struct policy *policy = parse(text);
    assert_int_equal(policy->rule_count, 1);
    return &policy->rules[0];
}

static void nothing_is_a_policy_without_rules(void **state)
{
    (void)state;
    const char *const texts[] = {"", " \t\r\n", "# export", ";;\n;", "\xef\xbb\xbf", "  # a\r\n# b; pass"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const struct policy *policy = parse(texts[i]);
        assert_int_equal(policy->rule_count, 0);
        assert_int_equal(policy->program_count, 0);
        assert_int_equal(policy->segment_count, 1);
        assert_string_equal(policy->segments[0].name, POLICY_DEFAULT_SEGMENT);
        assert_int_equal(policy->segments[0].size, 0);
        assert_int_equal(policy->segments[0].line, 0);
        assert_true(policy->size_floor == SIZE_MAX);
        assert_false(policy->needs_functions);
    }
    assert_non_null(parse_bytes(NULL, 0));
}

static void every_part_of_a_rule_is_kept(void **state)
{
    (void)state;
    const struct policy *policy =
        parse("segment SHARED::a size=8G scope=node numa=interleave\n"
              "segment SHARED::b dir='/mnt/a b'  scope=numa; segment SHARED::c scope=socket numa=local\n"
              "# a remark\n"
              "  export func=grid_* module=lib?.so site=a!b!0xFf0 size=64K..4G "
              "call=malloc,new name=f/{func}#{seq} segment=SHARED::b full=fail "
              "reserve=touch fork=overlay  # the end\n"
              "share; pass size<1K");
    assert_int_equal(policy->segment_count, 3);
    assert_string_equal(policy->segments[0].name, "SHARED::a");
    assert_int_equal(policy->segments[0].scope, POLICY_SCOPE_NODE);
    assert_int_equal(policy->segments[1].scope, POLICY_SCOPE_NUMA);
    assert_int_equal(policy->segments[2].scope, POLICY_SCOPE_SOCKET);
    assert_true(policy->segments[0].interleave);
    assert_false(policy->segments[1].interleave);
    assert_false(policy->segments[2].interleave);
    assert_true(policy->segments[0].size == (size_t)8 << 30);
    assert_null(policy->segments[0].dir);
    assert_int_equal(policy->segments[1].line, 2);
    assert_string_equal(policy->segments[1].dir, "/mnt/a b");
    assert_int_equal(policy->rule_count, 3);

    const struct policy_rule *rule = &policy->rules[0];
    assert_int_equal(rule->verb, POLICY_EXPORT);
    assert_int_equal(rule->line, 4);
    assert_string_equal(rule->text, "export func=grid_* module=lib?.so site=a!b!0xFf0 size=64K..4G "
                                    "call=malloc,new name=f/{func}#{seq} segment=SHARED::b full=fail "
                                    "reserve=touch fork=overlay");
    assert_string_equal(rule->func, "grid_*");
    assert_string_equal(rule->module, "lib?.so");
    assert_string_equal(rule->site_module, "a!b");
    assert_true(rule->site_offset == 0xff0);
    assert_true(rule->size_min == (size_t)64 << 10 && rule->size_max == (size_t)4 << 30);
    assert_int_equal(rule->calls, POLICY_CALL_MALLOC | POLICY_CALL_NEW);
    assert_string_equal(rule->name, "f/{func}#{seq}");
    assert_int_equal(rule->segment, 1);
    assert_true(rule->full_fails && rule->reserve_touch);
    assert_int_equal(rule->fork, POLICY_FORK_OVERLAY);
}

static void what_is_not_said_has_its_default(void **state)
{
    (void)state;
    const struct policy_rule *rule = rule_of("share");
    assert_int_equal(rule->verb, POLICY_SHARE);
    assert_null(rule->func);
    assert_null(rule->module);
    assert_null(rule->site_module);
    assert_null(rule->name);
    assert_true(rule->size_min == 0 && rule->size_max == SIZE_MAX);
    assert_int_equal(rule->calls, POLICY_CALL_ANY);
    assert_int_equal(rule->segment, 0);
    assert_false(rule->full_fails || rule->reserve_touch);
    assert_int_equal(rule->fork, POLICY_FORK_COPY);
    assert_true(rule->quiet == 0);
    assert_string_equal(rule->text, "share");
}

static void lines_and_stacks(void **state)
{
    (void)state;
    const struct policy_rule *rule = rule_of("export src=solver/mesh.c:12-40 stack=alloc*<-...<-solve");
    assert_string_equal(rule->source, "solver/mesh.c");
    assert_int_equal(rule->source_first, 12);
    assert_int_equal(rule->source_last, 40);
    assert_int_equal(rule->stack_count, 3);
    assert_string_equal(rule->stack[0], "alloc*");
    assert_null(rule->stack[1]);
    assert_string_equal(rule->stack[2], "solve");
    rule = rule_of("pass src=\"a b:c.f90:7\"");
    assert_string_equal(rule->source, "a b:c.f90");
    assert_int_equal(rule->source_first, 7);
    assert_int_equal(rule->source_last, 7);
    rule = rule_of("pass src=mesh.c");
    assert_int_equal(rule->source_first, 1);
    assert_true(rule->source_last == UINT_MAX);
    const struct policy *policy = parse("pass\nwrapper module=exe func=take; wrapper func=x");
    assert_int_equal(policy->wrapper_count, 2);
    assert_string_equal(policy->wrappers[0].func, "take");
    assert_string_equal(policy->wrappers[0].module, "exe");
    assert_null(policy->wrappers[1].module);
    assert_int_equal(policy->wrappers[1].line, 2);
    assert_true(policy->needs_functions);
    policy = parse("share name=x size>=1");
    assert_false(policy->needs_functions || policy->needs_lines || policy->needs_stacks);
    assert_true(parse("pass src=a.c")->needs_lines);
    policy = parse("share name=x stack=a");
    assert_true(policy->needs_stacks && policy->needs_functions && !policy->needs_lines);
}

static void a_merge_rule_says_when(void **state)
{
    (void)state;
    const struct {
        const char *text;
        enum policy_when when;
        uint64_t milliseconds;
    } cases[] = {
        {"merge", POLICY_WHEN_QUIET, 2000},
        {"merge when=quiet:2s", POLICY_WHEN_QUIET, 2000},
        {"merge when=quiet:100ms", POLICY_WHEN_QUIET, 100},
        {"merge when='quiet:500ms'", POLICY_WHEN_QUIET, 500},
        {"merge when=quiet:1m", POLICY_WHEN_QUIET, 60000},
        {"merge when=quiet:1h", POLICY_WHEN_QUIET, 3600000},
        {"merge when=quiet:3600000ms", POLICY_WHEN_QUIET, 3600000},
        {"merge when=barrier", POLICY_WHEN_BARRIER, 0},
        {"merge when=manual", POLICY_WHEN_MANUAL, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct policy_rule *rule = rule_of(cases[i].text);
        assert_int_equal(rule->verb, POLICY_MERGE);
        if (rule->when != cases[i].when || rule->quiet != cases[i].milliseconds * 1000000)
            fail_msg("%s: %d, %llu ns", cases[i].text, (int)rule->when, (unsigned long long)rule->quiet);
    }
}

static void a_merge_rule_takes_matches_a_name_and_a_segment(void **state)
{
    (void)state;
    const struct policy *policy = parse("segment SHARED::a; segment SHARED::b\n"
                                        "merge func=grid_* module=exe site=a!0x1 size>=64K call=malloc "
                                        "name=grid{seq} segment=SHARED::b when=barrier");
    const struct policy_rule *rule = &policy->rules[0];
    assert_string_equal(rule->func, "grid_*");
    assert_string_equal(rule->module, "exe");
    assert_string_equal(rule->site_module, "a");
    assert_true(rule->size_min == (size_t)64 << 10);
    assert_int_equal(rule->calls, POLICY_CALL_MALLOC);
    assert_string_equal(rule->name, "grid{seq}");
    assert_int_equal(rule->segment, 1);
    assert_int_equal(rule->when, POLICY_WHEN_BARRIER);
}

static void the_text_is_not_needed_afterwards(void **state)
{
    (void)state;
    char text[] = "segment SHARED::x\nprogram a*\nexport func=f module=m site=s!0x1 name=n";
    const struct policy *policy = parse(text);
    memset(text, '?', sizeof text);
    assert_string_equal(policy->segments[0].name, "SHARED::x");
    assert_string_equal(policy->programs[0], "a*");
    assert_string_equal(policy->rules[0].func, "f");
    assert_string_equal(policy->rules[0].module, "m");
    assert_string_equal(policy->rules[0].site_module, "s");
    assert_string_equal(policy->rules[0].name, "n");
    assert_string_equal(policy->rules[0].text, "export func=f module=m site=s!0x1 name=n");
}

static void sizes(void **state)
{
    (void)state;
    const struct {
        const char *text;
        size_t least, most;
    } cases[] = {
        {"pass size>=5", 5, SIZE_MAX},
        {"pass size>5", 6, SIZE_MAX},
        {"pass size<5", 0, 4},
        {"pass size<=5", 0, 5},
        {"pass size=5", 5, 5},
        {"pass size=5..7", 5, 7},
        {"pass size=7..7", 7, 7},
        {"pass size>='3'", 3, SIZE_MAX},
        {"pass size=1K", (size_t)1 << 10, (size_t)1 << 10},
        {"pass size=1m..1G", (size_t)1 << 20, (size_t)1 << 30},
        {"pass size>=2T", (size_t)2 << 40, SIZE_MAX},
        {"pass size>=1K size<2K", 1024, 2047},
        {"pass size<2K size>1K", 1025, 2047},
        {"pass size<=18446744073709551615", 0, SIZE_MAX},
        {"pass size=16777215T", (size_t)16777215 << 40, (size_t)16777215 << 40},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct policy_rule *rule = rule_of(cases[i].text);
        if (rule->size_min != cases[i].least || rule->size_max != cases[i].most)
            fail_msg("%s: %zu..%zu", cases[i].text, rule->size_min, rule->size_max);
    }
}

static void an_empty_range_matches_nothing(void **state)
{
    (void)state;
    const char *const texts[] = {"export size<0", "export size>18446744073709551615", "export size<0 size>=0",
                                 "export size>=9 size<9"};
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        const struct policy *policy = parse(texts[i]);
        assert_true(policy->size_floor == SIZE_MAX);
        const size_t sizes_tried[] = {0, 1, 8, 9, SIZE_MAX - 1, SIZE_MAX};
        for (size_t k = 0; k < 6; k++)
            assert_false(policy_rule_matches_request(&policy->rules[0], sizes_tried[k], POLICY_CALL_MALLOC));
    }
}

static void quotes_blanks_and_line_ends(void **state)
{
    (void)state;
    assert_string_equal(rule_of("export func=\"f(int, char *); # x\"")->func, "f(int, char *); # x");
    assert_string_equal(rule_of("export func='operator\"\"_x' ")->func, "operator\"\"_x");
    assert_string_equal(rule_of("export func=a#b")->func, "a#b");
    assert_string_equal(rule_of("export func=#b")->func, "#b");
    assert_string_equal(rule_of("export func==b")->func, "=b");
    assert_string_equal(rule_of("export func=<lambda>")->func, "<lambda>");
    assert_string_equal(rule_of("export func=a;# b")->func, "a");
    assert_string_equal(rule_of("export func=\xc3\xa9")->func, "\xc3\xa9");
    assert_string_equal(rule_of("export name='a b'")->text, "export name='a b'");
    assert_int_equal(rule_of("\xef\xbb\xbf\r\n\r\nexport\tfunc=x\r\n")->line, 3);
    assert_string_equal(rule_of("export func=x\r\n")->func, "x");
    assert_string_equal(rule_of("export func=x\r")->func, "x");
    assert_string_equal(parse("segment 'SHARED b' ; export")->segments[0].name, "SHARED b");
    const struct policy *policy = parse("program 'my prog' b*;program c");
    assert_int_equal(policy->program_count, 3);
    assert_string_equal(policy->programs[0], "my prog");
    assert_string_equal(policy->programs[2], "c");
}

static void segments_may_be_declared_after_their_use(void **state)
{
    (void)state;
    const struct policy *policy =
        parse("export segment=SHARED::y; segment SHARED::x; segment SHARED::y; pass");
    assert_int_equal(policy->rules[0].segment, 1);
    assert_int_equal(policy->rules[1].segment, 0);
    assert_int_equal(rule_of("export segment=" POLICY_DEFAULT_SEGMENT)->segment, 0);
}

static void the_size_floor_is_that_of_the_rules_that_route(void **state)
{
    (void)state;
    assert_true(parse("pass size>=1")->size_floor == SIZE_MAX);
    assert_true(parse("pass; export size>=64K; share size=3K..4K")->size_floor == 3072);
    assert_true(parse("export size<0; share size>9")->size_floor == 10);
    assert_true(parse("export size>=64K; share func=x")->size_floor == 0);
    assert_true(parse("export size>=64K; merge size>=4K")->size_floor == 4096);
    assert_true(parse("merge")->size_floor == 0);
}

static void functions_are_needed_for_matches_and_names(void **state)
{
    (void)state;
    assert_true(parse("pass func=x")->needs_functions);
    assert_true(parse("export name=a func=x")->needs_functions);
    assert_true(parse("export")->needs_functions);
    assert_true(parse("share name={func}")->needs_functions);
    assert_true(parse("merge")->needs_functions);
    assert_false(parse("merge name=x size>=1M")->needs_functions);
    assert_false(parse("share name={module}#{seq}")->needs_functions);
    assert_false(parse("pass size<1K; pass module=x")->needs_functions);
}

/* The longest text in which everything is kept twice must still fit the memory. */
static void a_full_text_stays_within_its_memory(void **state)
{
    (void)state;
    static char text[POLICY_TEXT_MAX];
    memset(text, 'x', sizeof text);
    memcpy(text, "pass func=", 10);
    const struct policy *policy = parse_bytes(text, sizeof text);
    assert_int_equal(strlen(policy->rules[0].func), sizeof text - 10);
    assert_int_equal(strlen(policy->rules[0].text), sizeof text);
    const char *end = policy->rules[0].text + sizeof text;
    assert_true(end < memory + sizeof memory);
}

/* The texts that take the most memory for their length. */
static void dense_texts_stay_within_their_memory(void **state)
{
    static const char *const dense[] = {"pass;", "export segment=SHARED::a;",
                                        "pass stack=a<-b<-c<-d<-e<-f<-g<-h<-i<-j<-k<-l<-m<-n<-o<-p;"};
    static char text[POLICY_TEXT_MAX] = "segment SHARED::a;";
    const size_t begin = strlen(text);
    (void)state;
    for (size_t i = 0; i < sizeof dense / sizeof dense[0]; i++)
        for (size_t rules = 1; rules <= POLICY_RULES_MAX; rules += 5) {
            text[begin] = '\0';
            for (size_t k = 0; k < rules; k++)
                strcat(text, dense[i]);
            assert_int_equal(parse(text)->rule_count, rules);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_is_a_policy_without_rules),
        cmocka_unit_test(every_part_of_a_rule_is_kept),
        cmocka_unit_test(what_is_not_said_has_its_default),
        cmocka_unit_test(lines_and_stacks),
        cmocka_unit_test(a_merge_rule_says_when),
        cmocka_unit_test(a_merge_rule_takes_matches_a_name_and_a_segment),
        cmocka_unit_test(the_text_is_not_needed_afterwards),
        cmocka_unit_test(sizes),
        cmocka_unit_test(an_empty_range_matches_nothing),
        cmocka_unit_test(quotes_blanks_and_line_ends),
        cmocka_unit_test(segments_may_be_declared_after_their_use),
        cmocka_unit_test(the_size_floor_is_that_of_the_rules_that_route),
        cmocka_unit_test(functions_are_needed_for_matches_and_names),
        cmocka_unit_test(a_full_text_stays_within_its_memory),
        cmocka_unit_test(dense_texts_stay_within_their_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * config/trace: which frame is the call site, and what rules hold for a whole stack. The shim's own answers
 * to the same questions are in preload-stacks.sh.
 */
#include "config/trace.h"

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

static const struct policy_frame inlined[] = {{"fill", "/src/grid.c", 12}, {"grid_init", "/src/grid.c", 40}};
static const struct policy_site frames[] = {
    {.module = "liballoc.so", .offset = 0x10, .function = "xmalloc"},
    {.module = "liballoc.so", .offset = 0x20, .function = "take"},
    {.module = "solver",
     .module_is_program = true,
     .offset = 0x30,
     .function = "grid_init",
     .frames = inlined,
     .frame_count = 2},
    {.module = "solver", .module_is_program = true, .offset = 0x40},
    {.module = "solver", .module_is_program = true, .offset = 0x50, .function = "main"}};
enum { FRAMES = sizeof frames / sizeof frames[0] };

static void sites(void **state)
{
    (void)state;
    assert_int_equal(trace_site(parse(""), frames, FRAMES), 1);
    assert_int_equal(trace_site(parse("wrapper func=take"), frames, FRAMES), 2);
    assert_int_equal(trace_site(parse("wrapper func=take module=exe"), frames, FRAMES), 1);
    assert_int_equal(trace_site(parse("wrapper func=*"), frames, FRAMES), 3); /* no name, no wrapper */
    assert_int_equal(trace_site(parse("wrapper func=take"), frames, 2), 1);   /* all are */
    assert_int_equal(trace_site(parse("wrapper func=take"), frames, 1), 0);
}

static void rules(void **state)
{
    (void)state;
    static const struct {
        const char *rule;
        bool matches;
    } cases[] = {
        {"merge func=xmalloc", true},
        {"merge func=take", true},
        {"merge func=grid_init", true},
        {"merge func=fill", true},
        {"merge func=main", false},
        {"merge module=liballoc.so", true},
        {"merge module=exe func=take", false},
        {"merge site=solver!0x30", true},
        {"merge site=solver!0x40", false},
        {"merge src=grid.c:12", true},
        {"merge src=grid.c:13", false},
        {"merge stack=xmalloc<-take<-grid_init", true},
        {"merge stack=take<-fill<-grid_init<-*<-main", true},
        {"merge stack=grid_init<-exe!0x40<-main", true},
        {"merge stack=grid_init<-exe!0x41<-main", false},
        {"merge stack=main", false},
        {"merge stack=...<-main", true},
        {"merge func=take stack=grid_init<-*<-main", true},
        {"merge func=other stack=grid_init<-*<-main", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char text[128] = "wrapper func=take; ";
        const struct policy *policy = parse(strcat(text, cases[i].rule));
        const size_t site = trace_site(policy, frames, FRAMES);
        if (trace_matches(&policy->rules[0], frames, FRAMES, site) != cases[i].matches)
            fail_msg("%s", cases[i].rule);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(sites), cmocka_unit_test(rules)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}

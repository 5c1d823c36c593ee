/* SPDX-License-Identifier: MIT
 *
 * config/policy: what is refused, where, and with which words.
 */
#include "config/policy.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

static _Alignas(16) char memory[POLICY_MEMORY];

static const struct policy *parse_bytes(const char *text, size_t length)
{
    struct policy_error error = {0};
    const struct policy *policy = policy_parse(text, length, memory, sizeof memory, &error);
    if (!policy)
        fail_msg("refused at %u:%u: %s\n%s", error.line, error.column, error.message, text);
    return policy;
}

/* A text, the place of its error, and the message; a message ending in "…" is a beginning only. */
struct refusal {
    const char *text;
    unsigned line, column;
    const char *message;
};

static void check_refusal(const struct refusal *refusal, size_t length)
{
    struct policy_error error = {0};
    if (policy_parse(refusal->text, length, memory, sizeof memory, &error))
        fail_msg("accepted: %s", refusal->text);
    size_t compared = strlen(refusal->message), dots = strlen("…");
    bool whole = compared < dots || strcmp(refusal->message + compared - dots, "…") != 0;
    bool same = whole ? strcmp(error.message, refusal->message) == 0
                      : strncmp(error.message, refusal->message, compared - dots) == 0;
    if (!same || error.line != refusal->line || error.column != refusal->column)
        fail_msg("%s\nexpected %u:%u: %s\nfound    %u:%u: %s", refusal->text, refusal->line, refusal->column,
                 refusal->message, error.line, error.column, error.message);
}

static void check_refusals(const struct refusal *refusals, size_t count)
{
    for (size_t i = 0; i < count; i++)
        check_refusal(&refusals[i], strlen(refusals[i].text));
}
#define CHECK_REFUSALS(array) check_refusals(array, sizeof(array) / sizeof(array)[0])

static void misspelt_words_are_refused_with_a_suggestion(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {"exprot func=x", 1, 1,
         "expected segment, program, wrapper, pass, export, share or merge, found 'exprot'; did you mean "
         "'export'?"},
        {"\n\n   SHARE", 3, 4,
         "expected segment, program, wrapper, pass, export, share or merge, found 'SHARE'; did you mean "
         "'share'?"},
        {"pass; frobnicate", 1, 7,
         "expected segment, program, wrapper, pass, export, share or merge, found 'frobnicate'"},
        {"pass fnc=x", 1, 6,
         "expected func=, module=, site=, src=, stack=, size>= or call=, found 'fnc=x'; did you mean "
         "'func'?"},
        {"pass export", 1, 6,
         "expected func=, module=, site=, src=, stack=, size>= or call=, found 'export'"},
        {"export nmae=x", 1, 8,
         "expected func=, module=, site=, src=, stack=, size>= or call=, or an option name=, segment=, "
         "full=, reserve= or "
         "fork=, "
         "found 'nmae=x'; did you mean 'name'?"},
        {"share nmae=x", 1, 7,
         "expected func=, module=, site=, src=, stack=, size>= or call=, or an option name=, segment=, full= "
         "or reserve=, "
         "found 'nmae=x'; did you mean 'name'?"},
        {"merge whem=manual", 1, 7,
         "expected func=, module=, site=, src=, stack=, size>= or call=, or an option name=, segment= or "
         "when=, "
         "found 'whem=manual'; did you mean 'when'?"},
        {"merge folk=copy", 1, 7, /* what merge does not take is not suggested */
         "expected func=, module=, site=, src=, stack=, size>= or call=, or an option name=, segment= or "
         "when=, "
         "found 'folk=copy'"},
        {"merge when=barier", 1, 12,
         "expected when=quiet:2s, when=barrier or when=manual, found 'barier'; did you mean 'barrier'?"},
        {"merge when=quiet", 1, 12, "expected when=quiet:2s, when=barrier or when=manual, found 'quiet'"},
        {"merg", 1, 1,
         "expected segment, program, wrapper, pass, export, share or merge, found 'merg'; did you mean "
         "'merge'?"},
        {"export call=malloc,cloc", 1, 20,
         "expected malloc, calloc, realloc, aligned or new, found 'cloc'; did you mean 'calloc'?"},
        {"export call=mallo", 1, 13,
         "expected malloc, calloc, realloc, aligned or new, found 'mallo'; did you mean 'malloc'?"},
        {"pa", 1, 1, "expected segment, program, wrapper, pass, export, share or merge, found 'pa'"},
        {"export call=malloc,", 1, 20, "expected malloc, calloc, realloc, aligned or new, found ''"},
        {"export full=fial", 1, 13,
         "expected full=fallback or full=fail, found 'fial'; did you mean 'fail'?"},
        {"export reserve=x", 1, 16, "expected reserve=full or reserve=touch, found 'x'"},
        {"export fork=x", 1, 13, "expected fork=copy, fork=overlay or fork=share, found 'x'"},
        {"segment SHARED sizes=1", 1, 16,
         "expected size=, scope=, dir= or numa=, found 'sizes=1'; did you mean 'size'?"},
        {"segment SHARED dir=here", 1, 20, "expected a directory that begins with '/', found 'here'"},
        {"segment SHARED scope=sockets", 1, 22,
         "expected scope=node, scope=socket or scope=numa, found 'sockets'; did you mean 'socket'?"},
        {"segment SHARED scope>=numa", 1, 16,
         "expected scope=node, scope=socket or scope=numa, found 'scope>=numa'"},
        {"segment SHARED numa=all", 1, 21, "expected numa=local or numa=interleave, found 'all'"},
        {"segment SHARED scope=rack", 1, 22, "expected scope=node, scope=socket or scope=numa, found 'rack'"},
        {"export name={fun}", 1, 13,
         "expected {module}, {func}, {offset}, {seq}, {thread}, {rank}, {pid} or {size}, found '{fun}'; "
         "did you mean '{func}'?"},
        {"segment SHARED::b\nexport segment=SHARED::c", 2, 16,
         "expected the name of a declared segment, found 'SHARED::c'; did you mean 'SHARED::b'?"},
        {"segment SHARED::b\nexport segment=" POLICY_DEFAULT_SEGMENT, 2, 16,
         "expected the name of a declared segment, found 'SHARED::node'"},
    };
    CHECK_REFUSALS(refusals);
}

static void missing_things_are_named(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {"export func=", 1, 8, "a value is missing after func="},
        {"export func=''", 1, 8, "a value is missing after func="},
        {"export func= x", 1, 8, "a value is missing after func="},
        {"export size>=;", 1, 8, "a value is missing after size>="},
        {"export func", 1, 8, "expected func=GLOB, found 'func'"},
        {"merge when=", 1, 7, "a value is missing after when="},
        {"merge when", 1, 7, "expected when=quiet:2s, when=barrier or when=manual, found 'when'"},
        {"export func>=x", 1, 8, "expected func=GLOB, found 'func>=x'"},
        {"export size", 1, 8, "expected size>=N, size<N or size=A..B, found 'size'"},
        {"segment", 1, 1, "a name is missing after segment"},
        {"segment ''", 1, 9, "a name is missing after segment"},
        {"segment SHARED size", 1, 16, "expected size=N, found 'size'"},
        {"segment SHARED size=", 1, 16, "a value is missing after size="},
        {" program # x", 1, 2, "a name is missing after program"},
        {"program a \"\"", 1, 11, "a name is missing after program"},
    };
    CHECK_REFUSALS(refusals);
}

static void bad_values_are_refused_at_their_place(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {"export size=5G..1G", 1, 13, "expected the smaller size first, found '5G..1G'"},
        {"export size=1..", 1, 13, "expected two sizes as in 64K..4G, found '1..'"},
        {"export size=1..x", 1, 16, "expected a number of bytes such as 64, 4K, 8M, 2G or 1T, found 'x'"},
        {"export size>=1..2", 1, 14, "expected a number of bytes…"},
        {"export size>=\"1x\"", 1, 15, "expected a number of bytes such as 64, 4K, 8M, 2G or 1T, found '1x'"},
        {"export size>=-1", 1, 14, "expected a number of bytes…"},
        {"export size>=K", 1, 14, "expected a number of bytes…"},
        {"export size>=1KB", 1, 14, "expected a number of bytes…"},
        {"export size>=18446744073709551616", 1, 14,
         "expected a number of bytes below 2^64, found '18446744073709551616'"},
        {"export size>=16777216T", 1, 14, "expected a number of bytes below 2^64, found '16777216T'"},
        {"merge when=quiet:", 1, 18, "expected a duration such as 500ms, 2s or 1m, found ''"},
        {"merge when=quiet:2", 1, 18, "expected a duration such as 500ms, 2s or 1m, found '2'"},
        {"merge when=quiet:s", 1, 18, "expected a duration such as 500ms, 2s or 1m, found 's'"},
        {"merge when=quiet:2S", 1, 18, "expected a duration…"},
        {"merge when=quiet:1.5s", 1, 18, "expected a duration…"},
        {"merge when=quiet:-1s", 1, 18, "expected a duration…"},
        {"merge when='quiet:2 s'", 1, 19, "expected a duration such as 500ms, 2s or 1m, found '2 s'"},
        {"merge when=quiet:99ms", 1, 18, "expected a duration from 100ms to 1h, found '99ms'"},
        {"merge when=quiet:0h", 1, 18, "expected a duration from 100ms to 1h, found '0h'"},
        {"merge when=quiet:3600001ms", 1, 18, "expected a duration from 100ms to 1h, found '3600001ms'"},
        {"merge when=quiet:2h", 1, 18, "expected a duration from 100ms to 1h, found '2h'"},
        {"merge when=quiet:5124096h", 1, 18, /* in nanoseconds, modulo 2^64, 25 minutes */
         "expected a duration from 100ms to 1h, found '5124096h'"},
        {"merge when=quiet:18446744073709551616s", 1, 18, "expected a duration from 100ms to 1h…"},
        {"segment SHARED size=0", 1, 21, "expected a size above 0, found '0'"},
        {"export site=a!12", 1, 13,
         "expected a call site as in libsolver.so!0x1a2b or exe!0x4f0, found 'a!12'"},
        {"export site=!0x1", 1, 13, "expected a call site…"},
        {"export site=a", 1, 13, "expected a call site…"},
        {"export site=a!0x", 1, 13, "expected a call site…"},
        {"export site=a!0x1g", 1, 13, "expected a call site…"},
        {"export site=a!0x10000000000000000", 1, 13, "expected a call site…"},
        {"export name=a{func", 1, 14, "expected a closing } after the placeholder, found '{func'"},
        {"export name='a b}'", 1, 17, "expected a { before the }, found '}'"},
        {"export name=a\xff", 1, 14, "expected printable UTF-8, found '\\xff'"},
        {"segment node", 1, 9,
         "expected a segment name that contains SHARED, such as SHARED::node, found 'node'"},
        {"segment SHARED/x", 1, 9, "expected a segment name without a /, found 'SHARED/x'"},
        {"segment SHARED\xc2\x85", 1, 9,
         "expected a segment name in printable UTF-8, found 'SHARED\\xc2\\x85'"},
    };
    CHECK_REFUSALS(refusals);
}

static void repetitions_are_refused(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {"export func=a func=b", 1, 15, "'func=' is given twice"},
        {"export name=a\texport;", 1, 15, "expected func=, module=…"},
        {"export full=fail full=fail", 1, 18, "'full=' is given twice"},
        {"export segment=SHARED::node segment=SHARED::node", 1, 29, "'segment=' is given twice"},
        {"merge when=manual when=manual", 1, 19, "'when=' is given twice"},
        {"export size>=1 size>2", 1, 16, "'size>' is given twice"},
        {"export size=1 size<2", 1, 15, "'size<' is given twice"},
        {"segment SHARED size=1 size=2", 1, 23, "'size=' is given twice"},
        {"segment SHARED::x\r\nsegment 'SHARED::x'", 2, 10,
         "segment 'SHARED::x' is declared already, on line 1"},
    };
    CHECK_REFUSALS(refusals);
    assert_non_null(parse_bytes("export func=a\nexport func=b", 27)); /* each rule counts for itself */
}

static void options_belong_to_verbs(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {"pass name=x", 1, 6, "'name=' is an option; pass takes matches only"},
        {"pass func=a full=fail", 1, 13, "'full=' is an option; pass takes matches only"},
        {"pass when=manual", 1, 6, "'when=' is an option; pass takes matches only"},
        {"share fork=copy", 1, 7, "'fork=' is an option of export; blocks of share stay shared"},
        {"export when=quiet:2s", 1, 8, "'when=' is an option of merge"},
        {"share when=manual", 1, 7, "'when=' is an option of merge"},
        {"merge full=fail", 1, 7, "'full=' is no option of merge, whose blocks are private memory"},
        {"merge func=a reserve=full", 1, 14,
         "'reserve=' is no option of merge, whose blocks are private memory"},
        {"merge fork=copy", 1, 7, "'fork=' is no option of merge, whose blocks are private memory"},
    };
    CHECK_REFUSALS(refusals);
}

static void lines_stacks_and_wrappers(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {"export src=a.c:0", 1, 12,
         "expected a source line as in mesh.c:120 or mesh.c:100-140, found 'a.c:0'"},
        {"export src=a.c:", 1, 12, "expected a source line…"},
        {"export src=:5", 1, 12, "expected a source line…"},
        {"export src=a.c:9-5", 1, 12, "expected a source line…"},
        {"export src=a.c:5-", 1, 12, "expected a source line…"},
        {"export src=a.c:x", 1, 12, "expected a source line…"},
        {"export src=a.c:99999999999", 1, 12, "expected a source line…"},
        {"export src>=a.c:5", 1, 8, "expected src=FILE:LINE or src=FILE:A-B, found 'src>=a.c:5'"},
        {"export stack=a<-", 1, 14,
         "expected functions as in grid_init<-main or alloc*<-...<-solve, innermost first, found 'a<-'"},
        {"export stack=<-a", 1, 14, "expected functions…"},
        {"export stack=a<-<-b", 1, 14, "expected functions…"},
        {"export stack=a<-exe!0xg", 1, 17,
         "expected a call site as in libsolver.so!0x1a2b or exe!0x4f0, found 'exe!0xg'"},
        {"export stack=a<-...", 1, 14, "expected a function behind the last ..., found 'a<-...'"},
        {"export stack=...", 1, 14, "expected a function behind the last ..., found '...'"},
        {"pass stack=1<-2<-3<-4<-5<-6<-7<-8<-9<-a<-b<-c<-d<-e<-f<-g<-h", 1, 60,
         "there are more than 16 frames"},
        {"pass\nwrapper", 2, 1, "expected wrapper func=GLOB, found 'wrapper'"},
        {"wrapper module=a", 1, 1, "expected wrapper func=GLOB, found 'wrapper'"},
        {"wrapper func=", 1, 9, "a value is missing after func="},
        {"wrapper func>=a", 1, 9, "expected func=GLOB, found 'func>=a'"},
        {"wrapper func=a func=b", 1, 16, "'func=' is given twice"},
        {"wrapper xmalloc", 1, 9, "expected wrapper func=GLOB, perhaps with module=GLOB, found 'xmalloc'"},
        {"wrapper fucn=a", 1, 9,
         "expected wrapper func=GLOB, perhaps with module=GLOB, found 'fucn'; did you mean 'func'?"},
    };
    CHECK_REFUSALS(refusals);
    char text[32 * (POLICY_WRAPPERS_MAX + 1)] = "";
    for (unsigned i = 0; i <= POLICY_WRAPPERS_MAX; i++)
        strcat(text, "wrapper func=a\n");
    check_refusal(&(struct refusal){text, POLICY_WRAPPERS_MAX + 1, 1, "there are more than 64 wrappers"},
                  strlen(text));
}

static void unbalanced_quotes_and_control_bytes(void **state)
{
    (void)state;
    static const struct refusal refusals[] = {
        {"export func=\"abc", 1, 13, "expected a closing \" on this line, found '\"abc'"},
        {"export func='abc\r\npass'", 1, 13, "expected a closing ' on this line, found ''abc'"},
        {"export func=a\"b", 1, 14, "expected quotes around the whole value, found '\"b'"},
        {"export \"func=a\"", 1, 8, "expected quotes around the whole value, found '\"func=a\"'"},
        {"export func=\"a\"b c", 1, 16, "expected a blank after the closing quote, found 'b'"},
        {"pass\n# \x1b[2J", 2, 3, "expected printable text, found '\\x1b'"},
        {"pass\rpass", 1, 5, "expected printable text, found '\\x0d'"},
        {"pass \x7f", 1, 6, "expected printable text, found '\\x7f'"},
        {"\xef\xbb\xbfpas func=x", 1, 1, "expected segment…"},
        {"\xff\xfe\xc3\xa9", 1, 1,
         "expected segment, program, wrapper, pass, export, share or merge, found '\\xff\\xfe\xc3\xa9'"},
    };
    CHECK_REFUSALS(refusals);
    check_refusal(&(struct refusal){"pass\0", 1, 5, "expected printable text, found '\\x00'"}, 5);
}

static void long_words_are_shortened(void **state)
{
    (void)state;
    char text[1000];
    memset(text, 'x', sizeof text);
    struct policy_error error;
    assert_null(policy_parse(text, sizeof text, memory, sizeof memory, &error));
    assert_string_equal(error.message,
                        "expected segment, program, wrapper, pass, export, share or merge, found "
                        "'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...'");
}

static void name_lengths(void **state)
{
    (void)state;
    char text[400] = "segment SHARED";
    memset(text + 14, 'x', 90);
    assert_int_equal(strlen(parse_bytes(text, 8 + 95)->segments[0].name), 95);
    check_refusal(&(struct refusal){text, 1, 9, "expected a segment name of at most 95 bytes…"}, 8 + 96);

    memcpy(text, "export name=", 12);
    memset(text + 12, 'x', 256);
    assert_non_null(parse_bytes(text, 12 + 255)->rules[0].name);
    check_refusal(&(struct refusal){text, 1, 13, "expected a name of at most 255 bytes…"}, 12 + 256);
}

/* `count` times `item`, which holds one '%' for a letter pair that makes it unique. */
static size_t repeat(char *text, const char *item, size_t count)
{
    size_t length = 0;
    for (size_t i = 0; i < count; i++)
        for (const char *c = item; *c; c++) {
            if (*c != '%') {
                text[length++] = *c;
                continue;
            }
            text[length++] = (char)('a' + i / 26);
            text[length++] = (char)('a' + i % 26);
        }
    text[length] = '\0';
    return length;
}

static void limits(void **state)
{
    (void)state;
    static char text[POLICY_TEXT_MAX];
    assert_int_equal(parse_bytes(text, repeat(text, "pass\n", POLICY_RULES_MAX))->rule_count,
                     POLICY_RULES_MAX);
    check_refusal(&(struct refusal){text, 257, 1, "there are more than 256 rules"},
                  repeat(text, "pass\n", POLICY_RULES_MAX + 1));
    assert_int_equal(parse_bytes(text, repeat(text, "program a;", POLICY_PROGRAMS_MAX))->program_count,
                     POLICY_PROGRAMS_MAX);
    check_refusal(&(struct refusal){text, 65, 9, "there are more than 64 programs"},
                  repeat(text, "program a\n", POLICY_PROGRAMS_MAX + 1));
    size_t length = repeat(text, "segment SHARED%\n", POLICY_SEGMENTS_MAX);
    assert_int_equal(parse_bytes(text, length)->segment_count, POLICY_SEGMENTS_MAX);
    check_refusal(&(struct refusal){text, 9, 9, "there are more than 8 segments"},
                  repeat(text, "segment SHARED%\n", POLICY_SEGMENTS_MAX + 1));
}

static void size_of_text_and_memory(void **state)
{
    (void)state;
    char *text = malloc((size_t)1 << 20);
    assert_non_null(text);
    memset(text, '#', (size_t)1 << 20);
    assert_int_equal(parse_bytes(text, POLICY_TEXT_MAX)->rule_count, 0);
    check_refusal(&(struct refusal){text, 1, 1, "expected a policy of at most 65536 bytes, found 65537"},
                  POLICY_TEXT_MAX + 1);
    check_refusal(&(struct refusal){text, 1, 1, "expected a policy of at most 65536 bytes, found 1048576"},
                  (size_t)1 << 20);
    free(text);
    struct policy_error error;
    static const char few[] = "export func=f";
    const size_t needed = policy_memory(few, strlen(few));
    char message[128];
    assert_non_null(policy_parse(few, strlen(few), memory, needed, &error));
    assert_null(policy_parse(few, strlen(few), memory, needed - 1, &error));
    snprintf(message, sizeof message, "expected memory of at least %zu bytes, found %zu", needed, needed - 1);
    assert_string_equal(error.message, message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(misspelt_words_are_refused_with_a_suggestion),
        cmocka_unit_test(missing_things_are_named),
        cmocka_unit_test(bad_values_are_refused_at_their_place),
        cmocka_unit_test(repetitions_are_refused),
        cmocka_unit_test(options_belong_to_verbs),
        cmocka_unit_test(lines_stacks_and_wrappers),
        cmocka_unit_test(unbalanced_quotes_and_control_bytes),
        cmocka_unit_test(long_words_are_shortened),
        cmocka_unit_test(name_lengths),
        cmocka_unit_test(limits),
        cmocka_unit_test(size_of_text_and_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

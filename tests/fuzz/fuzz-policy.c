/* SPDX-License-Identifier: MIT
 *
 * Fuzzes the policy: any bytes are parsed, and a policy that comes of it is asked everything.
 *
 * The text ends where an allocated block ends, and the memory is filled with 0xff before, so that a step over
 * an end and a string without one are seen.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "config/policy.h"
#include "feeding.h"

/* Made anew, of bytes of 0xff, in each run. */
static char *memory;
static size_t memory_bytes;

static void check(bool good, const char *what)
{
    if (good)
        return;
    fprintf(stderr, "fuzz: %s\n", what);
    abort();
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return 0;
}

/* ---------------------------------------------------------------- errors */

static bool is_printable(const char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            return false;
    return true;
}

static size_t length_of_line(const char *text, size_t length, unsigned line)
{
    size_t start = 0, end;
    for (; line > 1; line--) {
        const char *newline = memchr(text + start, '\n', length - start);
        check(newline != NULL, "an error on a line that is not there");
        start = (size_t)(newline - text) + 1;
    }
    for (end = start; end < length && text[end] != '\n';)
        end++;
    return end - start;
}

static void check_error(const struct policy_error *error, const char *text, size_t length)
{
    check(memchr(error->message, '\0', sizeof error->message) != NULL, "a message without an end");
    check(error->message[0] != '\0', "an error without a message");
    check(is_printable(error->message), "a message that is not one printable line");
    check(error->line >= 1 && error->column >= 1, "an error nowhere");
    if (length <= POLICY_TEXT_MAX) /* the end of the line counts, and one byte for what is missing there */
        check(error->column <= length_of_line(text, length, error->line) + 1, "an error beyond its line");
}

/* ---------------------------------------------------------------- policies */

static void check_string(const char *string, bool may_be_missing)
{
    if (string == NULL)
        return check(may_be_missing, "a string is missing");
    if (string == strstr(string, POLICY_DEFAULT_SEGMENT) &&
        (string < memory || string >= memory + memory_bytes))
        return; /* the parser's own */
    check(string >= memory && string < memory + memory_bytes, "a string outside the memory");
    check(memchr(string, '\0', (size_t)(memory + memory_bytes - string)) != NULL, "a string without an end");
    check(is_printable(string) || strchr(string, '\t') != NULL, "a string with control bytes");
}

static void check_rule(const struct policy *policy, const struct policy_rule *rule)
{
    check(rule->verb <= POLICY_MERGE, "a verb that is none");
    check(rule->line >= 1, "a rule nowhere");
    check_string(rule->text, false);
    check_string(rule->func, true);
    check_string(rule->module, true);
    check_string(rule->site_module, true);
    check_string(rule->name, true);
    check(rule->segment < policy->segment_count, "a segment that is none");
    check((rule->calls & ~(unsigned)POLICY_CALL_ANY) == 0 && rule->calls != 0, "calls that are none");
    check(rule->when <= POLICY_WHEN_MANUAL && (rule->verb == POLICY_MERGE || rule->when == POLICY_WHEN_QUIET),
          "a time to merge where none belongs");
    check((rule->quiet != 0) == (rule->verb == POLICY_MERGE && rule->when == POLICY_WHEN_QUIET),
          "a quiet that does not belong to it");
    check(rule->verb == POLICY_PASS || rule->size_min > rule->size_max ||
              policy->size_floor <= rule->size_min,
          "a floor above a rule");
}

static void ask_rule(const struct policy_rule *rule)
{
    const struct policy_site sites[] = {
        {.module = "a.out", .module_is_program = true, .offset = 0x1234, .function = "main"},
        {.module = "libsolver.so.1", .offset = rule->site_offset, .function = NULL},
        {.module = rule->site_module, .offset = rule->site_offset, .function = rule->func},
        {.module = rule->module, .function = rule->module},
    };
    for (size_t i = 0; i < sizeof sites / sizeof sites[0]; i++)
        policy_rule_matches_site(rule, &sites[i]);
    for (unsigned call = 1; call <= POLICY_CALL_NEW; call *= 2) {
        const bool called = (rule->calls & call) != 0, possible = rule->size_min <= rule->size_max;
        check(policy_rule_matches_request(rule, rule->size_min, (enum policy_call)call) ==
                  (called && possible),
              "a bound that does not belong to it");
        policy_rule_matches_request(rule, 0, (enum policy_call)call);
    }
}

static void ask(const struct policy *policy)
{
    static const char *const paths[] = {"./solver", "/opt/solver/bin/mpirun", "a", "", "/", "//a//"};
    check((const char *)policy >= memory && (const char *)policy < memory + memory_bytes,
          "a policy elsewhere");
    check(policy->rule_count <= POLICY_RULES_MAX && policy->program_count <= POLICY_PROGRAMS_MAX, "too many");
    check(policy->segment_count >= 1 && policy->segment_count <= POLICY_SEGMENTS_MAX,
          "too many segments, or none");
    for (size_t i = 0; i < policy->segment_count; i++) {
        check_string(policy->segments[i].name, false);
        check_string(policy->segments[i].dir, true);
    }
    for (size_t i = 0; i < policy->program_count; i++) {
        check_string(policy->programs[i], false);
        policy_glob(policy->programs[i], policy->programs[i]);
    }
    for (size_t i = 0; i < sizeof paths / sizeof paths[0]; i++)
        policy_applies_to(policy, paths[i]);
    for (size_t i = 0; i < policy->rule_count; i++) {
        check_rule(policy, &policy->rules[i]);
        ask_rule(&policy->rules[i]);
    }
}

/* ---------------------------------------------------------------- globs */

/* What policy.h says of globs, said again in the plainest way; for short ones, for it is exponential. */
static bool slow_glob(const char *pattern, const char *text)
{
    if (*pattern == '*')
        return slow_glob(pattern + 1, text) || (*text != '\0' && slow_glob(pattern, text + 1));
    if (*pattern == '\0' || *text == '\0')
        return *pattern == *text;
    return (*pattern == '?' || *pattern == *text) && slow_glob(pattern + 1, text + 1);
}

static void compare_globs(const char *bytes, size_t length)
{
    char pattern[16] = {0}, text[16] = {0};
    const char *cut = memchr(bytes, '|', length);
    const size_t first = cut != NULL ? (size_t)(cut - bytes) : 0, rest = cut != NULL ? length - first - 1 : 0;
    if (cut == NULL || first >= sizeof pattern || rest >= sizeof text)
        return;
    memcpy(pattern, bytes, first);
    memcpy(text, cut + 1, rest);
    const bool found = policy_glob(pattern, text);
    if (strpbrk(pattern, "[\\") == NULL && strlen(pattern) == first)
        check(found == slow_glob(pattern, text),
              "a glob that matches what it should not, or not what it should");
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct policy_error error;
    char *text = malloc(size != 0 ? size : 1);
    check(text != NULL, "no memory");
    memcpy(text, data, size);
    memory_bytes = policy_memory(text, size); /* and not a byte more: AddressSanitizer sees to it */
    memory = malloc(memory_bytes);
    check(memory != NULL && memory_bytes <= POLICY_MEMORY, "no memory");
    memset(memory, 0xff, memory_bytes);
    memset(&error, 0xff, sizeof error);
    const struct policy *policy = policy_parse(text, size, memory, memory_bytes, &error);
    if (policy != NULL)
        ask(policy);
    else
        check_error(&error, text, size);
    compare_globs(text, size);
    free(memory);
    free(text);
    return 0;
}

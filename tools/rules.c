/* SPDX-License-Identifier: MIT
 *
 * What is printed is what the parser understood, in the policy's own words, and not a copy of what
 * the user wrote: that is what makes it a check.
 */
#include "rules.h"

#include "display.h"
#include "table.h"
#include "tool.h"

#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *rules_verb(enum policy_verb verb)
{
    switch (verb) {
    case POLICY_PASS:
        return "pass";
    case POLICY_EXPORT:
        return "export";
    case POLICY_SHARE:
        return "share";
    case POLICY_MERGE:
        return "merge";
    }
    return "unknown";
}

static const struct {
    unsigned bit;
    const char *name;
} calls[] = {
    {POLICY_CALL_MALLOC, "malloc"},   {POLICY_CALL_CALLOC, "calloc"}, {POLICY_CALL_REALLOC, "realloc"},
    {POLICY_CALL_ALIGNED, "aligned"}, {POLICY_CALL_NEW, "new"},
};

enum { CALLS = sizeof calls / sizeof calls[0] };

/* Adds one word to *words, which is NULL at first, with a separator between words. */
static void add_word(char **words, const char *separator, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

static void add_word(char **words, const char *separator, const char *format, ...)
{
    char *word = NULL, *before = *words;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&word, format, arguments) < 0)
        required(NULL);
    va_end(arguments);
    *words = before ? formatted("%s%s%s", before, separator, word) : formatted("%s", word);
    free(before);
    free(word);
}

static void add_value(char **words, const char *key, const char *value)
{
    const char *quote = value && value[strcspn(value, " \t;#")] ? "\"" : "";
    if (value)
        add_word(words, " ", "%s=%s%s%s", key, quote, value, quote);
}

static void add_sizes(char **words, const struct policy_rule *rule)
{
    char least[DISPLAY_SIZE_MAX], most[DISPLAY_SIZE_MAX];
    display_policy_size(rule->size_min, least);
    if (rule->size_max == SIZE_MAX && rule->size_min > 0)
        add_word(words, " ", "size>=%s", least);
    else if (rule->size_max != SIZE_MAX && rule->size_min == 0)
        add_word(words, " ", "size<%s", display_policy_size((uint64_t)rule->size_max + 1, most));
    else if (rule->size_max != SIZE_MAX)
        add_word(words, " ", "size=%s..%s", least, display_policy_size(rule->size_max, most));
}

static void add_calls(char **words, const struct policy_rule *rule)
{
    char *names = NULL;
    if ((rule->calls & POLICY_CALL_ANY) == POLICY_CALL_ANY)
        return;
    for (size_t i = 0; i < CALLS; i++)
        if (rule->calls & calls[i].bit)
            add_word(&names, ",", "%s", calls[i].name);
    add_value(words, "call", names);
    free(names);
}

static char *site_text(const struct policy_rule *rule)
{
    return rule->site_module ? formatted("%s!0x%" PRIx64, rule->site_module, rule->site_offset) : NULL;
}

static char *source_text(const struct policy_rule *rule)
{
    if (!rule->source)
        return NULL;
    if (rule->source_last == UINT_MAX)
        return formatted("%s", rule->source);
    return rule->source_first == rule->source_last
               ? formatted("%s:%u", rule->source, rule->source_first)
               : formatted("%s:%u-%u", rule->source, rule->source_first, rule->source_last);
}

static char *stack_text(const struct policy_rule *rule)
{
    char *text = NULL;
    for (unsigned i = 0; i < rule->stack_count; i++)
        add_word(&text, "<-", "%s", rule->stack[i] ? rule->stack[i] : "...");
    return text;
}

static char *conditions_text(const struct policy_rule *rule)
{
    char *words = NULL, *site = site_text(rule), *source = source_text(rule), *stack = stack_text(rule);
    add_value(&words, "func", rule->func);
    add_value(&words, "module", rule->module);
    add_value(&words, "site", site);
    add_value(&words, "src", source);
    add_value(&words, "stack", stack);
    add_sizes(&words, rule);
    add_calls(&words, rule);
    free(stack);
    free(source);
    free(site);
    return words;
}

static const char *const fork_words[] = {
    [POLICY_FORK_COPY] = "copy", [POLICY_FORK_OVERLAY] = "overlay", [POLICY_FORK_SHARE] = "share"};

/* The largest unit that leaves no fraction: 1m, 90s, 500ms. */
static char *quiet_text(uint64_t nanoseconds)
{
    static const struct {
        uint64_t milliseconds;
        const char *name;
    } units[] = {{3600 * 1000, "h"}, {60 * 1000, "m"}, {1000, "s"}, {1, "ms"}};
    uint64_t milliseconds = nanoseconds / 1000000;
    size_t i = 0;
    while (milliseconds % units[i].milliseconds != 0)
        i++;
    return formatted("quiet:%" PRIu64 "%s", milliseconds / units[i].milliseconds, units[i].name);
}

/* Of a merge rule, for it has always to wait for something; NULL for others. */
static char *when_text(const struct policy_rule *rule)
{
    if (rule->verb != POLICY_MERGE)
        return NULL;
    switch (rule->when) {
    case POLICY_WHEN_QUIET:
        return quiet_text(rule->quiet);
    case POLICY_WHEN_BARRIER:
        return formatted("barrier");
    case POLICY_WHEN_MANUAL:
        return formatted("manual");
    }
    return NULL;
}

static char *options_text(const struct policy_rule *rule)
{
    char *words = NULL, *when = when_text(rule);
    add_value(&words, "name", rule->name);
    add_value(&words, "full", rule->full_fails ? "fail" : NULL);
    add_value(&words, "reserve", rule->reserve_touch ? "touch" : NULL);
    add_value(&words, "fork", rule->fork != POLICY_FORK_COPY ? fork_words[rule->fork] : NULL);
    add_value(&words, "when", when);
    free(when);
    return words;
}

static const char *segment_name(const struct policy *policy, const struct policy_rule *rule)
{
    return rule->verb == POLICY_PASS ? NULL : policy->segments[rule->segment].name;
}

static void print_declarations(const struct policy *policy)
{
    static const char *const scopes[] = {[POLICY_SCOPE_NODE] = "",
                                         [POLICY_SCOPE_SOCKET] = ", one for each socket",
                                         [POLICY_SCOPE_NUMA] = ", one for each NUMA domain"};
    char size[DISPLAY_SIZE_MAX];
    for (size_t i = 0; i < policy->segment_count; i++) {
        const struct policy_segment *segment = &policy->segments[i];
        if (segment->line > 0)
            printf("line %u: segment %s, %s%s%s\n", segment->line, segment->name,
                   segment->size ? display_policy_size(segment->size, size) : "half of the file system",
                   scopes[segment->scope], segment->interleave ? ", spread over the NUMA nodes" : "");
    }
    for (size_t i = 0; i < policy->program_count; i++)
        printf("only in programs that match %s\n", policy->programs[i]);
    for (size_t i = 0; i < policy->wrapper_count; i++)
        printf("line %u: the callers of %s%s%s are the call sites\n", policy->wrappers[i].line,
               policy->wrappers[i].func, policy->wrappers[i].module ? " in " : "",
               policy->wrappers[i].module ? policy->wrappers[i].module : "");
}

void rules_print(const struct policy *policy)
{
    static const char *const headings[] = {">LINE", "VERB", "CONDITIONS", "SEGMENT", "OPTIONS", NULL};
    struct table table;
    table_start(&table, headings);
    for (size_t i = 0; i < policy->rule_count; i++) {
        const struct policy_rule *rule = &policy->rules[i];
        char *conditions = conditions_text(rule), *options = options_text(rule);
        table_number(&table, rule->line);
        table_text(&table, rules_verb(rule->verb));
        table_text(&table, conditions);
        table_text(&table, segment_name(policy, rule));
        table_text(&table, options);
        free(conditions);
        free(options);
    }
    table_finish(&table, stdout, 0);
    print_declarations(policy);
}

static struct json_object *calls_json(const struct policy_rule *rule)
{
    struct json_object *array = json_new_array();
    for (size_t i = 0; i < CALLS; i++)
        if (rule->calls & calls[i].bit)
            json_append(array, json_text(calls[i].name));
    return array;
}

static struct json_object *rule_json(const struct policy *policy, const struct policy_rule *rule)
{
    struct json_object *object = json_new_object();
    char *site = site_text(rule), *source = source_text(rule), *stack = stack_text(rule),
         *when = when_text(rule);
    json_put_number(object, "line", rule->line);
    json_put_text(object, "verb", rules_verb(rule->verb));
    json_put_text(object, "text", rule->text);
    json_put_text(object, "func", rule->func);
    json_put_text(object, "module", rule->module);
    json_put_text(object, "site", site);
    json_put_text(object, "src", source);
    json_put_text(object, "stack", stack);
    json_put_number(object, "size_min", rule->size_min);
    if (rule->size_max != SIZE_MAX)
        json_put_number(object, "size_max", rule->size_max);
    json_put(object, "calls", calls_json(rule));
    json_put_text(object, "segment", segment_name(policy, rule));
    json_put_text(object, "name", rule->name);
    json_put_text(object, "when", when);
    if (rule->verb != POLICY_MERGE) {
        json_put_text(object, "full", rule->full_fails ? "fail" : "fallback");
        json_put_text(object, "reserve", rule->reserve_touch ? "touch" : "full");
        json_put_text(object, "fork", fork_words[rule->fork]);
    }
    free(stack);
    free(source);
    free(site);
    free(when);
    return object;
}

static struct json_object *segments_json(const struct policy *policy)
{
    static const char *const scopes[] = {
        [POLICY_SCOPE_NODE] = "node", [POLICY_SCOPE_SOCKET] = "socket", [POLICY_SCOPE_NUMA] = "numa"};
    struct json_object *array = json_new_array();
    for (size_t i = 0; i < policy->segment_count; i++) {
        const struct policy_segment *segment = &policy->segments[i];
        struct json_object *object = json_new_object();
        json_put_text(object, "name", segment->name);
        if (segment->size > 0)
            json_put_number(object, "size", segment->size);
        json_put_text(object, "scope", scopes[segment->scope]);
        json_put_text(object, "dir", segment->dir);
        json_put_text(object, "numa", segment->interleave ? "interleave" : "local");
        json_append(array, object);
    }
    return array;
}

struct json_object *rules_json(const struct policy *policy)
{
    struct json_object *object = json_new_object(), *rules = json_new_array(), *programs = json_new_array();
    for (size_t i = 0; i < policy->rule_count; i++)
        json_append(rules, rule_json(policy, &policy->rules[i]));
    for (size_t i = 0; i < policy->program_count; i++)
        json_append(programs, json_text(policy->programs[i]));
    json_put(object, "rules", rules);
    json_put(object, "segments", segments_json(policy));
    json_put(object, "programs", programs);
    return object;
}

/* SPDX-License-Identifier: MIT */
#include "config/rules.h"

#include <string.h>

#include "config/values.h"

/* One kind of word in a rule. */
struct rule_word {
    const char *key;
    const char *form; /* how it should look */
    unsigned verbs;   /* OF_... */
    bool (*read)(struct parser *parser, struct policy_rule *rule, const struct word *word);
};

static bool read_func(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    rule->func = parser_keep(parser, word->value.text);
    return true;
}

static bool read_module(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    rule->module = parser_keep(parser, word->value.text);
    return true;
}

static bool read_site(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    struct text module;
    if (!value_site(word->value, &module, &rule->site_offset, parser->error))
        return false;
    rule->site_module = parser_keep(parser, module);
    return true;
}

/* A rule may have a lower and an upper bound in two words; then both hold. */
static bool read_size(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    enum { LOWER = 1 << 30, UPPER = 1 << 29 };
    struct value_range range;
    if (!value_range(word, &range, parser->error) ||
        (range.lower && !parser_first_time(parser, word, LOWER)) ||
        (range.upper && !parser_first_time(parser, word, UPPER)))
        return false;
    rule->size_min = range.least > rule->size_min ? range.least : rule->size_min;
    rule->size_max = range.most < rule->size_max ? range.most : rule->size_max;
    return true;
}

static bool read_call(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    return value_calls(word->value, &rule->calls, parser->error);
}

static bool read_name(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    rule->name = parser_keep(parser, word->value.text);
    return value_template(word->value, parser->error);
}

static bool read_segment(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    struct wanted *wanted = parser_make(parser, sizeof *wanted);
    *wanted = (struct wanted){NULL, rule, word->value};
    *parser->last_wanted = wanted;
    parser->last_wanted = &wanted->next;
    return true;
}

static bool read_full(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    static const char *const words[] = {"fallback", "fail", NULL};
    size_t index;
    bool known = value_choice(word->value, words, "full=fallback or full=fail", &index, parser->error);
    rule->full_fails = known && index == 1;
    return known;
}

static bool read_reserve(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    static const char *const words[] = {"full", "touch", NULL};
    size_t index;
    bool known = value_choice(word->value, words, "reserve=full or reserve=touch", &index, parser->error);
    rule->reserve_touch = known && index == 1;
    return known;
}

static bool read_fork(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    static const char *const words[] = {"copy", "overlay", "share", NULL};
    size_t index;
    if (!value_choice(word->value, words, "fork=copy, fork=overlay or fork=share", &index, parser->error))
        return false;
    rule->fork = (enum policy_fork)index; /* the words stand in the order of the enum */
    return true;
}

static bool read_when(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    unsigned when = 0;
    bool known = value_when(word->value, &when, &rule->quiet, parser->error);
    rule->when = (enum policy_when)when;
    return known;
}

static bool read_source(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    struct text file;
    if (!value_source(word->value, &file, &rule->source_first, &rule->source_last, parser->error))
        return false;
    rule->source = parser_keep(parser, file);
    return true;
}

static bool read_stack(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    struct text frames[POLICY_STACK_MAX];
    size_t count;
    if (!value_stack(word->value, frames, POLICY_STACK_MAX, &count, parser->error))
        return false;
    const char **stack = parser_make(parser, count * sizeof *stack);
    for (size_t i = 0; i < count; i++)
        stack[i] = frames[i].at != NULL ? parser_keep(parser, frames[i]) : NULL;
    rule->stack = stack;
    rule->stack_count = (unsigned)count;
    return true;
}

/* The verbs that a word can follow. */
enum {
    OF_EXPORT = 1 << POLICY_EXPORT,
    OF_MERGE = 1 << POLICY_MERGE,
    OF_NAMED = OF_EXPORT | 1 << POLICY_SHARE,
    OF_ROUTED = OF_NAMED | OF_MERGE,
    OF_ANY = OF_ROUTED | 1 << POLICY_PASS
};

static const struct rule_word rule_words[] = {
    {"size", "size>=N, size<N or size=A..B", OF_ANY, read_size},
    {"func", "func=GLOB", OF_ANY, read_func},
    {"module", "module=GLOB", OF_ANY, read_module},
    {"site", "site=MODULE!0xOFFSET", OF_ANY, read_site},
    {"src", "src=FILE:LINE or src=FILE:A-B", OF_ANY, read_source},
    {"stack", "stack=GLOB<-GLOB<-..., innermost first", OF_ANY, read_stack},
    {"call", "call=malloc,calloc,realloc,aligned,new", OF_ANY, read_call},
    {"name", "name=TEMPLATE", OF_ROUTED, read_name},
    {"segment", "segment=NAME", OF_ROUTED, read_segment},
    {"full", "full=fallback or full=fail", OF_NAMED, read_full},
    {"reserve", "reserve=full or reserve=touch", OF_NAMED, read_reserve},
    {"fork", "fork=copy, fork=overlay or fork=share", OF_EXPORT, read_fork},
    {"when", "when=quiet:2s, when=barrier or when=manual", OF_MERGE, read_when},
};
enum { RULE_WORDS = sizeof rule_words / sizeof rule_words[0] };

static bool unknown_rule_word(struct parser *parser, enum policy_verb verb, const struct word *word)
{
    static const char *const options[] = {
        [POLICY_PASS] = "",
        [POLICY_EXPORT] = ", or an option name=, segment=, full=, reserve= or fork=",
        [POLICY_SHARE] = ", or an option name=, segment=, full= or reserve=",
        [POLICY_MERGE] = ", or an option name=, segment= or when="};
    const char *keys[RULE_WORDS + 1] = {NULL};
    for (size_t i = 0, count = 0; i < RULE_WORDS; i++)
        if (rule_words[i].verbs & 1u << verb)
            keys[count++] = rule_words[i].key;
    struct message message = error_begin(parser->error, word->whole.place);
    message_add(&message, "expected func=, module=, site=, src=, stack=, size>= or call=");
    message_add(&message, options[verb]);
    message_add(&message, ", found ");
    message_quote(&message, word->whole.text);
    message_suggest(&message, word->key.text, keys);
    return false;
}

/* A word that follows other verbs only. */
static bool misplaced(struct parser *parser, enum policy_verb verb, unsigned verbs, const struct word *word)
{
    const char *says = verb == POLICY_PASS    ? "is an option; pass takes matches only"
                       : verbs == OF_MERGE    ? "is an option of merge"
                       : verb == POLICY_MERGE ? "is no option of merge, whose blocks are private memory"
                                              : "is an option of export; blocks of share stay shared";
    return error_about(parser->error, word_head(word), says);
}

static bool read_rule_word(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    size_t i = 0;
    while (i < RULE_WORDS && !text_equals(word->key.text, rule_words[i].key))
        i++;
    if (i == RULE_WORDS)
        return unknown_rule_word(parser, rule->verb, word);

    const struct rule_word *kind = &rule_words[i];
    bool is_size = kind->read == read_size;
    if (!(kind->verbs & 1u << rule->verb))
        return misplaced(parser, rule->verb, kind->verbs, word);
    if (word->relation.text.length == 0 || (!is_size && !text_equals(word->relation.text, "=")))
        return error_expected(parser->error, kind->form, word->whole, NULL);
    if (word->value.text.length == 0)
        return error_no_value(parser->error, word);
    return (is_size || parser_first_time(parser, word, 1u << i)) && kind->read(parser, rule, word);
}

bool rules_read(struct parser *parser, const struct word *verb_word, enum policy_verb verb)
{
    struct policy *policy = &parser->table->policy;
    if (policy->rule_count == POLICY_RULES_MAX)
        return error_too_many(parser->error, verb_word->whole.place, POLICY_RULES_MAX, "rules");
    struct policy_rule *rule = &parser->table->rules[policy->rule_count];
    *rule = (struct policy_rule){.verb = verb,
                                 .line = verb_word->whole.place.line,
                                 .size_max = SIZE_MAX,
                                 .calls = POLICY_CALL_ANY,
                                 .quiet = verb == POLICY_MERGE ? POLICY_DEFAULT_QUIET : 0};
    policy->rule_count++;

    const char *start = verb_word->whole.text.at, *end = parser->scan.at;
    while (scan_more(&parser->scan)) {
        struct word word;
        if (!scan_match(&parser->scan, &word) || !read_rule_word(parser, rule, &word))
            return false;
        end = parser->scan.at;
    }
    rule->text = parser_keep(parser, (struct text){start, (size_t)(end - start)});
    return true;
}

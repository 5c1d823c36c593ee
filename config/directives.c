/* SPDX-License-Identifier: MIT
 *
 * The directives: words in, the match table out. See policy.h.
 *
 *   directives.c  what a policy is made of (here)
 *   rules.[ch]    the words of a rule
 *   parser.[ch]   what both read from and write to
 *   scan.[ch]     bytes → words with their places; errors
 *   values.[ch]   what stands behind a '='
 *   text.[ch]     pieces of text, sentences
 *   match.c       the questions to a finished policy;  glob.c  one of them
 */
#include "config/parser.h"
#include "config/rules.h"
#include "config/values.h"

#include <string.h>

static bool read_segment_size(struct parser *parser, struct policy_segment *segment, const struct word *word)
{
    if (!value_bytes(word->value, &segment->size, parser->error))
        return false;
    return segment->size > 0 || error_expected(parser->error, "a size above 0", word->value, NULL);
}

/* Which socket or NUMA domain a process belongs to is found out when the segment is opened. */
static bool read_scope(struct parser *parser, struct policy_segment *segment, const struct word *word)
{
    static const char *const words[] = {"node", "socket", "numa", NULL};
    size_t index;
    if (!value_choice(word->value, words, "scope=node, scope=socket or scope=numa", &index, parser->error))
        return false;
    segment->scope = (enum policy_scope)index; /* the words stand in the order of the enum */
    return true;
}

/* Whether the system lets us is found out when the segment is made. */
static bool read_numa(struct parser *parser, struct policy_segment *segment, const struct word *word)
{
    static const char *const words[] = {"local", "interleave", NULL};
    size_t index;
    if (!value_choice(word->value, words, "numa=local or numa=interleave", &index, parser->error))
        return false;
    segment->interleave = index == 1;
    return true;
}

/* Whether there is a tmpfs is found out when the segment is opened. */
static bool read_directory(struct parser *parser, struct policy_segment *segment, const struct word *word)
{
    if (word->value.text.at[0] != '/')
        return error_expected(parser->error, "a directory that begins with '/'", word->value, NULL);
    segment->dir = parser_keep(parser, word->value.text);
    return true;
}

/* One kind of word in a segment directive. */
struct segment_word {
    const char *key;
    const char *form;
    bool (*read)(struct parser *parser, struct policy_segment *segment, const struct word *word);
};

static const struct segment_word segment_words[] = {
    {"size", "size=N", read_segment_size},
    {"scope", "scope=node, scope=socket or scope=numa", read_scope},
    {"dir", "dir=/DIRECTORY", read_directory},
    {"numa", "numa=local or numa=interleave", read_numa},
};
enum { SEGMENT_WORDS = sizeof segment_words / sizeof segment_words[0] };

static bool unknown_segment_word(struct parser *parser, const struct word *word)
{
    const char *keys[SEGMENT_WORDS + 1] = {NULL};
    for (unsigned i = 0; i < SEGMENT_WORDS; i++)
        keys[i] = segment_words[i].key;
    struct message message = error_begin(parser->error, word->whole.place);
    message_add(&message, "expected size=, scope=, dir= or numa=, found ");
    message_quote(&message, word->whole.text);
    message_suggest(&message, word->key.text, keys);
    return false;
}

static bool read_segment_word(struct parser *parser, struct policy_segment *segment, const struct word *word)
{
    unsigned i = 0;
    while (i < SEGMENT_WORDS && !text_equals(word->key.text, segment_words[i].key))
        i++;
    if (i == SEGMENT_WORDS)
        return unknown_segment_word(parser, word);
    if (!text_equals(word->relation.text, "="))
        return error_expected(parser->error, segment_words[i].form, word->whole, NULL);
    if (word->value.text.length == 0)
        return error_no_value(parser->error, word);
    return parser_first_time(parser, word, 1u << i) && segment_words[i].read(parser, segment, word);
}

static const struct policy_segment *find_segment(const struct table *table, struct text name)
{
    for (size_t i = 0; i < table->policy.segment_count; i++)
        if (text_equals(name, table->segments[i].name))
            return &table->segments[i];
    return NULL;
}

/* The next word of a directive that is nothing without one. */
static bool read_needed_word(struct parser *parser, const struct word *directive, struct word *word)
{
    bool follows = scan_more(&parser->scan);
    if (follows && !scan_plain(&parser->scan, word))
        return false;
    if (follows && word->value.text.length > 0)
        return true;
    struct message message = error_begin(parser->error, (follows ? word : directive)->whole.place);
    message_add(&message, "a name is missing after ");
    message_escape(&message, directive->whole.text, directive->whole.text.length);
    return false;
}

static bool refuse_second_segment(struct parser *parser, struct piece name, unsigned first_line)
{
    struct message message = error_begin(parser->error, name.place);
    message_add(&message, "segment ");
    message_quote(&message, name.text);
    message_add(&message, " is declared already, on line ");
    message_number(&message, first_line);
    return false;
}

static bool read_segment_directive(struct parser *parser, const struct word *directive)
{
    struct table *table = parser->table;
    struct word name;
    if (!read_needed_word(parser, directive, &name) || !value_segment_name(name.value, parser->error))
        return false;
    const struct policy_segment *same = find_segment(table, name.value.text);
    if (same)
        return refuse_second_segment(parser, name.value, same->line);
    if (table->policy.segment_count == POLICY_SEGMENTS_MAX)
        return error_too_many(parser->error, name.value.place, POLICY_SEGMENTS_MAX, "segments");

    struct policy_segment *segment = &table->segments[table->policy.segment_count++];
    *segment =
        (struct policy_segment){.name = parser_keep(parser, name.value.text), .line = name.whole.place.line};
    while (scan_more(&parser->scan)) {
        struct word word;
        if (!scan_match(&parser->scan, &word) || !read_segment_word(parser, segment, &word))
            return false;
    }
    return true;
}

static bool read_program_directive(struct parser *parser, const struct word *directive)
{
    struct table *table = parser->table;
    struct policy *policy = &table->policy;
    do {
        struct word glob;
        if (!read_needed_word(parser, directive, &glob))
            return false;
        if (policy->program_count == POLICY_PROGRAMS_MAX)
            return error_too_many(parser->error, glob.value.place, POLICY_PROGRAMS_MAX, "programs");
        if (policy->program_count == 0)
            policy->programs = table->programs =
                parser_make(parser, POLICY_PROGRAMS_MAX * sizeof *table->programs);
        table->programs[policy->program_count++] = parser_keep(parser, glob.value.text);
    } while (scan_more(&parser->scan));
    return true;
}

static bool read_wrapper_word(struct parser *parser, struct policy_wrapper *wrapper, const struct word *word)
{
    static const char *const keys[] = {"func", "module", NULL};
    size_t index;
    if (!value_choice(word->key, keys, "wrapper func=GLOB, perhaps with module=GLOB", &index, parser->error))
        return false;
    if (!text_equals(word->relation.text, "="))
        return error_expected(parser->error, index == 0 ? "func=GLOB" : "module=GLOB", word->whole, NULL);
    if (word->value.text.length == 0)
        return error_no_value(parser->error, word);
    if (!parser_first_time(parser, word, 1u << index))
        return false;
    *(index == 0 ? &wrapper->func : &wrapper->module) = parser_keep(parser, word->value.text);
    return true;
}

static bool read_wrapper_directive(struct parser *parser, const struct word *directive)
{
    struct table *table = parser->table;
    struct policy *policy = &table->policy;
    const struct place place = directive->whole.place;
    if (policy->wrapper_count == POLICY_WRAPPERS_MAX)
        return error_too_many(parser->error, place, POLICY_WRAPPERS_MAX, "wrappers");
    if (policy->wrapper_count == 0)
        policy->wrappers = table->wrappers =
            parser_make(parser, POLICY_WRAPPERS_MAX * sizeof *table->wrappers);
    struct policy_wrapper *wrapper = &table->wrappers[policy->wrapper_count++];
    *wrapper = (struct policy_wrapper){.line = place.line};
    while (scan_more(&parser->scan)) {
        struct word word;
        if (!scan_match(&parser->scan, &word) || !read_wrapper_word(parser, wrapper, &word))
            return false;
    }
    return wrapper->func != NULL ||
           error_expected(parser->error, "wrapper func=GLOB", directive->whole, NULL);
}

static bool read_directive(struct parser *parser)
{
    enum { SEGMENT, PROGRAM, WRAPPER, VERBS };
    static const char *const words[] = {"segment", "program", "wrapper", "pass",
                                        "export",  "share",   "merge",   NULL};
    struct word word;
    size_t index;
    if (!scan_plain(&parser->scan, &word))
        return false;
    if (!value_choice(word.whole, words, "segment, program, wrapper, pass, export, share or merge", &index,
                      parser->error))
        return false;
    parser->seen = 0;
    if (index == SEGMENT)
        return read_segment_directive(parser, &word);
    if (index == PROGRAM)
        return read_program_directive(parser, &word);
    if (index == WRAPPER)
        return read_wrapper_directive(parser, &word);
    return rules_read(parser, &word, (enum policy_verb)(index - VERBS)); /* in the order of the enum */
}

/* Turns what each segment= said into an index, when all declarations are known. */
static bool resolve_segments(struct parser *parser)
{
    struct table *table = parser->table;
    if (table->policy.segment_count == 0)
        table->segments[table->policy.segment_count++] =
            (struct policy_segment){.name = POLICY_DEFAULT_SEGMENT};
    for (const struct wanted *wanted = parser->wanted; wanted != NULL; wanted = wanted->next) {
        const struct policy_segment *segment = find_segment(table, wanted->name.text);
        if (!segment) {
            const char *names[POLICY_SEGMENTS_MAX + 1] = {NULL};
            for (size_t k = 0; k < table->policy.segment_count; k++)
                names[k] = table->segments[k].name;
            return error_expected(parser->error, "the name of a declared segment", wanted->name, names);
        }
        wanted->rule->segment = (unsigned)(segment - table->segments);
    }
    return true;
}

static bool names_its_function(const struct policy_rule *rule)
{
    return text_contains(text_of(rule->name ? rule->name : POLICY_DEFAULT_NAME), "{func}");
}

static void summarise(struct policy *policy)
{
    policy->size_floor = SIZE_MAX;
    policy->needs_functions = policy->wrapper_count > 0;
    for (size_t i = 0; i < policy->rule_count; i++) {
        const struct policy_rule *rule = &policy->rules[i];
        policy->needs_functions |= rule->func != NULL || rule->stack_count > 0;
        policy->needs_lines |= rule->source != NULL;
        policy->needs_stacks |= rule->stack_count > 0;
        if (rule->verb == POLICY_PASS)
            continue;
        policy->needs_functions |= names_its_function(rule);
        if (rule->size_min <= rule->size_max && rule->size_min < policy->size_floor)
            policy->size_floor = rule->size_min;
    }
}

/* How many rules can there be? Each ends with its line, with a semicolon or with the text. */
static size_t rules_most(const char *text, size_t length)
{
    size_t most = 1;
    for (size_t i = 0; i < length && most < POLICY_RULES_MAX; i++)
        most += text[i] == ';' || text[i] == '\n';
    return most;
}

size_t policy_memory(const char *text, size_t length)
{
    if (length > POLICY_TEXT_MAX)
        return POLICY_MEMORY;
    const struct text whole = {text != NULL ? text : "", length};
    return sizeof(struct table) + length * PARSER_BYTES_EACH + rules_most(text, length) * PARSER_RULE +
           (text_contains(whole, "program") ? PARSER_PROGRAMS : 0) +
           (text_contains(whole, "wrapper") ? PARSER_WRAPPERS : 0);
}

static bool fits(const char *text, size_t length, size_t bytes, struct policy_error *error)
{
    const bool too_long = length > POLICY_TEXT_MAX;
    const size_t needed = too_long ? POLICY_TEXT_MAX : policy_memory(text, length);
    if (!too_long && bytes >= needed)
        return true;
    struct message message = error_begin(error, (struct place){1, 1});
    message_add(&message, too_long ? "expected a policy of at most " : "expected memory of at least ");
    message_number(&message, needed);
    message_add(&message, " bytes, found ");
    message_number(&message, too_long ? length : bytes);
    return false;
}

const struct policy *policy_parse(const char *text, size_t length, void *memory, size_t bytes,
                                  struct policy_error *error)
{
    if (!fits(text, length, bytes, error))
        return NULL;
    struct table *table = memory;
    struct parser parser = {.error = error, .table = table};
    parser.free = (char *)&table->rules[rules_most(text, length)];
    parser.last_wanted = &parser.wanted;
    table->policy = (struct policy){.rules = table->rules, .segments = table->segments};
    if (!scan_begin(&parser.scan, (struct text){text ? text : "", length}, error))
        return NULL;
    while (scan_directive(&parser.scan))
        if (!read_directive(&parser))
            return NULL;
    if (!resolve_segments(&parser))
        return NULL;
    summarise(&table->policy);
    return &table->policy;
}

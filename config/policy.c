/* SPDX-License-Identifier: MIT
 *
 * The directives: words in, the match table out. See policy.h.
 *
 *   policy.c    what a directive is made of (here)
 *   scan.[ch]   bytes → words with their places; errors
 *   values.[ch] what stands behind a '='
 *   text.[ch]   pieces of text, sentences
 *   match.c     the questions to a finished policy;  glob.c  one of them
 *
 * The first error ends the reading. The caller's memory holds one `struct table` and behind it, end
 * to end, copies of the strings that the table points to: the text itself is not needed afterwards.
 */
#include "config/policy.h"
#include "config/scan.h"
#include "config/values.h"

#include <assert.h>
#include <string.h>

struct table {
    struct policy policy;
    struct policy_rule rules[POLICY_RULES_MAX];
    struct policy_segment segments[POLICY_SEGMENTS_MAX];
    const char *programs[POLICY_PROGRAMS_MAX];
    /* Needed while reading only: what segment= said in each rule (no text: nothing), for a segment
     * may be declared after it is used. */
    struct piece wanted[POLICY_RULES_MAX];
    char strings[];
};

/* A byte of the text is kept at most twice, in a rule's text and in a value, and no more NULs are
 * added than there are bytes. */
static_assert(sizeof(struct table) + 4 * POLICY_TEXT_MAX <= POLICY_MEMORY, "any text fits");

struct parser {
    struct scan scan;
    struct policy_error *error;
    struct table *table;
    char *free;    /* where the next string goes */
    unsigned seen; /* the words that this directive has had, as bits */
};

static const char *keep(struct parser *parser, struct text text)
{
    char *copy = parser->free;
    memcpy(copy, text.at, text.length);
    copy[text.length] = '\0';
    parser->free += text.length + 1;
    return copy;
}

/* What a later version understands: better said so than called unknown. */
static bool is_later(struct text text)
{
    static const char *const words[] = {"wrapper", "src", "stack", NULL};
    for (size_t i = 0; words[i]; i++)
        if (text_equals(text, words[i]))
            return true;
    return false;
}

static bool not_in_this_version(struct parser *parser, struct piece piece)
{
    return error_about(parser->error, piece, "is not in this version");
}

/* Notes that a directive holds the word with this bit; false (and an error) the second time. */
static bool first_time(struct parser *parser, const struct word *word, unsigned bit)
{
    if (parser->seen & bit)
        return error_about(parser->error, word_head(word), "is given twice");
    parser->seen |= bit;
    return true;
}

/* One kind of word in a rule. */
struct rule_word {
    const char *key;
    const char *form; /* how it should look */
    unsigned verbs;   /* OF_... */
    bool (*read)(struct parser *parser, struct policy_rule *rule, const struct word *word);
};

static bool read_func(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    rule->func = keep(parser, word->value.text);
    return true;
}

static bool read_module(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    rule->module = keep(parser, word->value.text);
    return true;
}

static bool read_site(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    struct text module;
    if (!value_site(word->value, &module, &rule->site_offset, parser->error))
        return false;
    rule->site_module = keep(parser, module);
    return true;
}

/* A rule may have a lower and an upper bound in two words; then both hold. */
static bool read_size(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    enum { LOWER = 1 << 30, UPPER = 1 << 29 };
    struct value_range range;
    if (!value_range(word, &range, parser->error) || (range.lower && !first_time(parser, word, LOWER)) ||
        (range.upper && !first_time(parser, word, UPPER)))
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
    rule->name = keep(parser, word->value.text);
    return value_template(word->value, parser->error);
}

static bool read_segment(struct parser *parser, struct policy_rule *rule, const struct word *word)
{
    parser->table->wanted[rule - parser->table->rules] = word->value;
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
    message_add(&message, "expected func=, module=, site=, size>= or call=");
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
    if (is_later(word->key.text))
        return not_in_this_version(parser, word_head(word));
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
    return (is_size || first_time(parser, word, 1u << i)) && kind->read(parser, rule, word);
}

static bool read_rule(struct parser *parser, const struct word *verb_word, enum policy_verb verb)
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
    parser->table->wanted[policy->rule_count++] = (struct piece){{NULL, 0}, {0, 0}};

    const char *start = verb_word->whole.text.at, *end = parser->scan.at;
    while (scan_more(&parser->scan)) {
        struct word word;
        if (!scan_match(&parser->scan, &word) || !read_rule_word(parser, rule, &word))
            return false;
        end = parser->scan.at;
    }
    rule->text = keep(parser, (struct text){start, (size_t)(end - start)});
    return true;
}

static bool read_segment_size(struct parser *parser, struct policy_segment *segment, const struct word *word)
{
    if (!value_bytes(word->value, &segment->size, parser->error))
        return false;
    return segment->size > 0 || error_expected(parser->error, "a size above 0", word->value, NULL);
}

static bool read_scope(struct parser *parser, struct policy_segment *segment, const struct word *word)
{
    (void)segment; /* there is one scope */
    static const char *const words[] = {"node", NULL};
    size_t index;
    if (text_equals(word->value.text, "socket") || text_equals(word->value.text, "numa"))
        return not_in_this_version(parser, word->whole);
    return value_choice(word->value, words, "scope=node", &index, parser->error);
}

/* Whether there is a tmpfs is found out when the segment is opened. */
static bool read_directory(struct parser *parser, struct policy_segment *segment, const struct word *word)
{
    if (word->value.text.at[0] != '/')
        return error_expected(parser->error, "a directory that begins with '/'", word->value, NULL);
    segment->dir = keep(parser, word->value.text);
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
    {"scope", "scope=node", read_scope},
    {"dir", "dir=/DIRECTORY", read_directory},
};
enum { SEGMENT_WORDS = sizeof segment_words / sizeof segment_words[0] };

static bool unknown_segment_word(struct parser *parser, const struct word *word)
{
    const char *keys[SEGMENT_WORDS + 1] = {NULL};
    for (unsigned i = 0; i < SEGMENT_WORDS; i++)
        keys[i] = segment_words[i].key;
    struct message message = error_begin(parser->error, word->whole.place);
    message_add(&message, "expected size=, scope= or dir=, found ");
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
    return first_time(parser, word, 1u << i) && segment_words[i].read(parser, segment, word);
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
    *segment = (struct policy_segment){.name = keep(parser, name.value.text), .line = name.whole.place.line};
    while (scan_more(&parser->scan)) {
        struct word word;
        if (!scan_match(&parser->scan, &word) || !read_segment_word(parser, segment, &word))
            return false;
    }
    return true;
}

static bool read_program_directive(struct parser *parser, const struct word *directive)
{
    struct policy *policy = &parser->table->policy;
    do {
        struct word glob;
        if (!read_needed_word(parser, directive, &glob))
            return false;
        if (policy->program_count == POLICY_PROGRAMS_MAX)
            return error_too_many(parser->error, glob.value.place, POLICY_PROGRAMS_MAX, "programs");
        parser->table->programs[policy->program_count++] = keep(parser, glob.value.text);
    } while (scan_more(&parser->scan));
    return true;
}

static bool read_directive(struct parser *parser)
{
    enum { SEGMENT, PROGRAM, VERBS };
    static const char *const words[] = {"segment", "program", "pass", "export", "share", "merge", NULL};
    struct word word;
    size_t index;
    if (!scan_plain(&parser->scan, &word))
        return false;
    if (is_later(word.whole.text))
        return not_in_this_version(parser, word.whole);
    if (!value_choice(word.whole, words, "segment, program, pass, export, share or merge", &index,
                      parser->error))
        return false;
    parser->seen = 0;
    if (index == SEGMENT)
        return read_segment_directive(parser, &word);
    if (index == PROGRAM)
        return read_program_directive(parser, &word);
    return read_rule(parser, &word, (enum policy_verb)(index - VERBS)); /* in the order of the enum */
}

/* Turns what each segment= said into an index, when all declarations are known. */
static bool resolve_segments(struct parser *parser)
{
    struct table *table = parser->table;
    if (table->policy.segment_count == 0)
        table->segments[table->policy.segment_count++] =
            (struct policy_segment){.name = POLICY_DEFAULT_SEGMENT};
    for (size_t i = 0; i < table->policy.rule_count; i++) {
        if (!table->wanted[i].text.at)
            continue;
        const struct policy_segment *segment = find_segment(table, table->wanted[i].text);
        if (!segment) {
            const char *names[POLICY_SEGMENTS_MAX + 1] = {NULL};
            for (size_t k = 0; k < table->policy.segment_count; k++)
                names[k] = table->segments[k].name;
            return error_expected(parser->error, "the name of a declared segment", table->wanted[i], names);
        }
        table->rules[i].segment = (unsigned)(segment - table->segments);
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
    for (size_t i = 0; i < policy->rule_count; i++) {
        const struct policy_rule *rule = &policy->rules[i];
        policy->needs_functions |= rule->func != NULL;
        if (rule->verb == POLICY_PASS)
            continue;
        policy->needs_functions |= names_its_function(rule);
        if (rule->size_min <= rule->size_max && rule->size_min < policy->size_floor)
            policy->size_floor = rule->size_min;
    }
}

static bool fits(size_t length, size_t bytes, struct policy_error *error)
{
    bool too_long = length > POLICY_TEXT_MAX;
    if (!too_long && bytes >= POLICY_MEMORY)
        return true;
    struct message message = error_begin(error, (struct place){1, 1});
    message_add(&message, too_long ? "expected a policy of at most " : "expected memory of at least ");
    message_number(&message, too_long ? POLICY_TEXT_MAX : POLICY_MEMORY);
    message_add(&message, " bytes, found ");
    message_number(&message, too_long ? length : bytes);
    return false;
}

const struct policy *policy_parse(const char *text, size_t length, void *memory, size_t bytes,
                                  struct policy_error *error)
{
    if (!fits(length, bytes, error))
        return NULL;
    struct table *table = memory;
    struct parser parser = {.error = error, .table = table, .free = table->strings};
    table->policy =
        (struct policy){.rules = table->rules, .segments = table->segments, .programs = table->programs};
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

/* SPDX-License-Identifier: MIT
 *
 * What reading a policy works on: where the text is read, and the table that comes of it.
 *
 * The first error ends the reading. The caller's memory holds one `struct table` and behind it, end to end,
 * copies of the strings that the table points to: the text itself is not needed afterwards.
 */
#ifndef SHM_PARSER_H
#define SHM_PARSER_H

#include "config/policy.h"
#include "config/scan.h"

#include <assert.h>

/* What segment= said in a rule: a segment may be declared after it is used. */
struct wanted {
    struct policy_rule *rule;
    struct piece name;
};

/* A short policy touches as few pages as can be. */
struct table {
    struct policy policy;
    size_t wanted_count; /* while reading */
    struct policy_segment segments[POLICY_SEGMENTS_MAX];
    const char *programs[POLICY_PROGRAMS_MAX];
    struct policy_wrapper wrappers[POLICY_WRAPPERS_MAX];
    struct policy_rule rules[POLICY_RULES_MAX];
    const char *stacks[POLICY_RULES_MAX][POLICY_STACK_MAX];
    struct wanted wanted[POLICY_RULES_MAX]; /* while reading */
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

/* A copy of the text, with a NUL, that lives as long as the policy. */
const char *parser_keep(struct parser *parser, struct text text);

/* Notes that a directive holds the word with this bit; false (and an error) the second time. */
bool parser_first_time(struct parser *parser, const struct word *word, unsigned bit);

#endif

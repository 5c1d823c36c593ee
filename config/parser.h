/* SPDX-License-Identifier: MIT
 *
 * What reading a policy works on: where the text is read, and the table that comes of it.
 *
 * The first error ends the reading. The caller's memory holds one `struct table`, then as many rules as the
 * text may have at the most, and behind them, end to end, what those point to, copies of strings above all:
 * the text itself is not needed afterwards. So a short policy takes less than a page of each process.
 */
#ifndef SHM_PARSER_H
#define SHM_PARSER_H

#include "config/policy.h"
#include "config/scan.h"

#include <assert.h>
#include <stddef.h>

/* What segment= said in a rule: a segment may be declared after it is used. */
struct wanted {
    struct wanted *next;
    struct policy_rule *rule;
    struct piece name;
};

struct table {
    struct policy policy;
    struct policy_segment segments[POLICY_SEGMENTS_MAX];
    const char **programs;           /* POLICY_PROGRAMS_MAX, made for the first one */
    struct policy_wrapper *wrappers; /* likewise */
    struct policy_rule rules[];
};

/* What policy_memory() counts. A byte of the text is kept at most twice, in a rule's text and in a value, and
 * no more NULs are added than there are bytes; a frame of a stack takes two bytes of text at least. */
#define PARSER_BYTES_EACH (4 + sizeof(char *) / 2)
#define PARSER_RULE       (sizeof(struct policy_rule) + sizeof(struct wanted) + 2 * _Alignof(max_align_t))
#define PARSER_PROGRAMS   (POLICY_PROGRAMS_MAX * sizeof(char *) + _Alignof(max_align_t))
#define PARSER_WRAPPERS   (POLICY_WRAPPERS_MAX * sizeof(struct policy_wrapper) + _Alignof(max_align_t))
static_assert(sizeof(struct table) + PARSER_BYTES_EACH * POLICY_TEXT_MAX + POLICY_RULES_MAX * PARSER_RULE +
                      PARSER_PROGRAMS + PARSER_WRAPPERS <=
                  POLICY_MEMORY,
              "any text fits");

struct parser {
    struct scan scan;
    struct policy_error *error;
    struct table *table;
    char *free; /* where the next thing to keep goes */
    struct wanted *wanted, **last_wanted;
    unsigned seen; /* the words that this directive has had, as bits */
};

/* A copy of the text, with a NUL, that lives as long as the policy. */
const char *parser_keep(struct parser *parser, struct text text);

/* Bytes for something that has pointers in it, likewise. */
void *parser_make(struct parser *parser, size_t bytes);

/* Notes that a directive holds the word with this bit; false (and an error) the second time. */
bool parser_first_time(struct parser *parser, const struct word *word, unsigned bit);

#endif

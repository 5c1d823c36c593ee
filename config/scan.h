/* SPDX-License-Identifier: MIT
 *
 * The words of a policy, each with the place where it stands, and complaints about them.
 *
 * A policy is a row of directives, ended by a newline or ';'. A directive is a row of words, parted
 * by blanks; '#' where a word could begin starts a comment. What a word means is not known here.
 *
 * Every column that is reported is that of the very text the message shows.
 */
#ifndef SHM_SCAN_H
#define SHM_SCAN_H

#include "config/fault.h"
#include "config/text.h"

struct place {
    unsigned line, column; /* from 1; the column counts bytes */
};

struct piece {
    struct text text;
    struct place place;
};

/* `key`, `relation` and `value` of size>=64K are "size", ">=" and "64K"; without a relation
 * `relation` and `value` are empty. Quotes belong to `whole`, not to `value`. */
struct word {
    struct piece whole, key, relation, value;
};

struct scan {
    const char *at, *end, *line_start;
    unsigned line;
    struct policy_error *error;
};

/* Begins to read; false (and an error) when the text holds a control byte other than tab and line
 * end, so that everything after may rely on there being none. */
bool scan_begin(struct scan *scan, struct text text, struct policy_error *error);
/* Goes to the first word of the next directive; false: there is none. */
bool scan_directive(struct scan *scan);
/* Goes to the next word of this directive; false: it ends here. */
bool scan_more(struct scan *scan);
/* Reads a word that is a plain value, perhaps in quotes; all of it is `value`. False: an error. */
bool scan_plain(struct scan *scan, struct word *word);
/* Reads a word of the form KEY, RELATION, VALUE, the value perhaps in quotes. False: an error. */
bool scan_match(struct scan *scan, struct word *word);

/* KEY and RELATION, without the value. */
struct piece word_head(const struct word *word);

/* The part of a piece that begins `from` bytes into it. */
struct piece piece_part(struct piece piece, size_t from, size_t length);

/* Starts the message of an error at `place`. */
struct message error_begin(struct policy_error *error, struct place place);
/* "expected WHAT, found 'PIECE'", and a suggestion from `words` if that is not NULL. Always false,
 * so that `return` can stand before it; so are the three below. */
bool error_expected(struct policy_error *error, const char *what, struct piece found,
                    const char *const *words);
/* "'PIECE' SAYS". */
bool error_about(struct policy_error *error, struct piece piece, const char *says);
/* "a value is missing after HEAD". */
bool error_no_value(struct policy_error *error, const struct word *word);
/* "there are more than LIMIT THINGS", at the one too many. */
bool error_too_many(struct policy_error *error, struct place place, size_t limit, const char *things);

#endif

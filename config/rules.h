/* SPDX-License-Identifier: MIT
 *
 * A rule: the words behind a verb.
 */
#ifndef SHM_RULES_H
#define SHM_RULES_H

#include "config/parser.h"

/* Reads the rest of the directive that begins with this verb; false: an error. */
bool rules_read(struct parser *parser, const struct word *verb_word, enum policy_verb verb);

#endif

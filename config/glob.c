/* SPDX-License-Identifier: MIT
 *
 * Shell globs: * ? [set] [!set] (or [^set]) and \x for a literal x.
 *
 * There is one star to come back to, the last one: what an earlier star took need never be changed
 * once a later one was reached. So nothing is recursive, and a hostile pattern costs no more than
 * the product of the lengths. Bytes are compared, not characters; '/' and a leading dot are
 * ordinary. As in the shell, a '[' without its ']' and a backslash at the very end stand for
 * themselves.
 */
#include "config/policy.h"

/* What one element of a pattern says of one byte. */
struct element {
    const char *next; /* what follows the element */
    bool matches;
};

/* The literal that begins at `at`; `next` goes behind it. */
static unsigned char literal_at(const char *at, const char **next)
{
    if (at[0] == '\\' && at[1] != '\0')
        at++;
    *next = at + 1;
    return (unsigned char)*at;
}

/* The set that begins at `at`, a '['. `next` is NULL when it has no end. */
static struct element match_set(const char *at, unsigned char byte)
{
    bool negated = at[1] == '!' || at[1] == '^', found = false;
    const char *first = at + 1 + negated;
    for (at = first; *at != '\0' && (*at != ']' || at == first);) {
        unsigned char low = literal_at(at, &at), high = low;
        if (at[0] == '-' && at[1] != ']' && at[1] != '\0')
            high = literal_at(at + 1, &at);
        found |= low <= byte && byte <= high;
    }
    if (*at == '\0')
        return (struct element){NULL, false};
    return (struct element){at + 1, found != negated};
}

/* A '[' at or after *unclosed is known to have no ']', so that no search for one is made twice. */
static struct element match_element(const char *pattern, unsigned char byte, const char **unclosed)
{
    if (*pattern == '?')
        return (struct element){pattern + 1, true};
    if (*pattern == '[' && (!*unclosed || pattern < *unclosed)) {
        struct element set = match_set(pattern, byte);
        if (set.next)
            return set;
        *unclosed = pattern;
    }
    struct element element;
    element.matches = literal_at(pattern, &element.next) == byte;
    return element;
}

bool policy_glob(const char *pattern, const char *text)
{
    const char *star = NULL, *star_text = NULL, *unclosed = NULL;
    for (;;) {
        if (*pattern == '*') {
            star = ++pattern;
            star_text = text;
            continue;
        }
        if (*text == '\0')
            return *pattern == '\0';
        struct element element = {pattern, false};
        if (*pattern != '\0')
            element = match_element(pattern, (unsigned char)*text, &unclosed);
        if (element.matches) {
            pattern = element.next;
            text++;
        } else if (star) {
            pattern = star; /* the star takes one byte more */
            text = ++star_text;
        } else {
            return false;
        }
    }
}

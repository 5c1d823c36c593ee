/* SPDX-License-Identifier: MIT
 *
 * From places worth having to the rules of a policy.
 *
 * For each place the plainest words are tried first: the function; the function and its callers, one more
 * each time; the same with the exact call at the end; exact calls alone, for code without names. Each try is
 * parsed as the shim would and compared with every stack that was recorded: the first that takes all good
 * stacks of its place and no bad one is the rule. So nothing is proposed that was not proven. src= is not
 * tried, since it breaks with the next edit.
 */
#ifndef SHMPRELOAD_WORDING_H
#define SHMPRELOAD_WORDING_H

#include "places.h"

#define WORDING_NONE SIZE_MAX

struct wording_rule {
    char *text;
    uint64_t saved_bytes, peak_bytes; /* of all its places */
    size_t places;
};

struct wording {
    const struct places *places;
    char *prefix; /* `wrapper` directives, a line each */
    struct wording_rule *rules;
    size_t rule_count;
    size_t *rule_of;        /* for each place: its rule, or WORDING_NONE */
    enum place_kind *kinds; /* of each stack */
    void *memory;           /* of policies that are tried */
};

/* `wrapper` directives for functions that allocate for others and that `prefix` does not name: by their
 * names. New lines, or NULL. */
char *wording_wrappers(const struct places *places);

/* `prefix`: the directives under which the places were found. */
void wording_find(struct wording *wording, const struct places *places, const char *prefix);
void wording_release(struct wording *wording);

/* A name as a glob that matches it; with quotes where a policy needs them. New strings. */
char *wording_glob(const char *name);
char *wording_value(const char *glob);

/* Parses, in memory of the wording's; NULL: it is not well-formed, or too long. */
const struct policy *wording_parse(struct wording *wording, const char *text);

/* Does this policy take all good stacks of wanted places that have rules, and no bad one? */
bool wording_is_proven(struct wording *wording, const char *text);

#endif

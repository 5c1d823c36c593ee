/* SPDX-License-Identifier: MIT
 *
 * Which rules have matched, here or in another process of the job, and the last word about those that have
 * not: a rule without a match is a mistake more often than not, and one line says so.
 *
 * The first match of a rule is noted where the job's processes say what they say (core/registry), and again
 * at the end, for those who outlive this one: forked children leave the last word to the parent, and the
 * ranks of an MPI job to the first.
 */
#ifndef SHM_VERDICT_H
#define SHM_VERDICT_H

#include "base.h"
#include "config/policy.h"

/* At bring-up. `rank` of an MPI program, NULL: it is none. */
void verdict_begin(const struct policy *policy, const char *rank);

/* The rule has just matched. Called by the way of each request: a look, but for the first time. */
extern INTERNAL _Atomic bool verdict_matched[POLICY_RULES_MAX];
void verdict_note(uint16_t rule);
static inline void verdict_match(uint16_t rule)
{
    if (UNLIKELY(!atomic_load_explicit(&verdict_matched[rule], memory_order_relaxed)))
        verdict_note(rule);
}

/* What stays in the registry of what was said here, or elsewhere in the job. */
enum verdict_left {
    VERDICT_NOTHING,
    VERDICT_PARENTS, /* something that the parent is known to remove: it carries the shim, too */
    VERDICT_SOMETHING
};

/* At the end. `complains`: this process has the last word. */
enum verdict_left verdict_end(bool complains);

#endif

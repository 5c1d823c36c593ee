/* SPDX-License-Identifier: MIT
 *
 * What each rule of a policy would have matched in processes that were recorded: nothing is run.
 */
#ifndef SHMPRELOAD_RECORDED_H
#define SHMPRELOAD_RECORDED_H

#include "advice.h"
#include "json_output.h"

/* A call site that a rule matches. `processes`: the most that any of its stacks occurred in. */
struct recorded_site {
    size_t rule; /* index into policy->rules */
    const struct spot *spot;
    const struct program *program;
    uint64_t calls, peak_bytes;
    size_t processes;
};

struct recorded {
    struct recorded_site *items; /* by rule, largest first */
    size_t count;
    uint64_t unmatched_bytes; /* peaks of what no rule matches */
};

/* `stacks` have their names. */
void recorded_find(struct recorded *recorded, const struct policy *policy, const struct stacks *stacks);
void recorded_release(struct recorded *recorded);

void recorded_print(const struct policy *policy, const struct recorded *recorded);

/* Puts "sites" into each rule of rules_json(). */
void recorded_put_json(struct json_object *rules, const struct policy *policy,
                       const struct recorded *recorded);

#endif

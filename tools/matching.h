/* SPDX-License-Identifier: MIT
 *
 * A recorded stack against a policy: which rules would have taken its requests.
 *
 * A record has sizes by powers of two, so where a rule's bound lies within one, both that rule and the next
 * one that holds are said to match.
 */
#ifndef SHMPRELOAD_MATCHING_H
#define SHMPRELOAD_MATCHING_H

#include "stacks.h"

/* Sets matched[i] for each rule i that would take a request of the stack. Returns whether there is one; never
 * where the policy does not hold for the program. */
bool matching_rules(const struct policy *policy, const struct stacks *stacks, const struct stack *stack,
                    bool *matched);

/* The frame that is the call site under this policy. */
size_t matching_site(const struct policy *policy, const struct stacks *stacks, const struct stack *stack);

/* The sizes of one power of two that a stack asked for; false: none. */
bool matching_sizes(const struct stack *stack, unsigned power, uint64_t *least, uint64_t *most);

#endif

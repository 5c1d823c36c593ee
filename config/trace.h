/* SPDX-License-Identifier: MIT
 *
 * A whole stack against a policy: which frame is the call site, and which rules hold there.
 *
 * Pure, for those who have a stack with its names in hand, such as one from a record; the shim, which finds
 * names out one by one, decides the same in preload/site.c. The site is the first frame that is no wrapper,
 * the last frame where all are; a rule may name the wrappers in front of it, too.
 */
#ifndef SHM_TRACE_H
#define SHM_TRACE_H

#include "config/policy.h"

/* More frames than this are not looked at. */
#define TRACE_FRAMES 32u

/* The frame that is the call site; `count` >= 1. */
size_t trace_site(const struct policy *policy, const struct policy_site *frames, size_t count);

/* Does all that the rule says of the place hold? `site`: from trace_site(). */
bool trace_matches(const struct policy_rule *rule, const struct policy_site *frames, size_t count,
                   size_t site);

#endif

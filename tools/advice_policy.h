/* SPDX-License-Identifier: MIT
 *
 * The policy that an advice comes to, with comments that say for each rule what it is for.
 */
#ifndef SHMPRELOAD_ADVICE_POLICY_H
#define SHMPRELOAD_ADVICE_POLICY_H

struct advice;

/* A new string that the parser takes; without rules when none is worth having. */
char *advice_policy_text(const struct advice *advice);

#endif

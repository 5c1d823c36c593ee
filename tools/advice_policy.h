/* SPDX-License-Identifier: MIT
 *
 * The policy that an advice comes to, with comments that say for each rule what it is for.
 */
#ifndef SHMPRELOAD_ADVICE_POLICY_H
#define SHMPRELOAD_ADVICE_POLICY_H

#include "advice.h"

/* Puts the text into advice->policy, one that the parser takes; without rules when none is worth having. Then
 * all of it is compared with the stacks once more. */
void advice_write_policy(struct advice *advice);

#endif

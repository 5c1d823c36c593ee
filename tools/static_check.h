/* SPDX-License-Identifier: MIT
 *
 * Which calls that stand in a program and its libraries a policy would match, without running the program.
 *
 * What only a run can tell is left open, and said: the sizes; for a rule with stack= or a wrapper's call, who
 * called; and libraries that the program loads by itself.
 */
#ifndef SHMPRELOAD_STATIC_CHECK_H
#define SHMPRELOAD_STATIC_CHECK_H

#include "config/policy.h"

#include <stdbool.h>

/* `program` is found as a shell does. `json`: an object that holds what rules_json() does. 0, or -1 after a
 * message. */
int static_check(const struct policy *policy, const char *program, bool json);

#endif

/* SPDX-License-Identifier: MIT
 *
 * A parsed policy for people and for programs.
 */
#ifndef SHMPRELOAD_RULES_H
#define SHMPRELOAD_RULES_H

#include "config/policy.h"
#include "json_output.h"

void rules_print(const struct policy *policy);

/* {"rules": […], "segments": […], "programs": […]}; the rules stand in the policy's order. */
struct json_object *rules_json(const struct policy *policy);

const char *rules_verb(enum policy_verb verb);

#endif

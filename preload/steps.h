/* SPDX-License-Identifier: MIT
 *
 * From an address to the step from a frame to its caller's: a stack_step_finder.
 */
#ifndef SHM_STEPS_H
#define SHM_STEPS_H

#include "stack.h"

bool steps_at(uintptr_t address, struct stack_step *out);

#endif

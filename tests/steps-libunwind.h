/* SPDX-License-Identifier: MIT */
#ifndef SHM_TEST_STEPS_LIBUNWIND_H
#define SHM_TEST_STEPS_LIBUNWIND_H

#include "stack.h"

/* As steps_at(), in libunwind's words. */
bool steps_by_libunwind(uintptr_t address, struct stack_step *out);

#endif

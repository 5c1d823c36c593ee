/* SPDX-License-Identifier: MIT
 *
 * What shmpreload-symbols.so offers: names of functions, the steps from frame to frame, and whether it is
 * worth while to load shmpreload-lines.so (debug_place.h).
 *
 * A module of its own, loaded with RTLD_LOCAL at bring-up and only when a rule or a name wants functions:
 * libunwind exports backtrace() and _Unwind_*, which must not come between the program and its own.
 */
#ifndef SHM_NAMES_H
#define SHM_NAMES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "stack.h"

/* A code_function_finder and a stack_step_finder. Each is asked by one thread at a time. */
__attribute__((visibility("default"))) bool shmpreload_function_at(uintptr_t address, char *name,
                                                                   size_t bytes, uint64_t *offset);
__attribute__((visibility("default"))) bool shmpreload_step_at(uintptr_t address, struct stack_step *out);

#endif

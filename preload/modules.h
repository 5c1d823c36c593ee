/* SPDX-License-Identifier: MIT
 *
 * The modules that lie beside our own file, for what needs more than libc: loaded at bring-up, never later,
 * for a thread that waited for the dynamic linker's lock in malloc could wait for ever.
 *
 * Loaded with RTLD_LOCAL: what they bring along binds none of the program's symbols. Never unloaded.
 */
#ifndef SHM_MODULES_H
#define SHM_MODULES_H

#include "code.h"
#include "stack.h"

/* What shmpreload-symbols.so offers. */
struct symbols {
    code_function_finder *function;
    stack_step_finder *step;
};

/* Without the module there is nothing (NULL), and a line says so. */
struct symbols modules_load_symbols(void);

/* `wanted`: a rule asks for source lines; else it is no matter whether there is such a module. */
lines_finder *modules_load_lines(bool wanted);

#endif

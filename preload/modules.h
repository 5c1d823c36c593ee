/* SPDX-License-Identifier: MIT
 *
 * The modules that lie beside our own file, for what needs more than libc. Loaded with RTLD_LOCAL: what they
 * bring along binds none of the program's symbols. Never unloaded.
 *
 * Never loaded in malloc: a thread that waited for the dynamic linker's lock there could wait for ever. At
 * bring-up, then; or when the program is about to load a module itself, for what would have been of no use
 * before: libdw and what it needs are five libraries, and most programs have no debug information.
 */
#ifndef SHM_MODULES_H
#define SHM_MODULES_H

#include "code.h"
#include "stack.h"

/* What shmpreload-symbols.so offers. */
struct symbols {
    code_function_finder *function;
    stack_step_finder *step;
    bool (*may_have_lines)(const struct os_module *module);
    unsigned modules_before; /* how many were loaded before it */
};

/* Without the module there is nothing (NULL), and a line says so. */
struct symbols modules_load_symbols(void);

/* Sees to it that code.h has source lines wherever they may be of use, after code_begin(). `wanted`: a rule
 * asks for them by name; else it is no matter whether there is such a module. */
void modules_begin_lines(const struct symbols *symbols, bool wanted);

/* The program is going to load a module, in this thread. */
void modules_before_loading(void);

#endif

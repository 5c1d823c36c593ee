/* SPDX-License-Identifier: MIT
 *
 * The modules that lie beside our own file, for what needs more than libc: symbol tables that are compressed
 * (mini_debug.h), source lines (lines.h). Loaded with RTLD_LOCAL: what they bring along binds none of the
 * program's symbols. Never unloaded.
 *
 * Never loaded in malloc: a thread that waited for the dynamic linker's lock there could wait for ever. At
 * bring-up, then, when something in the process may have what they read; else when the program is about to
 * load a module itself: libdw and what it needs are five libraries, and most programs have no debug
 * information.
 */
#ifndef SHM_MODULES_H
#define SHM_MODULES_H

#include "debug_place.h"

enum { MODULES_SYMBOLS = DEBUG_PLACE_SYMBOLS, MODULES_LINES = DEBUG_PLACE_LINES };

/* Sees to it that names.h has the symbols, and code.h the source lines, wherever they may be of use. After
 * code_begin(). `program`: the path of the executable. `wanted`: these are asked for by name, and when there
 * is no such module, that is said. */
void modules_begin(const char *program, unsigned useful, unsigned wanted);

/* The program is going to load a module, in this thread. */
void modules_before_loading(void);

#endif

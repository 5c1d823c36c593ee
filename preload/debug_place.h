/* SPDX-License-Identifier: MIT
 *
 * Where the debug information of a module may lie, and whether there is any: the quick questions, for which
 * neither libdw nor liblzma need be loaded.
 *
 * Nothing is opened here that is not the module's own file: what lies elsewhere is only seen to be there.
 * Whoever reads it makes sure that it is of the same build. Of the module's file no more is read than the
 * table of its sections and what lies close before it; it is not mapped, since that costs more.
 */
#ifndef SHM_DEBUG_PLACE_H
#define SHM_DEBUG_PLACE_H

#include "os.h"

#define DEBUG_PLACE_BYTES (sizeof "/usr/lib/debug/.build-id//.debug" + 2 * 64)

/* Where distributions put what they have stripped off a build. False: the module has no build-id. */
bool debug_place_of_build(const struct os_module *module, char out[DEBUG_PLACE_BYTES]);

/* What a module may have, as bits: DWARF, in its file or in one that its file or its build-id leads to; a
 * compressed symbol table (mini_debug.h). */
enum { DEBUG_PLACE_LINES = 1, DEBUG_PLACE_SYMBOLS = 2 };

/* Which of the `asked` bits? Yes may be wrong, no is not. `program`: the path of the executable, for the
 * module that has none. */
unsigned debug_place_look(const struct os_module *module, const char *program, unsigned asked);

#endif

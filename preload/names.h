/* SPDX-License-Identifier: MIT
 *
 * From an address to the name of its function: a code_function_finder.
 *
 * The symbol table of a module's file is read once, at the first question, put in order piece by piece and
 * kept: a program whose own wrappers around malloc are known asks for the name of every function that calls
 * one, and many libraries have tens of thousands. What was read is known again by the module's build, so it
 * stays true when modules come and go; the names stay where they are, in the mapped file. Static functions of
 * a stripped file are found in its separate debug file, or the compressed table of MiniDebugInfo: that is
 * read when a function is asked for that the file's own table does not have.
 *
 * A name holds for the bytes that the table says are the function's, and no further: in a stripped program a
 * function that has no name must not get its neighbour's. Files of another build than the module in memory
 * are not believed.
 *
 * The caller sees to it that one thread asks at a time, and that it is inside the shim: it allocates.
 */
#ifndef SHM_NAMES_H
#define SHM_NAMES_H

#include "base.h"
#include "mini_debug.h"

bool names_function_at(uintptr_t address, char *name, size_t bytes, uint64_t *offset);

/* From now on compressed tables are read, too. At bring-up, or at any time after, before a module is loaded
 * that has one. */
void names_set_unpacker(mini_debug_unpacker *unpack);

#endif

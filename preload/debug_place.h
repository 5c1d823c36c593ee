/* SPDX-License-Identifier: MIT
 *
 * Where the debug information of a module may lie, and whether there is any: the quick questions, for which
 * libdw need not be loaded. A part of shmpreload-symbols.so.
 *
 * Nothing is opened here that is not the module's own file: what lies elsewhere is only seen to be there.
 * Whoever reads it makes sure that it is of the same build.
 */
#ifndef SHM_DEBUG_PLACE_H
#define SHM_DEBUG_PLACE_H

#include "os.h"

#define DEBUG_PLACE_BYTES (sizeof "/usr/lib/debug/.build-id//.debug" + 2 * 64)

/* Where distributions put what they have stripped off a build. False: the module has no build-id. */
bool debug_place_of_build(const struct os_module *module, char out[DEBUG_PLACE_BYTES]);

/* Could DWARF be had for the module: in its file, or in one that its file or its build-id leads to? Yes may
 * be wrong, no is not. */
__attribute__((visibility("default"))) bool shmpreload_may_have_lines(const struct os_module *module);

#endif

/* SPDX-License-Identifier: MIT
 *
 * The number that the linker gave a program or library: the same for the same build wherever it lies, another
 * one for another build. It lies in the notes, in the file and in memory.
 *
 * Older compilers and some private ones write none.
 */
#ifndef SHM_BUILD_ID_H
#define SHM_BUILD_ID_H

#include "base.h"
#include "os.h"

/* In one segment or section of notes. Its length in bytes; 0: it is not there. */
size_t build_id_in(const void *notes, size_t bytes, const unsigned char **id);

/* Of a module in this process; *id lives as long as the module. */
size_t build_id_of(const struct os_module *module, const unsigned char **id);

/* A number for the module's build: a hash of its build-id, or of its path where it has none. */
uint64_t build_hash_of(const struct os_module *module);

#endif

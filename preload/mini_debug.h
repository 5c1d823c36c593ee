/* SPDX-License-Identifier: MIT
 *
 * The symbol table that some distributions leave, compressed, in programs that they have stripped
 * (.gnu_debugdata): names of static functions, and nothing else.
 *
 * A module of its own, shmpreload-symbols.so (modules.h), because it needs liblzma. It may allocate.
 */
#ifndef SHM_MINI_DEBUG_H
#define SHM_MINI_DEBUG_H

#include "elf_image.h"

/* The file inside the file. False: there is none, or it is damaged. Its bytes live for ever. */
typedef bool mini_debug_unpacker(const struct elf_image *image, struct elf_image *out);
__attribute__((visibility("default"))) mini_debug_unpacker shmpreload_unpack_symbols;

#endif

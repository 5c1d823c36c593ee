/* SPDX-License-Identifier: MIT
 *
 * The symbol table that some distributions leave, compressed, in programs that they have stripped
 * (.gnu_debugdata): names of static functions, and nothing else.
 */
#ifndef SHM_MINI_DEBUG_H
#define SHM_MINI_DEBUG_H

#include "elf_image.h"

/* The file inside the file. False: there is none, or it is damaged. Its bytes live for ever. */
bool mini_debug_read(const struct elf_image *image, struct elf_image *out);

#endif

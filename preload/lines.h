/* SPDX-License-Identifier: MIT
 *
 * What shmpreload-lines.so offers: from an address to its source lines and to the functions that the compiler
 * has inlined there, as DWARF tells them.
 *
 * A module of its own, loaded with RTLD_LOCAL and only when a rule asks for source lines, or for functions
 * where there may be debug information (modules.h): it needs libdw (elfutils), which must not come between
 * the program and one of its own. It may allocate. It keeps no descriptor open, reads files of this machine
 * alone, and asks no debuginfod server.
 */
#ifndef SHM_LINES_H
#define SHM_LINES_H

#include "base.h"
#include "config/policy.h"

struct loaded;

/* A loaded module, as the dynamic linker knows it. */
struct lines_module {
    const char *path;              /* NULL: none, see `loaded` */
    uintptr_t load_address;        /* what is added to the addresses in its file */
    const unsigned char *build_id; /* of what is loaded; NULL: it has none */
    size_t build_id_bytes;
    const struct loaded *loaded; /* modules were unloaded: what is kept of others than these is given back */
};

/* Fills out[most] with the frames at an address, innermost first: inlined functions, then the function
 * itself. Of more than `most` the outermost are told. Their texts lie in `text`; what does not fit is NULL.
 * Returns how many. 0: there is nothing about this address, and `text` says why in a sentence; it is empty
 * where the module has debug information but none for the address.
 *
 * Neither path nor `loaded`: the thread gets its variables of libelf's and libdw's. Without that the first
 * question of each thread waits for a lock of the loader's, whose holder may be calling malloc().
 *
 * One thread at a time, but for the last. Runs on a stack of its own and leaves errno alone. */
typedef unsigned lines_finder(const struct lines_module *module, uintptr_t address, struct policy_frame *out,
                              unsigned most, char *text, size_t bytes);

#endif

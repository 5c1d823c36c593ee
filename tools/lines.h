/* SPDX-License-Identifier: MIT
 *
 * Source lines of one object file, by libdw: from the file or from debug information apart from it, which is
 * looked for where debuggers look (by build-id below /usr/lib/debug, and beside the file).
 */
#ifndef SHMPRELOAD_LINES_H
#define SHMPRELOAD_LINES_H

#include "stacks.h"

struct lines;

/* NULL: there is no debug information. */
struct lines *lines_open(const char *path);
void lines_close(struct lines *lines); /* may be NULL */

/* Fills in `debug`, `file`, `line` and `inlined`, as far as they are known. */
void lines_at(struct lines *lines, struct spot *spot);

/* A C++ name without parameters, any other as it is; a new string. In symbols.c. */
char *symbols_demangle(const char *name);

#endif

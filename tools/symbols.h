/* SPDX-License-Identifier: MIT
 *
 * Names for spots: from the files that the records name, as they lie on this machine now.
 *
 * `function` is what the shim calls it when a program runs, since rules are compared with that: by the
 * symbol tables that it reads. `debug`, `file`, `line` and `inlined` are for
 * people, and for src=: from DWARF, in the file or apart from it (found by build-id). A file that is another
 * than the one recorded names nothing. Symbols and lines are asked for apart, because lines cost more.
 *
 * Nothing in a file is believed that libelf and libdw do not check.
 */
#ifndef SHMPRELOAD_SYMBOLS_H
#define SHMPRELOAD_SYMBOLS_H

#include "stacks.h"

struct symbols;

struct symbols *symbols_open(void);
void symbols_close(struct symbols *symbols);

/* Fills in `function`. */
void symbols_name(struct symbols *symbols, struct spot *spot);

/* Fills in the rest; names first. */
void symbols_locate(struct symbols *symbols, struct spot *spot);

/* The same for all spots there are. */
void symbols_name_all(struct symbols *symbols, const struct stacks *stacks);

/* Says of each file that was asked for in vain, once, why: the program's and libraries' alike. */
void symbols_complain(const struct symbols *symbols);

#endif

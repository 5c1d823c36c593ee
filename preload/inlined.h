/* SPDX-License-Identifier: MIT
 *
 * From DWARF and an address in an object file to frames: what was inlined there and the function itself, each
 * with its source file and line. DWARF 2 to 5, of any compiler.
 *
 * Of a large program little is read: which unit an address belongs to is in .debug_aranges, or, where a
 * compiler leaves that out, in the heads of all units, once. A unit's functions and lines are read at the
 * first address in it and kept. It knows nothing of files, modules and processes.
 */
#ifndef SHM_INLINED_H
#define SHM_INLINED_H

#include "base.h"
#include "config/policy.h"

#include <elfutils/libdw.h>

struct inlined;

/* NULL: no memory. The DWARF must live longer. */
struct inlined *inlined_open(Dwarf *dwarf);
void inlined_close(struct inlined *inlined);

/* As lines_finder in lines.h; `address` as in the file. */
unsigned inlined_at(struct inlined *inlined, uint64_t address, struct policy_frame *out, unsigned most,
                    char *text, size_t bytes);

#endif

/* SPDX-License-Identifier: MIT
 *
 * The calls of malloc and its like that stand in an object file, found without running it. x86-64 only.
 *
 * Through which slots of the global offset table the functions are reached is in the file's relocations; a
 * call is then an instruction that goes to such a slot, or to a stub that does. The code is searched byte by
 * byte for these instructions and not disassembled: that four bytes in the middle of something else are the
 * distance to a stub hardly ever happens. Not found: calls through pointers that were taken, and those of
 * programs that bring their own malloc.
 */
#ifndef SHMPRELOAD_CALLS_H
#define SHMPRELOAD_CALLS_H

#include "config/policy.h"

struct call {
    uint64_t offset; /* that it returns to */
    unsigned entry;  /* enum policy_call */
};

struct calls {
    struct call *items; /* by offset */
    size_t count;
};

/* False: no such file, or none of this machine's; nothing is to be released then. */
bool calls_find(struct calls *calls, const char *path);
void calls_release(struct calls *calls);

#endif

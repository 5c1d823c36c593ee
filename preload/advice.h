/* SPDX-License-Identifier: MIT
 *
 * What the program asks the kernel to do with memory of ours: madvise() and mprotect().
 *
 * Blocks lie in a shared mapping of a file, but the program believes that they are anonymous memory. So where
 * the kernel's answer depends on that, it gets the answer for anonymous memory; and nothing beyond the end of
 * the block that a range begins in is touched, for that is other blocks and our tables. Advice that is the
 * same for both passes on.
 */
#ifndef SHM_ADVICE_H
#define SHM_ADVICE_H

#include "base.h"

/* For addresses that router_owns(); the rules of madvise(2). */
int advice_take(void *address, size_t bytes, int advice);

/* The same for mprotect(2). From then on this process is wary (standing.h): a block that is freed may have to
 * be freed of its protection as well. */
int advice_protect(void *address, size_t bytes, int protection);

/* Before a block is freed: whoever gets its memory next expects to read and write it. */
void advice_free_of_protection(const void *block);

#endif

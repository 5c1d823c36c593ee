/* SPDX-License-Identifier: MIT
 *
 * What `exit-free` and its library share: blocks that the library frees at the very end.
 */
#ifndef SHM_VICTIM_EXIT_FREE_H
#define SHM_VICTIM_EXIT_FREE_H

#include <stddef.h>

#define LATE_BLOCKS 40u

extern void *late_block[LATE_BLOCKS];

static inline size_t late_size(unsigned i)
{
    return i % 2 == 0 ? 30 + 50 * (size_t)i : 33000 + 3000 * (size_t)i;
}

#endif

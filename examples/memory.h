/* SPDX-License-Identifier: MIT
 *
 * How much memory a process occupies, as the kernel says. Looking allocates nothing.
 */
#ifndef MEMORY_H
#define MEMORY_H

#include <stdbool.h>
#include <stdint.h>

struct memory {
    uint64_t pss;      /* KiB, pages that n processes have counted as an n-th */
    uint64_t rss;      /* KiB, pages that others have too counted as any */
    uint64_t peak_rss; /* KiB, the most there ever was */
    uint64_t mappings;
};

/* Of the calling process. */
bool memory_measure(struct memory *own);

/* KiB of another process, 0 when it cannot be said. */
uint64_t memory_pss_of(int pid);

#endif

/* SPDX-License-Identifier: MIT
 *
 * For victims that ask for memory over and over while something is short.
 */
#ifndef VICTIM_SOME_BLOCKS_H
#define VICTIM_SOME_BLOCKS_H

#include "victim.h"

enum { BLOCKS = 40, BYTES = 100000 };

/* The call site. */
static void *store(size_t bytes)
{
    void *block = malloc(bytes);
    return hide(block);
}

/* Makes some blocks, writes and reads them. The variable VICTIM_ROUTED says how many are to be in the
 * segment: none, some or all. */
static inline void some_blocks(const char *when)
{
    unsigned char *block[BLOCKS];
    bool good = true;
    unsigned routed = 0;
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = store(BYTES);
        if (block[i] == NULL)
            exit(2);
        fill(block[i], BYTES, i);
        routed += from_shim(block[i]);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        good = good && is_filled(block[i], BYTES, i);
        free(block[i]);
    }
    check(good, when);
    const char *expected = getenv("VICTIM_ROUTED");
    if (expected != NULL && strcmp(expected, routed == 0 ? "none" : routed == BLOCKS ? "all" : "some") != 0)
        printf("NO  %u of %d routed, %s\n", routed, BLOCKS, when);
}

#endif

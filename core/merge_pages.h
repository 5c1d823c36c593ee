/* SPDX-License-Identifier: MIT
 *
 * The pages of a chunk: a bit for each, and what one holds. Knows nothing of copies, ranks or files.
 */
#ifndef SHM_MERGE_PAGES_H
#define SHM_MERGE_PAGES_H

#include <string.h>

#include "merge_layout.h"

static inline bool pages_has(const uint64_t *bits, uint32_t page)
{
    return (bits[page / 64] >> page % 64 & 1) != 0;
}

static inline void pages_mark(uint64_t *bits, uint32_t page)
{
    bits[page / 64] |= UINT64_C(1) << page % 64;
}

static inline uint32_t pages_count(const uint64_t *bits)
{
    uint32_t sum = 0;
    for (uint32_t word = 0; word < CHUNK_WORDS; word++)
        sum += (uint32_t)__builtin_popcountll(bits[word]);
    return sum;
}

/* The program may write meanwhile, so the compiler must not think it knows; what is read is checked again
 * when nobody writes. */
GLANCES static inline bool page_is_zero(const unsigned char *page)
{
    const uint64_t *word = (const uint64_t *)(const void *)page;
    uint64_t any = 0;
    for (uint32_t i = 0; i < PAGE_BYTES / 8 && any == 0; i += 8)
        any = word[i] | word[i + 1] | word[i + 2] | word[i + 3] | word[i + 4] | word[i + 5] | word[i + 6] |
              word[i + 7];
    return any == 0;
}

static inline bool pages_are_equal(const unsigned char *a, const unsigned char *b)
{
    return memcmp(a, b, PAGE_BYTES) == 0;
}

#endif

/* SPDX-License-Identifier: MIT
 *
 * The sizes of an arena's slots. For arena.c.
 */
#ifndef SHM_ARENA_CLASS_H
#define SHM_ARENA_CLASS_H

#include "base.h"

#define ARENA_SLOT_MOST (16 * KIBI)
#define ARENA_CLASSES   64u

/* 16, 32 … 256, then four to each doubling: at most a fifth is lost. */
static inline unsigned arena_class_of(size_t bytes)
{
    if (bytes <= 256)
        return bytes == 0 ? 0 : (unsigned)((bytes - 1) / 16);
    const unsigned power = log2_floor(bytes - 1); /* 8 … */
    return 16 + (power - 8) * 4 + (unsigned)((bytes - 1) >> (power - 2) & 3);
}

static inline uint32_t arena_class_bytes(unsigned class)
{
    if (class < 16)
        return (class + 1) * 16;
    const unsigned power = 8 + (class - 16) / 4;
    return ((class - 16) % 4 + 5) << (power - 2);
}

/* ARENA_CLASSES: none. */
static inline unsigned arena_class_for(size_t bytes, size_t alignment)
{
    if (bytes > ARENA_SLOT_MOST || alignment > PAGE_BYTES)
        return ARENA_CLASSES;
    unsigned class = arena_class_of(bytes);
    while (arena_class_bytes(class) % alignment != 0 && arena_class_bytes(class) < ARENA_SLOT_MOST)
        class ++;
    return arena_class_bytes(class) % alignment == 0 ? class : ARENA_CLASSES;
}

#endif

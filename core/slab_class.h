/* SPDX-License-Identifier: MIT
 *
 * Which class of slots holds so many bytes.
 *
 * Data classes have slots of 16, 32, 48 and 64 bytes, then in steps of 64 up to 512, then four to each
 * doubling: so at most a fifth of a slot is lost from there on. All are multiples of 16, and the class is
 * found by a look into a table of these, for each malloc() that is routed asks.
 */
#ifndef SHM_SLAB_CLASS_H
#define SHM_SLAB_CLASS_H

#include "layout.h"

#define SLAB_CLASS_UNIT 16u
extern INTERNAL const uint8_t slab_class_of_unit[SLOT_BYTES_END / SLAB_CLASS_UNIT + 1];

/* For less than SLOT_BYTES_END. */
static inline uint32_t slab_data_class_small(size_t bytes)
{
    return slab_class_of_unit[(bytes + SLAB_CLASS_UNIT - 1) / SLAB_CLASS_UNIT];
}

/* SLAB_CLASSES when no class's slots hold them. */
static inline uint32_t slab_data_class(uint64_t bytes)
{
    return bytes < SLOT_BYTES_END ? slab_data_class_small(bytes) : SLAB_CLASSES;
}

static inline uint32_t slab_name_class(uint64_t bytes)
{
    if (bytes <= 32)
        return SLAB_NAMES_32;
    if (bytes <= 64)
        return SLAB_NAMES_64;
    return bytes <= 128 ? SLAB_NAMES_128 : SLAB_NAMES_272;
}

#endif

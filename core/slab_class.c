/* SPDX-License-Identifier: MIT */
#include "slab_class.h"

/* The four classes between one power of two and the next, by what they differ. */
#define FOUR_CLASSES(first, step)                                                                            \
    [4 * (step) + 1 ... 5 * (step)] = (first), [5 * (step) + 1 ... 6 * (step)] = (first) + 1,                \
                            [6 * (step) + 1 ... 7 * (step)] = (first) + 2,                                   \
                            [7 * (step) + 1 ... 8 * (step)] = (first) + 3

const uint8_t slab_class_of_unit[SLOT_BYTES_END / SLAB_CLASS_UNIT + 1] = {
    [0 ... 1] = 0,
    [2] = 1,
    [3] = 2,
    [4] = 3,
    [5 ... 8] = 4,
    [9 ... 12] = 5,
    [13 ... 16] = 6,
    FOUR_CLASSES(7, 4),
    FOUR_CLASSES(11, 8),
    FOUR_CLASSES(15, 16),
    FOUR_CLASSES(19, 32),
    FOUR_CLASSES(23, 64),
    FOUR_CLASSES(27, 128),
    FOUR_CLASSES(31, 256),
};
static_assert(31 + 4 == SLAB_DATA_CLASSES, "the last class is the last one");

/* SPDX-License-Identifier: MIT
 *
 * What a thread brings along when it allocates exported blocks.
 */
#ifndef SHM_EXPORT_SOURCE_H
#define SHM_EXPORT_SOURCE_H

#include "layout.h"

/* What one thread knows of one call site. Zeroed by the caller at first; used by one thread only. */
struct export_source {
    uint32_t label;                   /* from export_label() */
    uint32_t slab[SLAB_DATA_CLASSES]; /* the slab in use, by class: its first quantum */
};

enum export_flags {
    EXPORT_ZERO = 1,  /* calloc */
    EXPORT_TOUCH = 2, /* reserve=touch: promise the addresses only */
};

#endif

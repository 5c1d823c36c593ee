/* SPDX-License-Identifier: MIT
 *
 * From a label with holes to a block's name. Pure.
 */
#ifndef SHM_LABEL_H
#define SHM_LABEL_H

#include "layout.h"

/* Writes the name to out[bytes], NUL-terminated, and returns its length; `bytes` or more: it did not fit and
 * was cut. */
size_t label_render(const char *text, size_t length, uint64_t sequence, uint64_t size, char *out,
                    size_t bytes);

#endif

/* SPDX-License-Identifier: MIT
 *
 * realloc(): in place where that can be, else from any allocator to the one that the rules want for the new
 * size. The old block is kept until the new one is whole, so there is always one of the two.
 */
#ifndef SHM_RESIZING_H
#define SHM_RESIZING_H

#include "router.h"

/* Of any pointer but NULL. */
void *resizing_reallocate(void *pointer, const struct request *request);

#endif

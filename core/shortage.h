/* SPDX-License-Identifier: MIT
 *
 * Why there is no memory, and what the user can do about it: the last part of a sentence. It asks again how
 * much there is and who limits it, so what it says is true of the moment after the refusal; it decides
 * nothing.
 */
#ifndef SHM_SHORTAGE_H
#define SHM_SHORTAGE_H

#include "base.h"

#define SHORTAGE_BYTES 320u

/* What is left to others on the node, or in the control group, whatever is asked for. */
#define SHORTAGE_MARGIN (16 * MEBI)

/* Of memory in this directory. In `out`, which it returns. */
const char *shortage_of_memory(char out[SHORTAGE_BYTES], const char *directory);

/* Of addresses. */
const char *shortage_of_addresses(char out[SHORTAGE_BYTES]);

#endif

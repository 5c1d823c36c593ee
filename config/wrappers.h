/* SPDX-License-Identifier: MIT
 *
 * Functions that are known to allocate for their callers: who called them is the call site.
 */
#ifndef SHM_WRAPPERS_H
#define SHM_WRAPPERS_H

#include <stdbool.h>

/* `function`: demangled, without parameters. */
bool wrapper_is_known(const char *function);

#endif

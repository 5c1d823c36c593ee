/* SPDX-License-Identifier: MIT
 *
 * A shared library that allocates, for victims to be linked with.
 */
#include "library.h"

#include <stdlib.h>
#include <string.h>

void *library_make(void)
{
    void *block = malloc(3000);
    if (block != NULL)
        memset(block, 0x55, 3000);
    return block;
}

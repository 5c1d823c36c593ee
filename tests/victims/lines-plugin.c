/* SPDX-License-Identifier: MIT
 *
 * A module with debug information, for the victim `lines`.
 */
#include <stdlib.h>
#include <string.h>

void *plugin_init(size_t bytes);

#line 70 "/src/plugin/load.c"
void *plugin_init(size_t bytes)
{
    void *block = malloc(bytes);
    if (block != NULL)
        memset(block, 0x32, 64);
    return block;
}

/* SPDX-License-Identifier: MIT
 *
 * A module with debug information, for the victim `lines`.
 */
#include <stdlib.h>
#include <string.h>

void *plugin_init(size_t bytes);

#line 60 "/src/plugin/load.c"
static inline __attribute__((always_inline)) void *plugin_room(size_t bytes)
{
    return malloc(bytes);
}

#line 70 "/src/plugin/load.c"
void *plugin_init(size_t bytes)
{
    void *block = plugin_room(bytes);
    if (block != NULL)
        memset(block, 0x32, 64);
    return block;
}

/* SPDX-License-Identifier: MIT
 *
 * For `unloaded`: a module that allocates.
 */
#include <stdlib.h>

void *plugin_make(size_t bytes);

void *plugin_make(size_t bytes)
{
    void *volatile block = malloc(bytes);
    return block;
}

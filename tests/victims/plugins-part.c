/* SPDX-License-Identifier: MIT
 *
 * For `plugins`: a plug-in whose functions begin with PLUGIN_NAME.
 */
#include "plugins.h"

#include <stdlib.h>

#define JOINED(a, b) a##b
#define NAMED(a, b)  JOINED(a, b)
#define MAKE         NAMED(PLUGIN_NAME, _make)
#define CALL_BACK    NAMED(PLUGIN_NAME, _call_back)

void *MAKE(size_t bytes);
void *CALL_BACK(void *(*host)(size_t), size_t bytes);
extern const struct plugin plugin;

void *MAKE(size_t bytes)
{
    void *volatile block = malloc(bytes);
    return block;
}

void *CALL_BACK(void *(*host)(size_t), size_t bytes)
{
    void *volatile block = host(bytes);
    return block;
}

const struct plugin plugin = {MAKE, CALL_BACK, realloc, free};

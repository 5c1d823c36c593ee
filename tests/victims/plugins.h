/* SPDX-License-Identifier: MIT
 *
 * What a plug-in of `plugins` offers. Its functions are called by the plug-in's own name, so that two
 * plug-ins differ in names alone and have the same layout.
 */
#ifndef VICTIM_PLUGINS_H
#define VICTIM_PLUGINS_H

#include <stddef.h>

struct plugin {
    void *(*make)(size_t bytes);                             /* NAME_make calls malloc */
    void *(*call_back)(void *(*host)(size_t), size_t bytes); /* NAME_call_back calls the host's function */
    void *(*resize)(void *block, size_t bytes);
    void (*drop)(void *block);
};

#endif

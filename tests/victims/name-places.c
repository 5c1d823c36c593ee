/* SPDX-License-Identifier: MIT
 *
 * Asks preload/names for the names of the places that a library of ours tells of, two bytes further on:
 * NAME+OFFSET each, or a dash. SYMBOLS_MODULE is shmpreload-symbols.so, or "-" to do without.
 *
 *     name-places SYMBOLS_MODULE LIBRARY [COMMAND]
 *
 * COMMAND is run by the shell after the library is loaded, before the first question.
 */
#include <dlfcn.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "names.h"

static void *load(const char *path)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    if (module == NULL) {
        fprintf(stderr, "%s\n", dlerror());
        exit(2);
    }
    return module;
}

int main(int count, char **argument)
{
    mini_debug_unpacker *unpack = NULL;
    char name[256];
    uint64_t offset;
    if (count < 3)
        return 2;
    if (strcmp(argument[1], "-") != 0) {
        void *symbol = dlsym(load(argument[1]), "shmpreload_unpack_symbols");
        memcpy(&unpack, &symbol, sizeof unpack);
        if (unpack == NULL)
            return 2;
    }
    names_set_unpacker(unpack);
    const char *const *place = dlsym(load(argument[2]), "named_places");
    if (place == NULL || (count > 3 && system(argument[3]) != 0))
        return 2;
    for (; *place != NULL; place++)
        if (names_function_at((uintptr_t)*place + 2, name, sizeof name, &offset))
            printf("%s+%" PRIu64 "\n", name, offset);
        else
            puts("-");
    return 0;
}

/* SPDX-License-Identifier: MIT
 *
 * Victim: a module allocates and is unloaded; its blocks live on and are freed. The next module of that kind
 * may lie at the same addresses: `unloaded ONE.so TWO.so` prints nothing of where they lie.
 */
#include "victim.h"

#include <dlfcn.h>

typedef void *maker(size_t bytes);

static void *make_in(const char *path, size_t bytes)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    maker *make = NULL;
    void *symbol = module != NULL ? dlsym(module, "plugin_make") : NULL;
    if (symbol == NULL)
        exit(2);
    memcpy(&make, &symbol, sizeof make);
    void *block = make(bytes);
    fill(block, bytes, 4);
    check(dlclose(module) == 0 && dlopen(path, RTLD_NOW | RTLD_NOLOAD) == NULL, "the module is gone");
    return block;
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    for (size_t bytes = 100; bytes <= 100000; bytes *= 1000) {
        unsigned char *one = make_in(arguments[1], bytes), *two = make_in(arguments[2], bytes);
        unsigned char *again = make_in(arguments[1], bytes);
        check_routed(one, "the first module's block is routed");
        check_routed(two, "the second module's block is routed");
        check(is_filled(one, bytes, 4) && is_filled(two, bytes, 4) && is_filled(again, bytes, 4),
              "blocks outlive their modules");
        if (bytes > 100)
            await_go("ready");
        one = realloc(one, bytes * 2);
        check(is_filled(one, bytes, 4), "they can be resized");
        free(one);
        free(two);
        free(again);
    }
    return verdict();
}

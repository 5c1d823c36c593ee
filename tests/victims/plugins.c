/* SPDX-License-Identifier: MIT
 *
 * Victim: plug-ins that come and go.
 *
 *     plugins turns ONE.so TWO.so
 *         loaded by turns, at the same address; says whose blocks the shim took, in order
 *     plugins back ONE.so TWO.so
 *         the same, and it is the program that makes them, called back by the plug-in
 *     plugins deep ONE.so
 *         RTLD_DEEPBIND: its malloc is the C library's own
 *     plugins apart ONE.so
 *         dlmopen: it has a C library of its own
 *     plugins threads ROUNDS A.so...
 *         a thread for each loads and unloads it, while the first looks through what is loaded; says how many
 *         blocks of each the shim took
 */
#include "plugins.h"
#include "victim.h"

#include <dlfcn.h>
#include <link.h>
#include <pthread.h>

enum { TURNS = 6, TRIES = 100, CALLS = 3, BYTES = 3000 };

static void *keep[TURNS * CALLS];

void *host_make(size_t bytes);
void *use(const struct plugin *plugin, size_t bytes);

void *host_make(size_t bytes)
{
    void *volatile block = malloc(bytes);
    return block;
}

/* A frame of the program's between main and the plug-in. */
void *use(const struct plugin *plugin, size_t bytes)
{
    void *volatile block = plugin->make(bytes);
    return block;
}

static const struct plugin *plugin_in(void *module)
{
    const struct plugin *plugin = module != NULL ? dlsym(module, "plugin") : NULL;
    if (plugin == NULL) {
        printf("NO  %s\n", dlerror());
        exit(2);
    }
    return plugin;
}

static uintptr_t place_of(void *module)
{
    const struct link_map *map = module;
    return map->l_addr;
}

/* Whatever the loader or the shim has mapped meanwhile may lie in its way, once. */
static void *load_at(const char *path, uintptr_t place)
{
    for (int i = 0; i < TRIES; i++) {
        void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
        if (module == NULL || place == 0 || place_of(module) == place)
            return module;
        dlclose(module);
    }
    return NULL;
}

static int take_turns(char **paths, bool back)
{
    uintptr_t place = 0, malloc_at = 0;
    int kept = 0;
    dlclose(load_at(paths[0], 0)); /* what the loader keeps from the first time lies below then */
    for (int turn = 0; turn < TURNS; turn++) {
        void *module = load_at(paths[turn % 2], place);
        const struct plugin *plugin = plugin_in(module);
        if (turn > 0 && (uintptr_t)plugin->make != malloc_at)
            check(false, "the second plug-in calls malloc where the first did");
        place = place_of(module);
        malloc_at = (uintptr_t)plugin->make;
        for (int call = 0; call < CALLS; call++)
            keep[kept++] = back ? plugin->call_back(host_make, BYTES) : use(plugin, BYTES);
        check(dlclose(module) == 0 && dlopen(paths[turn % 2], RTLD_NOW | RTLD_NOLOAD) == NULL, "it is gone");
    }
    printf("taken:");
    for (int i = 0; i < kept; i++)
        printf(" %s%d", from_shim(keep[i]) ? "" : "-", i / CALLS);
    printf("\n");
    for (int i = 0; i < kept; i++)
        free(keep[i]);
    return verdict();
}

static int look_at(void *module)
{
    const struct plugin *plugin = plugin_in(module);
    for (int call = 0; call < CALLS; call++) {
        unsigned char *own = use(plugin, BYTES), *host = plugin->call_back(host_make, BYTES);
        if (from_shim(own))
            check(false, "the plug-in's own malloc serves it");
        check_routed(host, "what it has the host make is routed");
        fill(own, BYTES, 3);
        fill(host, BYTES, 4);
        own = plugin->resize(own, BYTES * 50);
        check(is_filled(own, BYTES, 3) && is_filled(host, BYTES, 4), "both keep what was written");
        plugin->drop(own);
        free(host);
    }
    check(dlclose(module) == 0, "it can be closed");
    return verdict();
}

/* The C library is the same for both, so the host may free what the plug-in made. */
static int look_deep(const char *path)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
    unsigned char *block = use(plugin_in(module), BYTES);
    fill(block, BYTES, 9);
    block = realloc(block, BYTES * 100);
    check(block != NULL && is_filled(block, BYTES, 9), "the host resizes what the plug-in made");
    free(block);
    return look_at(module);
}

static _Atomic int loading;

struct loader {
    pthread_t thread;
    const char *path;
    int rounds, taken;
};

static void *load_and_unload(void *argument)
{
    struct loader *loader = argument;
    for (int round = 0; round < loader->rounds; round++) {
        void *module = dlopen(loader->path, RTLD_NOW | RTLD_LOCAL);
        void *block = use(plugin_in(module), BYTES);
        loader->taken += from_shim(block);
        free(block);
        dlclose(module);
    }
    loading--;
    return NULL;
}

/* With the loader's lock held. */
static int allocate_in_callback(struct dl_phdr_info *info, size_t bytes, void *argument)
{
    void *volatile block = malloc(bytes);
    (void)info, (void)argument;
    free(block);
    return 0;
}

static int load_in_threads(int rounds, char **paths, int count)
{
    struct loader loader[8];
    if (count > (int)(sizeof loader / sizeof loader[0]))
        return 2;
    loading = count;
    for (int i = 0; i < count; i++) {
        loader[i] = (struct loader){.path = paths[i], .rounds = rounds};
        pthread_create(&loader[i].thread, NULL, load_and_unload, &loader[i]);
    }
    while (loading > 0)
        dl_iterate_phdr(allocate_in_callback, NULL);
    printf("taken:");
    for (int i = 0; i < count; i++) {
        pthread_join(loader[i].thread, NULL);
        printf(" %d", loader[i].taken);
    }
    printf("\n");
    return verdict();
}

int main(int count, char **arguments)
{
    if (count == 4 && (strcmp(arguments[1], "turns") == 0 || strcmp(arguments[1], "back") == 0))
        return take_turns(arguments + 2, strcmp(arguments[1], "back") == 0);
    if (count == 3 && strcmp(arguments[1], "deep") == 0)
        return look_deep(arguments[2]);
    if (count == 3 && strcmp(arguments[1], "apart") == 0)
        return look_at(dlmopen(LM_ID_NEWLM, arguments[2], RTLD_NOW | RTLD_LOCAL));
    if (count > 3 && strcmp(arguments[1], "threads") == 0)
        return load_in_threads(atoi(arguments[2]), arguments + 3, count - 3);
    return 2;
}

/* SPDX-License-Identifier: MIT */
#include "modules.h"

#include <dlfcn.h>
#include <string.h>

#include "log.h"
#include "thread.h"

#define SYMBOLS_MODULE "shmpreload-symbols.so"
#define LINES_MODULE   "shmpreload-lines.so"

/* Beside our own file. */
static bool path_of(const char *module, char *out, size_t bytes)
{
    static const char here;
    Dl_info self;
    if (dladdr(&here, &self) == 0 || self.dli_fname == NULL)
        return false;
    const char *slash = strrchr(self.dli_fname, '/');
    const size_t length = slash != NULL ? (size_t)(slash + 1 - self.dli_fname) : 0;
    if (length + strlen(module) >= bytes)
        return false;
    memcpy(out, self.dli_fname, length);
    memcpy(out + length, module, strlen(module) + 1);
    return true;
}

static void *load(const char *module)
{
    char path[1024];
    return path_of(module, path, sizeof path) ? dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

struct symbols modules_load_symbols(void)
{
    struct symbols symbols = {NULL, NULL};
    thread_self.inside++;
    void *module = load(SYMBOLS_MODULE);
    void *function = module != NULL ? dlsym(module, "shmpreload_function_at") : NULL;
    void *step = function != NULL ? dlsym(module, "shmpreload_step_at") : NULL;
    memcpy(&symbols.function, &function, sizeof function);
    memcpy(&symbols.step, &step, sizeof step);
    if (step == NULL)
        log_say(SETTINGS_LOG_WARN, "symbols",
                "cannot load %s, so functions have no names and stacks no callers: func= and stack= match "
                "nothing: %s",
                SYMBOLS_MODULE, dlerror());
    thread_self.inside--;
    return symbols;
}

lines_finder *modules_load_lines(bool wanted)
{
    lines_finder *finder;
    thread_self.inside++;
    void *module = load(LINES_MODULE);
    void *symbol = module != NULL ? dlsym(module, "shmpreload_lines_at") : NULL;
    memcpy(&finder, &symbol, sizeof finder);
    if (symbol == NULL && wanted)
        log_say(SETTINGS_LOG_WARN, "lines",
                "cannot load %s, which builds with elfutils (libdw) have: src= matches nothing: %s",
                LINES_MODULE, dlerror());
    thread_self.inside--;
    return finder;
}

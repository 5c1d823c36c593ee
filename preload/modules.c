/* SPDX-License-Identifier: MIT */
#include "modules.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>

#include "log.h"
#include "real.h"
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
    return path_of(module, path, sizeof path) ? real.dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
}

static int count_module(struct dl_phdr_info *info, size_t bytes, void *count)
{
    (void)info, (void)bytes;
    ++*(unsigned *)count;
    return 0;
}

struct symbols modules_load_symbols(void)
{
    struct symbols symbols = {NULL, NULL, NULL, 0};
    dl_iterate_phdr(count_module, &symbols.modules_before);
    thread_self.inside++;
    void *module = load(SYMBOLS_MODULE);
    void *function = module != NULL ? dlsym(module, "shmpreload_function_at") : NULL;
    void *step = function != NULL ? dlsym(module, "shmpreload_step_at") : NULL;
    void *may_have_lines = step != NULL ? dlsym(module, "shmpreload_may_have_lines") : NULL;
    memcpy(&symbols.function, &function, sizeof function);
    memcpy(&symbols.step, &step, sizeof step);
    memcpy(&symbols.may_have_lines, &may_have_lines, sizeof may_have_lines);
    if (step == NULL)
        log_say(SETTINGS_LOG_WARN, "symbols",
                "cannot load %s, so functions have no names and stacks no callers: func= and stack= match "
                "nothing: %s",
                SYMBOLS_MODULE, dlerror());
    thread_self.inside--;
    return symbols;
}

/* ---------------------------------------------------------------- source lines */

static _Atomic bool lines_wait;

static void load_lines(bool wanted)
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
    code_set_lines(finder);
}

struct search {
    const struct symbols *symbols;
    uintptr_t own; /* load address of our file */
    unsigned seen;
};

/* In our own nobody looks for call sites, though they may have debug information: those that were loaded
 * since are the last ones. */
static int look_at_module(struct dl_phdr_info *info, size_t bytes, void *argument)
{
    struct search *search = argument;
    const struct os_module module = {.load_address = info->dlpi_addr,
                                     .path = info->dlpi_name != NULL ? info->dlpi_name : "",
                                     .headers = info->dlpi_phdr,
                                     .header_count = info->dlpi_phnum};
    (void)bytes;
    return search->seen++ < search->symbols->modules_before && info->dlpi_addr != search->own &&
           code_wants_lines(&module) && search->symbols->may_have_lines(&module);
}

static bool may_have_lines(const struct symbols *symbols)
{
    Dl_info self;
    struct search search = {.symbols = symbols};
    if (symbols->may_have_lines == NULL || dladdr(&lines_wait, &self) == 0)
        return true;
    search.own = (uintptr_t)self.dli_fbase;
    return dl_iterate_phdr(look_at_module, &search) != 0;
}

void modules_begin_lines(const struct symbols *symbols, bool wanted)
{
    thread_self.inside++;
    const bool useful = wanted || may_have_lines(symbols);
    thread_self.inside--;
    if (useful)
        load_lines(wanted);
    else
        atomic_store(&lines_wait, true);
}

/* Two threads may both do it: whoever waited for the other might hold the lock that the other waits for. */
void modules_before_loading(void)
{
    if (LIKELY(!atomic_load_explicit(&lines_wait, memory_order_relaxed)))
        return;
    const int kept_errno = errno;
    load_lines(false);
    atomic_store(&lines_wait, false);
    errno = kept_errno;
}

/* SPDX-License-Identifier: MIT */
#include "modules.h"

#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <string.h>

#include "code.h"
#include "log.h"
#include "names.h"
#include "os.h"
#include "real.h"
#include "thread.h"

#define SYMBOLS_MODULE "shmpreload-symbols.so"
#define LINES_MODULE   "shmpreload-lines.so"

/* Those that are loaded as soon as the program loads one of its own: bits of modules.h. */
static _Atomic unsigned waiting;

/* ---------------------------------------------------------------- loading */

/* Beside our own file. */
static bool path_of(const char *module, char *out, size_t bytes)
{
    Dl_info self;
    if (dladdr(&waiting, &self) == 0 || self.dli_fname == NULL)
        return false;
    const char *slash = strrchr(self.dli_fname, '/');
    const size_t length = slash != NULL ? (size_t)(slash + 1 - self.dli_fname) : 0;
    if (length + strlen(module) >= bytes)
        return false;
    memcpy(out, self.dli_fname, length);
    memcpy(out + length, module, strlen(module) + 1);
    return true;
}

/* The one function that a module offers; NULL: it cannot be loaded. */
static void *load(const char *name, const char *function)
{
    char path[1024];
    void *module = path_of(name, path, sizeof path) ? real.dlopen(path, RTLD_NOW | RTLD_LOCAL) : NULL;
    return module != NULL ? dlsym(module, function) : NULL;
}

static void load_symbols(void)
{
    mini_debug_unpacker *unpack;
    void *function = load(SYMBOLS_MODULE, "shmpreload_unpack_symbols");
    memcpy(&unpack, &function, sizeof unpack);
    names_set_unpacker(unpack);
}

static void load_lines(bool wanted)
{
    lines_finder *finder;
    void *function = load(LINES_MODULE, "shmpreload_lines_at");
    memcpy(&finder, &function, sizeof finder);
    if (function == NULL && wanted)
        log_say(SETTINGS_LOG_WARN, "lines",
                "cannot load %s, which builds with elfutils (libdw) have: src= matches nothing: %s",
                LINES_MODULE, dlerror());
    code_set_lines(finder);
}

static void load_these(unsigned modules, unsigned wanted)
{
    thread_self.inside++;
    if ((modules & MODULES_SYMBOLS) != 0)
        load_symbols();
    if ((modules & MODULES_LINES) != 0)
        load_lines((wanted & MODULES_LINES) != 0);
    thread_self.inside--;
}

/* ---------------------------------------------------------------- what is there */

struct search {
    const char *program;
    uintptr_t own; /* load address of our file */
    unsigned asked, found;
};

/* In our own nobody looks for call sites, though it may have debug information. */
static int look_at_module(struct dl_phdr_info *info, size_t bytes, void *argument)
{
    struct search *search = argument;
    const struct os_module module = {.load_address = info->dlpi_addr,
                                     .path = info->dlpi_name != NULL ? info->dlpi_name : "",
                                     .headers = info->dlpi_phdr,
                                     .header_count = info->dlpi_phnum};
    unsigned asked = search->asked & ~search->found;
    (void)bytes;
    if ((asked & MODULES_LINES) != 0 && !code_wants_lines(&module))
        asked &= ~(unsigned)MODULES_LINES;
    if (info->dlpi_addr != search->own)
        search->found |= debug_place_look(&module, search->program, asked);
    return search->found == search->asked;
}

/* Which of these have something to read? */
static unsigned look(const char *program, unsigned asked)
{
    struct os_module self;
    struct search search = {.program = program, .asked = asked};
    if (asked == 0 || !os_find_module((uintptr_t)&waiting, &self))
        return asked; /* for fear that there is */
    search.own = self.load_address;
    dl_iterate_phdr(look_at_module, &search);
    return search.found;
}

void modules_begin(const char *program, unsigned useful, unsigned wanted)
{
    thread_self.inside++;
    const unsigned found = look(program, useful & ~wanted);
    thread_self.inside--;
    load_these(found | wanted, wanted);
    atomic_store(&waiting, useful & ~(found | wanted));
}

/* Two threads may both do it: whoever waited for the other might hold the lock that the other waits for. */
void modules_before_loading(void)
{
    const unsigned now = atomic_load_explicit(&waiting, memory_order_relaxed);
    if (LIKELY(now == 0))
        return;
    const int kept_errno = errno;
    load_these(now, 0);
    atomic_store(&waiting, 0);
    errno = kept_errno;
}

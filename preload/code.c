/* SPDX-License-Identifier: MIT */
#include "code.h"

#include <errno.h>
#include <pthread.h>
#include <string.h>

#include "build_id.h"
#include "error.h"
#include "log.h"
#include "os.h"

static struct {
    const char *program;
    code_function_finder *finder;
    bool matched; /* a rule asks for names */
    _Atomic bool blind;
    pthread_mutex_t lock; /* while the finder is asked: nothing else is taken with it held */
} naming = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---------------------------------------------------------------- modules */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* Hash of the build-id, or of the path where there is none. */
static uint64_t build_of(const struct os_module *found, const char *path)
{
    const unsigned char *id;
    const size_t length = build_id_of(found, &id);
    if (length > 0)
        return hash_bytes(id, length);
    return hash_bytes(path, strlen(path));
}

void code_module_at(uintptr_t return_address, struct code *out)
{
    struct os_module found;
    out->is_program = false;
    out->module = "?"; /* made at run time: there is only the address */
    out->offset = return_address;
    out->build = 0;
    if (!os_find_module(return_address, &found))
        return;
    out->is_program = found.path[0] == '\0';
    const char *path = out->is_program ? naming.program : found.path;
    out->module = base_name(path);
    out->offset = return_address - found.load_address;
    out->build = build_of(&found, path);
}

/* ---------------------------------------------------------------- functions */

/* Names are read from files. When these cannot be opened or mapped, it is not the rule that is wrong. */
static COLD void explain_missing_name(uintptr_t address)
{
    void *page = NULL;
    const int descriptor = os_open_file("/proc/self/maps", OS_READ);
    const int error = descriptor < 0 ? descriptor : os_map_private(PAGE_BYTES, &page);
    if (descriptor >= 0)
        os_close(descriptor);
    if (error == 0) {
        os_unmap(page, PAGE_BYTES);
        return;
    }
    atomic_store_explicit(&naming.blind, true, memory_order_relaxed);
    log_say(SETTINGS_LOG_WARN, "name",
            "the function that allocates at 0x%lx cannot be named, so func= does not match it: %s",
            (unsigned long)address,
            error == -ENOMEM ? "no further mapping is possible (vm.max_map_count)" : error_words(-error));
}

bool code_was_blind(void)
{
    return atomic_load_explicit(&naming.blind, memory_order_relaxed);
}

/* The address before the one returned to is inside the call, and so in the function for certain. */
static bool find_function(uintptr_t return_address, char *name, size_t bytes, uint64_t *offset)
{
    if (naming.finder == NULL)
        return false;
    pthread_mutex_lock(&naming.lock);
    const bool found = naming.finder(return_address - 1, name, bytes, offset);
    pthread_mutex_unlock(&naming.lock);
    *offset += found;
    return found;
}

void code_at(uintptr_t return_address, struct code *out)
{
    code_module_at(return_address, out);
    out->frame_count = 0;
    out->function = NULL;
    out->function_offset = out->offset;
    if (find_function(return_address, out->name, sizeof out->name, &out->function_offset))
        out->function = out->name;
    else if (naming.finder != NULL && naming.matched)
        explain_missing_name(return_address);
}

struct policy_site code_facts(const struct code *code)
{
    return (struct policy_site){.module = code->module,
                                .module_is_program = code->is_program,
                                .offset = code->offset,
                                .function = code->function,
                                .frames = code->frame,
                                .frame_count = code->frame_count};
}

size_t code_describe(const void *return_address, char *out, size_t bytes)
{
    char function[CODE_NAME_BYTES / 2];
    uint64_t offset = 0;
    struct code code;
    code_module_at((uintptr_t)return_address, &code);
    if (!find_function((uintptr_t)return_address, function, sizeof function, &offset))
        return error_format(out, bytes, "%s!0x%lx", code.module, (unsigned long)code.offset);
    return error_format(out, bytes, "%s+0x%lx (%s!0x%lx)", function, (unsigned long)offset, code.module,
                        (unsigned long)code.offset);
}

void code_begin(const struct policy *policy, const char *program, code_function_finder *finder)
{
    for (size_t i = 0; policy != NULL && i < policy->rule_count; i++)
        naming.matched |= policy->rules[i].func != NULL || policy->rules[i].stack_count > 0;
    naming.program = program;
    naming.finder = finder;
}

void code_lock(void)
{
    pthread_mutex_lock(&naming.lock);
}

void code_unlock(void)
{
    pthread_mutex_unlock(&naming.lock);
}

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
    const struct policy *policy;
    const char *program;
    code_function_finder *finder;
    _Atomic(lines_finder *) lines; /* NULL: not wanted, or not to be had */
    bool matched;                  /* a rule asks for names */
    bool told;                     /* that there is no debug information */
    _Atomic bool blind;
    pthread_mutex_t lock; /* while the finder is asked: nothing else is taken with it held */
} naming = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---------------------------------------------------------------- modules */

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static bool find_module(uintptr_t return_address, struct os_module *out, bool *is_program)
{
    if (!os_find_module(return_address, out))
        return false;
    *is_program = out->path[0] == '\0';
    if (*is_program)
        out->path = naming.program;
    return true;
}

void code_module_at(uintptr_t return_address, struct code *out)
{
    struct os_module found;
    out->is_program = false;
    out->module = "?"; /* made at run time: there is only the address */
    out->offset = return_address;
    out->build = 0;
    if (!find_module(return_address, &found, &out->is_program))
        return;
    out->module = base_name(found.path);
    out->offset = return_address - found.load_address;
    out->build = build_hash_of(&found);
}

uint64_t code_build_of(const struct os_module *module)
{
    struct os_module named = *module;
    if (named.path[0] == '\0')
        named.path = naming.program;
    return build_hash_of(&named);
}

/* ---------------------------------------------------------------- functions */

/* Names are read from files. When these cannot be opened or mapped, it is not the rule that is wrong. */
static COLD void explain_missing_name(uintptr_t address, int error)
{
    if (error != EMFILE && error != ENFILE && error != ENOMEM)
        return;
    atomic_store_explicit(&naming.blind, true, memory_order_relaxed);
    log_say(SETTINGS_LOG_WARN, "name",
            "the function that allocates at 0x%lx cannot be named, so func= does not match it: %s",
            (unsigned long)address,
            error == ENOMEM ? "no further mapping is possible (vm.max_map_count)" : error_words(error));
}

bool code_was_blind(void)
{
    return atomic_load_explicit(&naming.blind, memory_order_relaxed);
}

/* The address before the one returned to is inside the call, and so in the function for certain. Returns 0,
 * ENOENT when it has no name that is known, or why the names cannot be read. */
static int find_function(uintptr_t return_address, char *name, size_t bytes, uint64_t *offset)
{
    const int kept_errno = errno;
    if (naming.finder == NULL)
        return ENOENT;
    pthread_mutex_lock(&naming.lock);
    errno = ENOENT;
    const int error = naming.finder(return_address - 1, name, bytes, offset) ? 0 : errno;
    pthread_mutex_unlock(&naming.lock);
    *offset += error == 0;
    errno = kept_errno;
    return error;
}

/* ---------------------------------------------------------------- source lines */

static bool names_module(const struct policy_rule *rule, const struct code *code)
{
    const struct policy_rule where = {.module = rule->module};
    const struct policy_site site = {.module = code->module, .module_is_program = code->is_program};
    return rule->module != NULL && policy_rule_matches_site(&where, &site);
}

/* Of a rule that names no module the program's own code is meant, if anything is: most libraries have no
 * debug information, and nobody misses it. */
static bool is_missed(const struct policy_rule *rule, const struct code *code)
{
    return rule->source != NULL && (rule->module != NULL ? names_module(rule, code) : code->is_program);
}

/* The C library's own: every program calls through them. */
static bool is_of_libc(const struct code *code)
{
    static const char *const names[] = {"libc.so.", "libm.so.", "ld-linux", "libpthread.so.", "libdl.so."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++)
        if (strncmp(code->module, names[i], strlen(names[i])) == 0)
            return true;
    return false;
}

/* Could a rule make use of frames there? Where the C library's debug information is installed, it is large
 * and compressed, 12 MiB of memory for each process: it is read for a rule that names it. */
static bool may_use_frames(const struct policy_rule *rule, const struct code *code)
{
    return (rule->source != NULL || rule->func != NULL || rule->stack_count > 0) &&
           (names_module(rule, code) ||
            (!is_of_libc(code) && (rule->module == NULL || rule->stack_count > 0)));
}

static bool are_frames_wanted(const struct code *code)
{
    bool wanted = false;
    for (size_t i = 0; i < naming.policy->rule_count && !wanted; i++)
        wanted = may_use_frames(&naming.policy->rules[i], code);
    return wanted;
}

bool code_wants_lines(const struct os_module *module)
{
    const bool is_program = module->path[0] == '\0';
    const struct code code = {.module = base_name(is_program ? naming.program : module->path),
                              .is_program = is_program};
    return are_frames_wanted(&code);
}

static COLD void explain_missing_lines(const struct code *code)
{
    for (size_t i = 0; !naming.told && i < naming.policy->rule_count; i++)
        if (is_missed(&naming.policy->rules[i], code)) {
            log_say(SETTINGS_LOG_WARN, "lines", "src= matches nothing in %s: %s", code->module, code->text);
            naming.told = true;
        }
}

void code_frames_at(uintptr_t return_address, struct code *out)
{
    struct os_module found;
    struct lines_module module;
    lines_finder *lines = atomic_load_explicit(&naming.lines, memory_order_acquire);
    out->frame_count = 0;
    if (lines == NULL || !are_frames_wanted(out) || !find_module(return_address, &found, &out->is_program))
        return;
    module.path = found.path;
    module.load_address = found.load_address;
    module.build_id_bytes = build_id_of(&found, &module.build_id);
    out->frame_count =
        lines(&module, return_address - 1, out->frame, CODE_FRAMES, out->text, sizeof out->text);
    if (out->frame_count == 0 && out->text[0] != '\0')
        explain_missing_lines(out);
}

void code_be_ready(void)
{
    lines_finder *lines = atomic_load_explicit(&naming.lines, memory_order_acquire);
    const struct lines_module nothing = {.path = NULL};
    if (lines != NULL)
        lines(&nothing, 0, NULL, 0, NULL, 0);
}

void code_forget(const struct loaded *loaded)
{
    lines_finder *lines = atomic_load_explicit(&naming.lines, memory_order_acquire);
    const struct lines_module others = {.loaded = loaded};
    if (lines != NULL)
        lines(&others, 0, NULL, 0, NULL, 0);
}

/* ---------------------------------------------------------------- */

void code_at(uintptr_t return_address, struct code *out)
{
    code_module_at(return_address, out);
    code_frames_at(return_address, out);
    out->function = NULL;
    out->function_offset = out->offset;
    const int error = find_function(return_address, out->name, sizeof out->name, &out->function_offset);
    if (error == 0)
        out->function = out->name;
    else if (naming.matched)
        explain_missing_name(return_address, error);
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
    if (find_function((uintptr_t)return_address, function, sizeof function, &offset) != 0)
        return error_format(out, bytes, "%s!0x%lx", code.module, (unsigned long)code.offset);
    return error_format(out, bytes, "%s+0x%lx (%s!0x%lx)", function, (unsigned long)offset, code.module,
                        (unsigned long)code.offset);
}

void code_set_lines(lines_finder *lines)
{
    atomic_store_explicit(&naming.lines, lines, memory_order_release);
}

void code_begin(const struct policy *policy, const char *program, code_function_finder *function)
{
    for (size_t i = 0; policy != NULL && i < policy->rule_count; i++)
        naming.matched |= policy->rules[i].func != NULL || policy->rules[i].stack_count > 0;
    naming.policy = policy;
    naming.program = program;
    naming.finder = function;
}

void code_lock(void)
{
    pthread_mutex_lock(&naming.lock);
}

void code_unlock(void)
{
    pthread_mutex_unlock(&naming.lock);
}

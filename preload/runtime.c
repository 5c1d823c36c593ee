/* SPDX-License-Identifier: MIT
 *
 * The order of bring-up: the next allocator; settings; policy; does it hold for this program; the modules
 * for compressed symbols and source lines, if such are wanted and there are any; fork handlers; last of all
 * the floor is lowered, and from then on allocations are looked at. Anything that is wrong leaves the floor
 * where it is, says why, and the program runs as if we were not there.
 *
 * Until then, and inside the shim, everything goes to the next allocator.
 */
#include "runtime.h"

#include <assert.h>
#include <dlfcn.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "code.h"
#include "config/policy.h"
#include "config/settings.h"
#include "error.h"
#include "export.h"
#include "log.h"
#include "modules.h"
#include "names.h"
#include "os.h"
#include "real.h"
#include "recorder.h"
#include "registry.h"
#include "router.h"
#include "standing.h"
#include "steps.h"
#include "thread.h"

struct runtime runtime = {.floor = SIZE_MAX,
                          .watched_from = WINDOW_BASE,
                          .watched_bytes = WINDOW_END - WINDOW_BASE,
                          .rule_floor = SIZE_MAX,
                          .new_floor = SIZE_MAX - 1};

static_assert(sizeof runtime == 4096, "it is sealed as a page");

static char program_path[1024];

static void find_program(void)
{
    const ssize_t length = readlink("/proc/self/exe", program_path, sizeof program_path - 1);
    program_path[length > 0 ? length : 0] = '\0';
}

/* Of what was inlined, too, DWARF has the name. */
static bool matches_functions(const struct policy *policy)
{
    bool matches = policy->needs_stacks;
    for (size_t i = 0; i < policy->rule_count; i++)
        matches |= policy->rules[i].func != NULL;
    return matches;
}

static void begin_sites(const struct policy *policy, bool recording)
{
    const bool names = recording || policy->needs_functions;
    const bool lines = policy != NULL && (policy->needs_lines || matches_functions(policy));
    code_begin(policy, program_path, names ? names_function_at : NULL);
    modules_begin(program_path, (names ? MODULES_SYMBOLS : 0u) | (lines ? MODULES_LINES : 0u),
                  policy != NULL && policy->needs_lines ? MODULES_LINES : 0u);
    stack_begin(steps_at);
    if (policy != NULL)
        site_begin(policy, recording);
}

/* NULL, with *error filled in: there is none. */
static const struct policy *parse(const struct settings *settings, struct policy_error *error)
{
    size_t bytes = policy_memory(settings->policy, settings->policy_length);
    void *memory = runtime.policy;
    if (bytes <= sizeof runtime.policy)
        return policy_parse(settings->policy, settings->policy_length, memory, bytes, error);
    bytes = align_up(bytes, PAGE_BYTES);
    *error = (struct policy_error){.line = 1, .column = 1, .message = "no memory for the policy"};
    if (os_map_private(bytes, &memory) != 0)
        return NULL;
    const struct policy *policy =
        policy_parse(settings->policy, settings->policy_length, memory, bytes, error);
    if (policy == NULL)
        os_unmap(memory, bytes);
    return policy;
}

/* NULL when there is nothing to do, for whatever reason. */
static const struct policy *read_policy(struct settings *settings)
{
    static NEEDED_LATER char text[POLICY_TEXT_MAX]; /* of a file */
    struct policy_error error;
    settings_read(settings, text, sizeof text);
    log_begin(settings);
    if (settings->problem[0] != '\0')
        log_say(SETTINGS_LOG_WARN, settings->problem, "%s", settings->problem);
    if (settings->policy == NULL)
        return NULL;
    const struct policy *policy = parse(settings, &error);
    if (policy == NULL)
        log_say(SETTINGS_LOG_WARN, error.message, "%s:%u:%u: %s; the program runs on without a policy",
                settings->policy_file != NULL ? settings->policy_file : "SHM_POLICY", error.line,
                error.column, error.message);
    return policy != NULL && policy->size_floor != SIZE_MAX ? policy : NULL;
}

static void seal(const struct policy *policy, const struct settings *settings, bool recording)
{
    runtime.active = policy != NULL;
    runtime.recording = recording;
    runtime.rule_floor = policy != NULL ? policy->size_floor : SIZE_MAX;
    runtime.floor = recording ? least(runtime.rule_floor, settings->record_least) : runtime.rule_floor;
    runtime.new_floor = runtime.floor > 0 ? runtime.floor - 1 : 0;
    if (recording) {
        runtime.watched_from = 0;
        runtime.watched_bytes = UINTPTR_MAX;
    }
    mprotect(&runtime, sizeof runtime, PROT_READ);
}

/* ---------------------------------------------------------------- fork */

static void fork_prepare(void)
{
    if (runtime.active)
        router_fork_prepare();
    else
        stack_lock();
    if (runtime.recording)
        recorder_fork_prepare();
}

static void fork_parent(void)
{
    if (runtime.recording)
        recorder_fork_parent();
    if (runtime.active)
        router_fork_parent();
    else
        stack_unlock();
}

static void fork_child(void)
{
    if (runtime.recording)
        recorder_fork_child();
    if (runtime.active)
        router_fork_child();
    else
        stack_unlock_in_child();
}

/* ---------------------------------------------------------------- beginning, end */

static __attribute__((constructor)) void bring_up(void)
{
    struct settings settings;
    real_resolve();
    find_program();
    const struct policy *policy = read_policy(&settings);
    if (policy != NULL && !policy_applies_to(policy, program_path))
        policy = NULL;
    const bool recording = settings.record_file != NULL && settings.check_file == NULL;
    if (policy == NULL && !recording)
        return;
    begin_sites(policy, recording);
    thread_begin();
    if (policy != NULL)
        router_begin(policy, &settings, program_path);
    if (recording) {
        standing_be_wary();
        recorder_begin(&settings, program_path);
    }
    if (os_on_fork(fork_prepare, fork_parent, fork_child) != 0)
        return;
    if (policy != NULL)
        log_say(SETTINGS_LOG_INFO, NULL, "%s: %zu rules in force", program_path, policy->rule_count);
    seal(policy, &settings, recording);
}

/* Does the parent carry the shim too? Then it is a shell or mpirun that wants to know, when it ends, which
 * rules have matched further down. */
static bool parent_is_shimmed(void)
{
    Dl_info self;
    struct os_file file;
    return dladdr(&runtime, &self) != 0 && self.dli_fname != NULL &&
           os_stat_path(self.dli_fname, &file) == 0 &&
           os_process_maps(os_parent(), file.device, file.inode) == 1;
}

/* After the core's own: the lower the number, the later. */
static __attribute__((destructor(101))) void bring_down(void)
{
    if (runtime.recording)
        recorder_end();
    if (!runtime.active || router_end() != VERDICT_SOMETHING)
        return;
    if (parent_is_shimmed())
        registry_leave_to(os_parent());
    else
        export_forget_said();
}

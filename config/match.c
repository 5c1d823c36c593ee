/* SPDX-License-Identifier: MIT
 *
 * The questions that a parsed policy answers. They read and compare; nothing is kept.
 */
#include "config/policy.h"

#include <stdlib.h>
#include <string.h>

#include "config/wrappers.h"

static size_t count_slashes(const char *path)
{
    size_t count = 0;
    for (; *path; path++)
        count += *path == '/';
    return count;
}

/* The end of the path that has `slashes` slashes in it and begins behind another; the whole path when
 * it has no more than that. */
static const char *path_end(const char *path, size_t slashes)
{
    for (size_t excess = count_slashes(path); excess > slashes; excess--)
        path = strchr(path, '/') + 1;
    return path;
}

/* Since glob and path have the same number of slashes, each in the glob stands for one in the path
 * and a star never reaches over one, as in the shell: ./solver* is not /opt/solver/bin/mpirun. */
static bool program_matches(const char *glob, const char *path)
{
    if (glob[0] == '.' && glob[1] == '/')
        glob += 2;
    size_t slashes = count_slashes(glob);
    const char *end = glob[0] == '/' ? path : path_end(path, slashes);
    return count_slashes(end) == slashes && policy_glob(glob, end);
}

bool policy_applies_to(const struct policy *policy, const char *path)
{
    for (size_t i = 0; i < policy->program_count; i++)
        if (program_matches(policy->programs[i], path))
            return true;
    return policy->program_count == 0;
}

static bool is_exe(const char *name)
{
    return strcmp(name, "exe") == 0;
}

static bool module_matches(const char *glob, const char *module, bool is_program)
{
    return is_exe(glob) ? is_program : policy_glob(glob, module);
}

static bool function_matches(const char *glob, const char *function)
{
    return function != NULL ? policy_glob(glob, function) : strcmp(glob, "*") == 0;
}

static bool is_called(const char *glob, const struct policy_site *site)
{
    bool matches = function_matches(glob, site->function);
    for (size_t i = 0; i < site->frame_count && !matches; i++)
        matches = function_matches(glob, site->frames[i].function);
    return matches;
}

bool policy_source_matches(const char *wanted, const char *path)
{
    const size_t length = strlen(wanted), whole = strlen(path);
    return length <= whole && strcmp(path + whole - length, wanted) == 0 &&
           (length == whole || wanted[0] == '/' || path[whole - length - 1] == '/');
}

static bool comes_from(const struct policy_rule *rule, const struct policy_site *site)
{
    for (size_t i = 0; i < site->frame_count; i++) {
        const struct policy_frame *frame = &site->frames[i];
        if (frame->file != NULL && frame->line >= rule->source_first && frame->line <= rule->source_last &&
            policy_source_matches(rule->source, frame->file))
            return true;
    }
    return false;
}

bool policy_rule_matches_site(const struct policy_rule *rule, const struct policy_site *site)
{
    const char *module = site->module ? site->module : "";
    if (rule->site_module &&
        (rule->site_offset != site->offset ||
         (strcmp(rule->site_module, module) != 0 && !(site->module_is_program && is_exe(rule->site_module)))))
        return false;
    if (rule->module && !module_matches(rule->module, module, site->module_is_program))
        return false;
    return (!rule->func || is_called(rule->func, site)) && (!rule->source || comes_from(rule, site));
}

/* MODULE!0xOFFSET is one call, whatever its function is called; the parser has seen that it is a number. */
static bool step_matches(const char *glob, const struct policy_step *step)
{
    const char *mark = strrchr(glob, '!');
    if (mark == NULL || mark[1] != '0')
        return function_matches(glob, step->function);
    const size_t length = (size_t)(mark - glob);
    const bool is_here =
        step->module != NULL && strlen(step->module) == length && strncmp(glob, step->module, length) == 0;
    return (is_here || (step->module_is_program && length == 3 && strncmp(glob, "exe", 3) == 0)) &&
           strtoull(mark + 1, NULL, 16) == step->offset;
}

/* The globs up to the next `...`, from frame `at` on, one after the other. */
static bool run_matches(const char *const *globs, size_t globs_count, const struct policy_step *steps,
                        size_t count)
{
    if (globs_count > count)
        return false;
    for (size_t i = 0; i < globs_count; i++)
        if (!step_matches(globs[i], &steps[i]))
            return false;
    return true;
}

/* The globs up to the next `...` form a run, whose frames follow one another. To take the first place for
 * each is right: it leaves most to those behind it. */
bool policy_rule_matches_stack(const struct policy_rule *rule, const struct policy_step *steps, size_t count,
                               size_t starts)
{
    size_t at = 0, glob = 0;
    while (glob < rule->stack_count) {
        size_t length = 0, last = at > 0 || starts > count ? count : starts;
        for (; rule->stack[glob] == NULL; glob++)
            last = count;
        while (glob + length < rule->stack_count && rule->stack[glob + length] != NULL)
            length++;
        while (at < last && !run_matches(rule->stack + glob, length, steps + at, count - at))
            at++;
        if (at >= last)
            return false;
        at += length;
        glob += length;
    }
    return true;
}

bool policy_is_wrapper(const struct policy *policy, const char *function, const char *module,
                       bool module_is_program)
{
    if (function == NULL)
        return false;
    for (size_t i = 0; i < policy->wrapper_count; i++) {
        const struct policy_wrapper *wrapper = &policy->wrappers[i];
        if (policy_glob(wrapper->func, function) &&
            (!wrapper->module || module_matches(wrapper->module, module, module_is_program)))
            return true;
    }
    return wrapper_is_known(function);
}

bool policy_rule_matches_request(const struct policy_rule *rule, size_t bytes, enum policy_call call)
{
    return bytes >= rule->size_min && bytes <= rule->size_max && (rule->calls & (unsigned)call) != 0;
}

void policy_rule_narrow(const struct policy_rule *rule, size_t bytes, enum policy_call call, size_t *least,
                        size_t *most)
{
    const bool is_below = bytes<rule->size_min, is_above = bytes> rule->size_max;
    const size_t from = is_above ? rule->size_max + 1 : is_below ? 0 : rule->size_min;
    const size_t to = is_below ? rule->size_min - 1 : is_above ? SIZE_MAX : rule->size_max;
    if ((rule->calls & (unsigned)call) == 0)
        return;
    *least = *least > from ? *least : from;
    *most = *most < to ? *most : to;
}

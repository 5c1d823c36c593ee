/* SPDX-License-Identifier: MIT
 *
 * The questions that a parsed policy answers. They read and compare; nothing is kept.
 */
#include "config/policy.h"

#include <string.h>

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

bool policy_rule_matches_site(const struct policy_rule *rule, const struct policy_site *site)
{
    const char *module = site->module ? site->module : "";
    if (rule->site_module &&
        (rule->site_offset != site->offset ||
         (strcmp(rule->site_module, module) != 0 && !(site->module_is_program && is_exe(rule->site_module)))))
        return false;
    if (rule->module && !(is_exe(rule->module) ? site->module_is_program : policy_glob(rule->module, module)))
        return false;
    if (!rule->func)
        return true;
    return site->function ? policy_glob(rule->func, site->function) : strcmp(rule->func, "*") == 0;
}

bool policy_rule_matches_request(const struct policy_rule *rule, size_t bytes, enum policy_call call)
{
    return bytes >= rule->size_min && bytes <= rule->size_max && (rule->calls & (unsigned)call) != 0;
}

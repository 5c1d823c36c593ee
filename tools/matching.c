/* SPDX-License-Identifier: MIT */
#include "matching.h"

#include "config/trace.h"

#include <stdlib.h>
#include <string.h>

size_t matching_site(const struct policy *policy, const struct stacks *stacks, const struct stack *stack)
{
    struct policy_site sites[RECORD_FRAMES];
    return trace_site(policy, sites, stack_sites(stacks, stack, false, sites));
}

static bool clip(const struct record_site *site, unsigned power, uint64_t *least, uint64_t *most)
{
    uint64_t low = power == 0 ? 0 : UINT64_C(1) << power, high = (UINT64_C(2) << power) - 1;
    low = low < site->least_size ? site->least_size : low;
    high = high > site->most_size ? site->most_size : high;
    if (site->sizes[power] == 0 || low > high)
        return false;
    *least = low < *least ? low : *least;
    *most = high > *most ? high : *most;
    return true;
}

bool matching_sizes(const struct stack *stack, unsigned power, uint64_t *least, uint64_t *most)
{
    bool any = false;
    *least = UINT64_MAX;
    *most = 0;
    for (size_t i = 0; i < stack->row_count; i++)
        any |= clip(stack->rows[i].site, power, least, most);
    return any;
}

static unsigned calls_of(const struct stack *stack)
{
    unsigned calls = 0;
    for (size_t i = 0; i < stack->row_count; i++)
        calls |= stack->rows[i].site->entry_points & (unsigned)POLICY_CALL_ANY;
    return calls != 0 ? calls : (unsigned)POLICY_CALL_ANY;
}

/* The rules that hold for the place, in order. */
static size_t rules_of_place(const struct policy *policy, const struct stacks *stacks,
                             const struct stack *stack, size_t rules[POLICY_RULES_MAX])
{
    struct policy_site sites[RECORD_FRAMES];
    const size_t count = stack_sites(stacks, stack, true, sites);
    const size_t site = trace_site(policy, sites, count);
    size_t found = 0;
    for (size_t i = 0; i < policy->rule_count; i++)
        if (trace_matches(&policy->rules[i], sites, count, site))
            rules[found++] = i;
    return found;
}

bool matching_rules(const struct policy *policy, const struct stacks *stacks, const struct stack *stack,
                    bool *matched)
{
    size_t rules[POLICY_RULES_MAX];
    const unsigned calls = calls_of(stack);
    bool any = false;
    memset(matched, 0, policy->rule_count * sizeof *matched);
    if (!policy_applies_to(policy, stacks->programs[stack->program].path))
        return false;
    const size_t count = rules_of_place(policy, stacks, stack, rules);
    for (unsigned power = 0; power < RECORD_SIZES && count > 0; power++) {
        uint64_t least, most;
        if (!matching_sizes(stack, power, &least, &most))
            continue;
        for (size_t i = 0; i < count; i++) {
            const struct policy_rule *rule = &policy->rules[rules[i]];
            if ((rule->calls & calls) == 0 || rule->size_min > most || rule->size_max < least)
                continue;
            matched[rules[i]] = any = true;
            if (rule->size_min <= least && rule->size_max >= most && (rule->calls & calls) == calls)
                break; /* nothing is left for those behind it */
        }
    }
    return any;
}

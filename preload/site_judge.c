/* SPDX-License-Identifier: MIT */
#include "site_judge.h"

#include <string.h>

#include "code.h"
#include "os.h"

#define CHUNK_BYTES ((size_t)64 << 10)

static struct {
    const struct policy *policy;
    _Atomic bool passed[POLICY_RULES_MAX];
    uint32_t next_id;
    unsigned char *chunk; /* private memory for sites and strings, never given back */
    size_t chunk_left;
} judge;

/* ---------------------------------------------------------------- private memory */

static void *carve(size_t bytes)
{
    bytes = align_up(bytes, 16);
    if (bytes > judge.chunk_left) {
        void *chunk;
        if (bytes > CHUNK_BYTES || os_map_private(CHUNK_BYTES, &chunk) != 0)
            return NULL;
        judge.chunk = chunk;
        judge.chunk_left = CHUNK_BYTES;
    }
    void *piece = judge.chunk;
    judge.chunk += bytes;
    judge.chunk_left -= bytes;
    return piece;
}

static const char *keep_text(const char *text)
{
    const size_t length = strlen(text);
    char *copy = carve(length + 1);
    if (copy != NULL)
        memcpy(copy, text, length + 1);
    return copy;
}

/* ---------------------------------------------------------------- which rules hold */

/* The frames of a stack, those known from DWARF as a debugger shows them. */
struct view {
    struct policy_step step[FRAMES_MOST * CODE_FRAMES];
    size_t count, starts; /* the innermost glob may stand for one of the first `starts` */
};

static void add_frame(struct view *view, const struct code *code, bool inlined)
{
    struct policy_step step = {code->function, code->module, code->is_program, code->offset};
    for (unsigned i = 0; inlined && i < code->frame_count; i++) {
        step.function = code->frame[i].function;
        view->step[view->count++] = step;
    }
    if (!inlined || code->frame_count == 0)
        view->step[view->count++] = step;
}

/* Frames 0 to `site` are wrappers and the site, the others lead there. */
static void look_at(struct view *view, const struct code *code, unsigned count, unsigned site, bool inlined)
{
    view->count = 0;
    for (unsigned i = 0; i < count; i++) {
        add_frame(view, &code[i], inlined);
        if (i == site)
            view->starts = view->count;
    }
}

static bool holds_for_stack(const struct policy_rule *rule, const struct code *code, unsigned count,
                            unsigned site)
{
    static NEEDED_LATER struct view view; /* under the lock */
    for (unsigned inlined = 0; inlined < 2; inlined++) {
        look_at(&view, code, count, site, inlined != 0);
        if (policy_rule_matches_stack(rule, view.step, view.count, view.starts))
            return true;
    }
    return false;
}

static bool may_hold_for_stack(const struct policy_rule *rule, const struct code *code)
{
    struct policy_rule innermost = *rule;
    innermost.stack_count = rule->stack_count < 1 || rule->stack[0] == NULL ? 0 : 1;
    return holds_for_stack(&innermost, code, 1, 0);
}

/* A wrapper may be named itself. */
static bool holds_for_site(const struct policy_rule *rule, const struct code *code, unsigned site)
{
    for (unsigned i = 0; i <= site; i++) {
        const struct policy_site facts = code_facts(&code[i]);
        if (policy_rule_matches_site(rule, &facts))
            return true;
    }
    return false;
}

bool site_is_wrapper(const struct code *code)
{
    return policy_is_wrapper(judge.policy, code->function, code->module, code->is_program);
}

/* UINT16_MAX: it cannot hold. Of a wrapper's call nothing is known but the wrapper. */
static uint16_t judge_alone(const struct policy_rule *rule, uint16_t index, const struct code *code,
                            bool wrapper)
{
    if (wrapper)
        return index | SITE_MAYBE;
    if (!holds_for_site(rule, code, 0) || !may_hold_for_stack(rule, code))
        return UINT16_MAX;
    return rule->stack_count == 0 ? index : index | SITE_MAYBE;
}

/* By the direct caller alone. */
static uint32_t rules_of_caller(const struct code *code, bool wrapper, uint16_t out[POLICY_RULES_MAX])
{
    uint32_t count = 0;
    for (size_t i = 0; i < judge.policy->rule_count; i++) {
        const uint16_t verdict = judge_alone(&judge.policy->rules[i], (uint16_t)i, code, wrapper);
        if (verdict != UINT16_MAX)
            out[count++] = verdict;
    }
    return count;
}

uint32_t site_rules_of_stack(const struct code *code, unsigned count, unsigned site,
                             uint16_t out[POLICY_RULES_MAX])
{
    uint32_t found = 0;
    for (size_t i = 0; i < judge.policy->rule_count; i++) {
        const struct policy_rule *rule = &judge.policy->rules[i];
        if (holds_for_site(rule, code, site) && holds_for_stack(rule, code, count, site))
            out[found++] = (uint16_t)i;
    }
    return found;
}

/* Where all that may hold passes, nothing is looked at again. */
static uint32_t without_passing(const uint16_t *rules, uint32_t count)
{
    bool routes = false;
    for (uint32_t i = 0; i < count; i++)
        routes |= judge.policy->rules[rules[i] & ~SITE_MAYBE].verb != POLICY_PASS;
    if (routes)
        return count;
    for (uint32_t i = 0; i < count; i++)
        atomic_store_explicit(&judge.passed[rules[i] & ~SITE_MAYBE], true, memory_order_relaxed);
    return 0;
}

bool site_was_passed(uint16_t rule)
{
    return atomic_load_explicit(&judge.passed[rule], memory_order_relaxed);
}

struct site *site_make(const struct code *code, uintptr_t address, const uint16_t *rules, uint32_t count)
{
    count = without_passing(rules, count);
    struct site *site = count > 0 ? carve(sizeof *site + count * sizeof rules[0]) : NULL;
    if (site == NULL)
        return NULL;
    *site = (struct site){.id = judge.next_id++,
                          .rule_count = count,
                          .is_program = code->is_program,
                          .module = keep_text(code->module),
                          .function = code->function != NULL ? keep_text(code->function) : NULL,
                          .module_offset = code->offset,
                          .function_offset = code->function_offset,
                          .build = code->build,
                          .address = address,
                          .depth = 1};
    memcpy(site->rules, rules, count * sizeof rules[0]);
    return site->module != NULL ? site : NULL;
}

struct site *site_make_for_caller(const struct code *code, uintptr_t address, bool wrapper)
{
    uint16_t rules[POLICY_RULES_MAX];
    return site_make(code, address, rules, rules_of_caller(code, wrapper, rules));
}

void site_judge_begin(const struct policy *policy)
{
    judge.policy = policy;
}

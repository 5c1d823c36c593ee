/* SPDX-License-Identifier: MIT */
#include "static_check.h"

#include "calls.h"
#include "config/trace.h"
#include "display.h"
#include "loaded.h"
#include "rules.h"
#include "symbols.h"
#include "table.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One call, and whether a rule takes it for certain. */
struct match {
    size_t rule;
    const struct spot *spot;
    bool open; /* it depends on who called */
};

struct result {
    struct stacks stacks; /* images and spots only */
    struct match *items;
    size_t count, calls;
};

/* ---------------------------------------------------------------- matching */

static bool may_hold(const struct policy_rule *rule, const struct policy_site *site, bool wrapper, bool *open)
{
    struct policy_rule first = *rule;
    first.stack_count = rule->stack_count > 0 && rule->stack[0] != NULL ? 1 : 0;
    *open = rule->stack_count > 1;
    if (trace_matches(&first, site, 1, 0))
        return true;
    *open = true;
    return wrapper; /* whoever calls it may be named */
}

/* The first rule that holds, and those before it that may. */
static void match_call(struct result *result, const struct policy *policy, const struct spot *spot,
                       unsigned entry, bool is_program)
{
    const struct policy_site site = {.module = spot->image->base,
                                     .module_is_program = is_program,
                                     .offset = spot->offset,
                                     .function = spot->function,
                                     .frames = spot->inlined,
                                     .frame_count = spot->inlined_count};
    const bool wrapper = policy_is_wrapper(policy, site.function, site.module, is_program);
    bool settled = false;
    for (size_t i = 0; i < policy->rule_count && !settled; i++) {
        const struct policy_rule *rule = &policy->rules[i];
        bool open;
        if ((rule->calls & entry) == 0 || !may_hold(rule, &site, wrapper, &open))
            continue;
        result->items = room_for_one(result->items, result->count, sizeof *result->items);
        result->items[result->count++] = (struct match){i, spot, open};
        settled = !open && rule->size_min == 0 && rule->size_max == SIZE_MAX;
    }
}

static void match_file(struct result *result, const struct policy *policy, struct symbols *symbols,
                       const char *path, bool is_program)
{
    struct calls calls;
    if (!calls_find(&calls, path))
        return;
    const struct image *image = stacks_add_image(&result->stacks, path);
    for (size_t i = 0; i < calls.count; i++) {
        struct spot *spot = stacks_add_spot(&result->stacks, image, calls.items[i].offset);
        symbols_name(symbols, spot);
        symbols_locate(symbols, spot);
        match_call(result, policy, spot, calls.items[i].entry, is_program);
    }
    result->calls += calls.count;
    calls_release(&calls);
}

/* ---------------------------------------------------------------- output */

static char *site_text(const struct spot *spot)
{
    return formatted("%s!0x%" PRIx64, spot->image->base, spot->offset);
}

static void print_rule(const struct result *result, size_t rule)
{
    static const char *const headings[] = {"SITE", "FUNCTION", "MATCHES", NULL};
    struct table table;
    table_start(&table, headings);
    for (size_t i = 0; i < result->count; i++) {
        const struct match *match = &result->items[i];
        if (match->rule != rule)
            continue;
        char *site = site_text(match->spot);
        table_text(&table, site);
        table_text(&table, match->spot->function);
        table_text(&table, match->open ? "for some callers" : "yes");
        free(site);
    }
    table_finish(&table, stdout, 2);
}

static void print(const struct policy *policy, const struct result *result)
{
    for (size_t rule = 0; rule < policy->rule_count; rule++) {
        char *text = display_escape(policy->rules[rule].text, strlen(policy->rules[rule].text));
        bool any = false;
        for (size_t i = 0; i < result->count; i++)
            any |= result->items[i].rule == rule;
        printf("line %u: %s%s\n", policy->rules[rule].line, text, any ? "" : ": matches no call");
        if (any)
            print_rule(result, rule);
        free(text);
    }
    printf("%zu calls in %zu files; sizes, and libraries that are loaded later, only a run can tell\n",
           result->calls, result->stacks.image_count);
}

static struct json_object *sites_json(const struct result *result, size_t rule)
{
    struct json_object *sites = json_new_array();
    for (size_t i = 0; i < result->count; i++) {
        const struct match *match = &result->items[i];
        if (match->rule != rule)
            continue;
        struct json_object *object = json_new_object();
        char *site = site_text(match->spot);
        json_put_text(object, "site", site);
        json_put_text(object, "function", match->spot->function);
        json_put_bool(object, "certain", !match->open);
        json_append(sites, object);
        free(site);
    }
    return sites;
}

static void print_json(const struct policy *policy, const struct result *result)
{
    struct json_object *object = rules_json(policy), *rules = json_object_object_get(object, "rules");
    for (size_t rule = 0; rule < policy->rule_count; rule++)
        json_put(json_object_array_get_idx(rules, rule), "sites", sites_json(result, rule));
    json_put_bool(object, "valid", true);
    json_put_number(object, "calls", result->calls);
    json_put_number(object, "files", result->stacks.image_count);
    json_finish(object);
}

int static_check(const struct policy *policy, const char *program, bool json)
{
    struct loaded loaded;
    struct result result = {0};
    if (loaded_find(&loaded, program) < 0)
        return -1;
    struct symbols *symbols = symbols_open();
    if (policy_applies_to(policy, loaded.paths[0]))
        for (size_t i = 0; i < loaded.count; i++)
            match_file(&result, policy, symbols, loaded.paths[i], i == 0);
    else
        complain("the rules do not hold for '%s': `program` says so", loaded.paths[0]);
    (json ? print_json : print)(policy, &result);
    symbols_close(symbols);
    stacks_release(&result.stacks);
    free(result.items);
    loaded_release(&loaded);
    return 0;
}

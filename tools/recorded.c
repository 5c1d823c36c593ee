/* SPDX-License-Identifier: MIT */
#include "recorded.h"

#include "display.h"
#include "matching.h"
#include "table.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* ---------------------------------------------------------------- finding */

static struct recorded_site *site_for(struct recorded *recorded, size_t rule, const struct spot *spot,
                                      const struct program *program)
{
    for (size_t i = 0; i < recorded->count; i++) {
        struct recorded_site *site = &recorded->items[i];
        if (site->rule == rule && site->spot == spot && site->program == program)
            return site;
    }
    recorded->items = room_for_one(recorded->items, recorded->count, sizeof *recorded->items);
    recorded->items[recorded->count] = (struct recorded_site){.rule = rule, .spot = spot, .program = program};
    return &recorded->items[recorded->count++];
}

static void add_stack(struct recorded_site *site, const struct stack *stack)
{
    size_t processes = 0;
    for (size_t i = 0; i < stack->row_count; i++) {
        processes += i == 0 || stack->rows[i].process != stack->rows[i - 1].process;
        site->calls = worth_add(site->calls, stack->rows[i].site->calls);
        site->peak_bytes = worth_add(site->peak_bytes, stack->rows[i].site->peak_bytes);
    }
    site->processes = processes > site->processes ? processes : site->processes;
}

static int compare(const void *left, const void *right)
{
    const struct recorded_site *a = left, *b = right;
    if (a->rule != b->rule)
        return a->rule < b->rule ? -1 : 1;
    if (a->peak_bytes != b->peak_bytes)
        return a->peak_bytes > b->peak_bytes ? -1 : 1;
    return (a->spot->number > b->spot->number) - (a->spot->number < b->spot->number);
}

static void add_unmatched(struct recorded *recorded, const struct stack *stack)
{
    for (size_t i = 0; i < stack->row_count; i++)
        recorded->unmatched_bytes = worth_add(recorded->unmatched_bytes, stack->rows[i].site->peak_bytes);
}

void recorded_find(struct recorded *recorded, const struct policy *policy, const struct stacks *stacks)
{
    bool matched[POLICY_RULES_MAX];
    *recorded = (struct recorded){0};
    for (size_t i = 0; i < stacks->count; i++) {
        const struct stack *stack = &stacks->items[i];
        if (!matching_rules(policy, stacks, stack, matched)) {
            add_unmatched(recorded, stack);
            continue;
        }
        const struct spot *spot = stack->frame[matching_site(policy, stacks, stack)];
        for (size_t rule = 0; rule < policy->rule_count; rule++)
            if (matched[rule])
                add_stack(site_for(recorded, rule, spot, &stacks->programs[stack->program]), stack);
    }
    if (recorded->count > 1)
        qsort(recorded->items, recorded->count, sizeof *recorded->items, compare);
}

void recorded_release(struct recorded *recorded)
{
    free(recorded->items);
    *recorded = (struct recorded){0};
}

/* ---------------------------------------------------------------- output */

static char *site_text(const struct recorded_site *site)
{
    return formatted("%s!0x%" PRIx64, site->spot->image->base, site->spot->offset);
}

static void add_row(struct table *table, const struct recorded_site *site)
{
    char size[DISPLAY_SIZE_MAX], *text = site_text(site);
    table_text(table, text);
    table_text(table, site->spot->function);
    table_number(table, site->calls);
    table_text(table, display_size(site->peak_bytes, false, size));
    table_number(table, site->processes);
    table_text(table, site->program->path);
    free(text);
}

static size_t print_rule(const struct recorded *recorded, size_t rule)
{
    static const char *const headings[] = {"SITE",       "FUNCTION", ">CALLS", ">PEAK",
                                           ">PROCESSES", "PROGRAM",  NULL};
    struct table table;
    size_t found = 0;
    table_start(&table, headings);
    for (size_t i = 0; i < recorded->count; i++) {
        if (recorded->items[i].rule != rule)
            continue;
        add_row(&table, &recorded->items[i]);
        found++;
    }
    if (found > 0)
        table_finish(&table, stdout, 2);
    return found;
}

static bool has_any(const struct recorded *recorded, size_t rule)
{
    for (size_t i = 0; i < recorded->count; i++)
        if (recorded->items[i].rule == rule)
            return true;
    return false;
}

void recorded_print(const struct policy *policy, const struct recorded *recorded)
{
    char size[DISPLAY_SIZE_MAX];
    for (size_t rule = 0; rule < policy->rule_count; rule++) {
        char *text = display_escape(policy->rules[rule].text, strlen(policy->rules[rule].text));
        printf("line %u: %s%s\n", policy->rules[rule].line, text,
               has_any(recorded, rule) ? "" : ": matched nothing");
        print_rule(recorded, rule);
        free(text);
    }
    printf("no rule matches call sites with peaks of %s together\n",
           display_size(recorded->unmatched_bytes, false, size));
}

static struct json_object *site_json(const struct recorded_site *site)
{
    struct json_object *object = json_new_object();
    char *text = site_text(site);
    json_put_text(object, "site", text);
    json_put_text(object, "function", site->spot->function);
    json_put_number(object, "calls", site->calls);
    json_put_number(object, "peak_bytes", site->peak_bytes);
    json_put_number(object, "processes", site->processes);
    json_put_text(object, "program", site->program->path);
    free(text);
    return object;
}

void recorded_put_json(struct json_object *rules, const struct policy *policy,
                       const struct recorded *recorded)
{
    for (size_t rule = 0; rule < policy->rule_count; rule++) {
        struct json_object *sites = json_new_array();
        for (size_t i = 0; i < recorded->count; i++)
            if (recorded->items[i].rule == rule)
                json_append(sites, site_json(&recorded->items[i]));
        json_put(json_object_array_get_idx(rules, rule), "sites", sites);
    }
}

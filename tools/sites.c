/* SPDX-License-Identifier: MIT
 *
 * A line names its rule by line and verb. Where several rules share both (they were separated by
 * ';'), the first that matches the site is meant, as it was in the shim; only `call=` cannot be asked
 * again, since the line does not say which entry point was used.
 */
#include "sites.h"

#include "display.h"
#include "rules.h"
#include "table.h"
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

enum field { FIELD_LINE, FIELD_VERB, FIELD_SITE, FIELD_FUNCTION, FIELD_SIZE, FIELD_PROGRAM, FIELDS };

static bool split(char *line, char *fields[FIELDS])
{
    line[strcspn(line, "\n")] = '\0';
    for (size_t i = 0; i < FIELDS; i++) {
        fields[i] = strsep(&line, "\t");
        if (!fields[i])
            return false;
    }
    return line == NULL;
}

static bool read_number(const char *text, uint64_t *number)
{
    return strspn(text, "0123456789") == strlen(text) && display_parse_size(text, number);
}

static const char *known(const char *function)
{
    return *function && strcmp(function, "?") != 0 && strcmp(function, "-") != 0 ? function : NULL;
}

static bool matches(const struct policy_rule *rule, char *const fields[FIELDS], uint64_t size)
{
    const char *slash = strrchr(fields[FIELD_PROGRAM], '/'), *mark = strrchr(fields[FIELD_SITE], '!');
    char *module = formatted("%.*s", mark ? (int)(mark - fields[FIELD_SITE]) : 0, fields[FIELD_SITE]);
    struct policy_site site = {
        .module = module,
        .module_is_program = strcmp(module, slash ? slash + 1 : fields[FIELD_PROGRAM]) == 0,
        .offset = mark ? strtoull(mark + 1, NULL, 16) : 0,
        .function = known(fields[FIELD_FUNCTION]),
    };
    bool result = policy_rule_matches_site(rule, &site) && size >= rule->size_min && size <= rule->size_max;
    free(module);
    return result;
}

/* The rule that a line means; policy->rule_count when it is none of ours. */
static size_t find_rule(const struct policy *policy, char *const fields[FIELDS], uint64_t line, uint64_t size)
{
    size_t found = policy->rule_count;
    for (size_t i = policy->rule_count; i-- > 0;) {
        const struct policy_rule *rule = &policy->rules[i];
        if (rule->line != line || strcmp(rules_verb(rule->verb), fields[FIELD_VERB]) != 0)
            continue;
        if (found == policy->rule_count || matches(rule, fields, size))
            found = i;
    }
    return found;
}

static bool read_report(char *line, const struct policy *policy, struct site_report *report)
{
    char *fields[FIELDS];
    uint64_t line_number;
    if (!split(line, fields) || !read_number(fields[FIELD_LINE], &line_number) ||
        !read_number(fields[FIELD_SIZE], &report->first_size))
        return false;
    report->rule = find_rule(policy, fields, line_number, report->first_size);
    if (report->rule == policy->rule_count)
        return false;
    report->site = formatted("%s", fields[FIELD_SITE]);
    report->function = formatted("%s", fields[FIELD_FUNCTION]);
    report->program = formatted("%s", fields[FIELD_PROGRAM]);
    report->seen = 1;
    return true;
}

static int compare(const void *left, const void *right)
{
    const struct site_report *a = left, *b = right;
    int result = (a->rule > b->rule) - (a->rule < b->rule);
    if (result == 0)
        result = strcmp(a->program, b->program);
    return result ? result : strcmp(a->site, b->site);
}

static void release_report(struct site_report *report)
{
    free(report->site);
    free(report->function);
    free(report->program);
}

/* Equal neighbours become one. Ranks may differ in the size of their first call: any one will do. */
static void unite(struct site_reports *reports)
{
    size_t kept = 0;
    for (size_t i = 0; i < reports->count; i++) {
        if (kept > 0 && compare(&reports->items[kept - 1], &reports->items[i]) == 0) {
            reports->items[kept - 1].seen++;
            release_report(&reports->items[i]);
        } else {
            reports->items[kept++] = reports->items[i];
        }
    }
    reports->count = kept;
}

void sites_read(FILE *stream, const struct policy *policy, struct site_reports *reports)
{
    char *line = NULL;
    size_t capacity = 0;
    *reports = (struct site_reports){0};
    while (getline(&line, &capacity, stream) > 0) {
        struct site_report report;
        if (!read_report(line, policy, &report)) {
            reports->unreadable++;
            continue;
        }
        reports->items = room_for_one(reports->items, reports->count, sizeof *reports->items);
        reports->items[reports->count++] = report;
    }
    free(line);
    if (reports->count > 1)
        qsort(reports->items, reports->count, sizeof *reports->items, compare);
    unite(reports);
}

void sites_release(struct site_reports *reports)
{
    for (size_t i = 0; i < reports->count; i++)
        release_report(&reports->items[i]);
    free(reports->items);
    *reports = (struct site_reports){0};
}

static bool matched(const struct site_reports *reports, size_t rule)
{
    for (size_t i = 0; i < reports->count; i++)
        if (reports->items[i].rule == rule)
            return true;
    return false;
}

static void print_sites(const struct site_reports *reports, size_t rule)
{
    static const char *const headings[] = {"SITE", "FUNCTION", ">FIRST SIZE", ">PROCESSES", "PROGRAM", NULL};
    char size[DISPLAY_SIZE_MAX];
    struct table table;
    table_start(&table, headings);
    for (size_t i = 0; i < reports->count; i++) {
        const struct site_report *report = &reports->items[i];
        if (report->rule != rule)
            continue;
        table_text(&table, report->site);
        table_text(&table, report->function);
        table_text(&table, display_size(report->first_size, false, size));
        table_number(&table, report->seen);
        table_text(&table, report->program);
    }
    table_finish(&table, stdout, 2);
}

void sites_print(const struct policy *policy, const struct site_reports *reports)
{
    for (size_t rule = 0; rule < policy->rule_count; rule++) {
        char *text = display_escape(policy->rules[rule].text, strlen(policy->rules[rule].text));
        bool any = matched(reports, rule);
        printf("line %u: %s%s\n", policy->rules[rule].line, text, any ? "" : ": matched nothing");
        if (any)
            print_sites(reports, rule);
        free(text);
    }
}

static struct json_object *report_json(const struct site_report *report)
{
    struct json_object *object = json_new_object();
    json_put_text(object, "site", report->site);
    json_put_text(object, "function", known(report->function));
    json_put_number(object, "first_size", report->first_size);
    json_put_number(object, "processes", report->seen);
    json_put_text(object, "program", report->program);
    return object;
}

void sites_put_json(struct json_object *rules, const struct policy *policy,
                    const struct site_reports *reports)
{
    for (size_t rule = 0; rule < policy->rule_count; rule++) {
        struct json_object *sites = json_new_array();
        for (size_t i = 0; i < reports->count; i++)
            if (reports->items[i].rule == rule)
                json_append(sites, report_json(&reports->items[i]));
        json_put(json_object_array_get_idx(rules, rule), "sites", sites);
    }
}

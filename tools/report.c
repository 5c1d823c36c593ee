/* SPDX-License-Identifier: MIT */
#include "report.h"

#include "display.h"
#include "json_output.h"
#include "notes.h"
#include "table.h"
#include "tool.h"

#include <stdlib.h>
#include <string.h>

static const char *program_name(const struct advice *advice, const struct place *place)
{
    const char *path = advice->stacks.programs[place->stacks->program].path, *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

static size_t programs_shown(const struct advice *advice)
{
    size_t count = 0;
    for (size_t i = 0; i < advice->stacks.program_count; i++)
        count += !advice->stacks.programs[i].ignored;
    return count;
}

static size_t rows_shown(const struct advice *advice, size_t rows)
{
    return advice->places.count < rows ? advice->places.count : rows;
}

/* ---------------------------------------------------------------- the table */

static void add_owned(struct table *table, char *text)
{
    table_text(table, text);
    free(text);
}

static void add_row(struct table *table, const struct advice *advice, size_t index, bool names_program)
{
    const struct place *place = &advice->places.items[index];
    const double share = worth_share(&place->worth);
    char size[DISPLAY_SIZE_MAX];
    table_number(table, index + 1);
    add_owned(table, advice_site_text(place));
    add_owned(table, advice_where_text(place));
    table_number(table, place->calls);
    table_number(table, place->worth.processes);
    table_text(table, display_size(place->worth.peak_bytes, false, size));
    add_owned(table, share < 0 ? NULL : formatted("%.1f", share));
    table_text(table, share < 0 ? NULL : display_size(place->worth.saved_bytes, false, size));
    if (names_program)
        table_text(table, program_name(advice, place));
}

static void print_table(const struct advice *advice, size_t rows)
{
    static const char *const headings[] = {">#",    "SITE",        "WHERE",  ">CALLS", ">PROCESSES",
                                           ">PEAK", ">IDENTICAL%", ">SAVES", NULL};
    static const char *const with_program[] = {">#",    "SITE",        "WHERE",  ">CALLS",  ">PROCESSES",
                                               ">PEAK", ">IDENTICAL%", ">SAVES", "PROGRAM", NULL};
    struct table table;
    const bool names_program = programs_shown(advice) > 1;
    table_start(&table, names_program ? with_program : headings);
    for (size_t i = 0; i < rows_shown(advice, rows); i++)
        add_row(&table, advice, i, names_program);
    table_finish(&table, stdout, 0);
    if (rows < advice->places.count)
        printf("and %zu more; --all shows them\n", advice->places.count - rows);
}

static void print_sum(const struct advice *advice)
{
    char peak[DISPLAY_SIZE_MAX], saved[DISPLAY_SIZE_MAX];
    const size_t rules = advice->wording.rule_count;
    printf("%zu process%s compared; %s at the peaks of their call sites", advice->processes,
           advice->processes == 1 ? "" : "es", display_size(advice->peak_bytes, false, peak));
    if (rules > 0)
        printf("; %zu rule%s would save %s\n", rules, rules == 1 ? "" : "s",
               display_size(advice->saved_bytes, false, saved));
    else
        printf("; %s\n",
               advice->processes < 2 ? "there is nothing to compare them with" : "no rule is worth having");
}

void report_print(const struct advice *advice, size_t rows)
{
    struct notes notes;
    print_table(advice, rows);
    print_sum(advice);
    notes_find(&notes, advice);
    for (size_t i = 0; i < notes.count; i++)
        printf("note: %s\n", notes.items[i]);
    notes_release(&notes);
}

/* ---------------------------------------------------------------- JSON */

static void put_spot(struct json_object *object, const struct spot *spot)
{
    json_put_text(object, "function", spot->function != NULL ? spot->function : spot->debug);
    json_put_text(object, "module", spot->image->base);
    json_put_number(object, "offset", spot->offset);
    json_put_text(object, "file", spot->file);
    if (spot->line > 0)
        json_put_number(object, "line", spot->line);
}

static struct json_object *stack_json(const struct place *place)
{
    struct json_object *array = json_new_array();
    for (size_t i = 0; i < place->depth; i++) {
        struct json_object *frame = json_new_object();
        put_spot(frame, place->stacks->frame[i]);
        json_append(array, frame);
    }
    return array;
}

static struct json_object *place_json(const struct advice *advice, size_t index)
{
    const struct place *place = &advice->places.items[index];
    struct json_object *object = json_new_object();
    const size_t rule = advice->wording.rule_of[index];
    json_put_number(object, "rank", index + 1);
    put_spot(object, place_spot(place));
    json_put_text(object, "program", advice->stacks.programs[place->stacks->program].path);
    json_put(object, "stack", stack_json(place));
    json_put_number(object, "calls", place->calls);
    json_put_number(object, "processes", place->worth.processes);
    json_put_number(object, "peak_bytes", place->worth.peak_bytes);
    if (worth_share(&place->worth) >= 0) {
        json_put(object, "identical_percent", required(json_object_new_double(worth_share(&place->worth))));
        json_put_number(object, "saved_bytes", place->worth.saved_bytes);
    }
    json_put_bool(object, "short_lived", place->short_lived);
    json_put_text(object, "rule", rule != WORDING_NONE ? advice->wording.rules[rule].text : NULL);
    return object;
}

static struct json_object *notes_json(const struct advice *advice)
{
    struct notes notes;
    struct json_object *array = json_new_array();
    notes_find(&notes, advice);
    for (size_t i = 0; i < notes.count; i++)
        json_append(array, json_text(notes.items[i]));
    notes_release(&notes);
    return array;
}

void report_print_json(const struct advice *advice, size_t rows)
{
    struct json_object *object = json_new_object(), *sites = json_new_array();
    for (size_t i = 0; i < rows_shown(advice, rows); i++)
        json_append(sites, place_json(advice, i));
    json_put_number(object, "processes", advice->processes);
    json_put_number(object, "peak_bytes", advice->peak_bytes);
    json_put_number(object, "saved_bytes", advice->saved_bytes);
    json_put(object, "sites", sites);
    json_put(object, "notes", notes_json(advice));
    json_put_text(object, "policy", advice->policy);
    json_finish(object);
}

/* SPDX-License-Identifier: MIT
 *
 * Cells are collected first, because the width of a column is known only with its last row.
 */
#include "table.h"

#include "display.h"
#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

void table_start(struct table *table, const char *const *headings)
{
    *table = (struct table){.headings = headings};
    while (headings[table->columns])
        table->columns++;
}

static void add_cell(struct table *table, char *cell)
{
    table->cells = room_for_one(table->cells, table->count, sizeof *table->cells);
    table->cells[table->count++] = cell;
}

void table_text(struct table *table, const char *text)
{
    const char *shown = text && *text ? text : "-";
    add_cell(table, display_escape(shown, strlen(shown)));
}

void table_number(struct table *table, uint64_t number)
{
    add_cell(table, formatted("%" PRIu64, number));
}

static bool aligns_right(const struct table *table, size_t column)
{
    return table->headings[column][0] == '>';
}

static const char *heading(const struct table *table, size_t column)
{
    return table->headings[column] + aligns_right(table, column);
}

static size_t column_width(const struct table *table, size_t column)
{
    size_t widest = display_width(heading(table, column));
    for (size_t cell = column; cell < table->count; cell += table->columns) {
        size_t width = display_width(table->cells[cell]);
        if (width > widest)
            widest = width;
    }
    return widest;
}

static void print_cell(const struct table *table, size_t column, size_t width, const char *text, FILE *stream)
{
    int padding = (int)(width - display_width(text));
    bool last = column + 1 == table->columns;
    if (aligns_right(table, column))
        fprintf(stream, "%*s%s", padding, "", text);
    else
        fprintf(stream, "%s%*s", text, last ? 0 : padding, "");
    fputs(last ? "\n" : "  ", stream);
}

void table_finish(struct table *table, FILE *stream, int indent)
{
    size_t *widths = required(calloc(table->columns, sizeof *widths));
    for (size_t column = 0; column < table->columns; column++)
        widths[column] = column_width(table, column);
    fprintf(stream, "%*s", indent, "");
    for (size_t column = 0; column < table->columns; column++)
        print_cell(table, column, widths[column], heading(table, column), stream);
    for (size_t cell = 0; cell < table->count; cell++) {
        size_t column = cell % table->columns;
        if (column == 0)
            fprintf(stream, "%*s", indent, "");
        print_cell(table, column, widths[column], table->cells[cell], stream);
        free(table->cells[cell]);
    }
    free(widths);
    free(table->cells);
    *table = (struct table){0};
}

/* SPDX-License-Identifier: MIT
 *
 * A table of text with aligned columns, for a terminal and for awk alike: two blanks between columns,
 * none at the end of a line, no colour, no rules. Cells are escaped on their way in; an empty cell
 * becomes "-", so that every line has the same number of fields unless a cell holds blanks.
 */
#ifndef SHMPRELOAD_TABLE_H
#define SHMPRELOAD_TABLE_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

struct table {
    const char *const *headings; /* NULL-terminated; a heading that begins with '>' aligns right */
    size_t columns;
    char **cells; /* row by row, without the headings */
    size_t count;
};

void table_start(struct table *table, const char *const *headings);
void table_text(struct table *table, const char *text);
void table_number(struct table *table, uint64_t number);

/* Prints the headings and all rows, each line after `indent` blanks, and releases the table. */
void table_finish(struct table *table, FILE *stream, int indent);

#endif

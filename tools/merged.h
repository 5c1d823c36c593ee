/* SPDX-License-Identifier: MIT
 *
 * The merged blocks of a segment as a list, wherever they are shown or summed up. Like a listing of blocks it
 * is a sequence of glances, not a snapshot.
 */
#ifndef SHMPRELOAD_MERGED_H
#define SHMPRELOAD_MERGED_H

#include "json_output.h"
#include "shmcore.h"
#include "tool.h"

struct merged_list {
    struct shmcore_merged *items; /* the caller's to free */
    size_t count;
    uint64_t merged, saved; /* bytes, of all of them */
};

/* 0, or -1 with shmcore_error() and an empty list. */
int merged_collect(shmcore_segment *segment, struct merged_list *list);

void merged_sort(struct merged_list *list, enum tool_sort order);

/* A table, and a line that sums it up. */
void merged_print(const struct merged_list *list, bool exact);

/* An array. */
struct json_object *merged_json(const struct merged_list *list);

#endif

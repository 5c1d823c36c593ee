/* SPDX-License-Identifier: MIT
 *
 * The share that is merged is of what all processes have of a block. It is rounded down, so that 100% means
 * all of it.
 */
#include "merged.h"

#include "display.h"
#include "table.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int collect(const shmcore_merged *merged, void *argument)
{
    struct merged_list *list = argument;
    list->items = room_for_one(list->items, list->count, sizeof *list->items);
    list->items[list->count++] = *merged;
    list->merged += merged->merged;
    list->saved += merged->saved;
    return 0;
}

int merged_collect(shmcore_segment *segment, struct merged_list *list)
{
    *list = (struct merged_list){0};
    if (shmcore_for_each_merged(segment, collect, list) == 0)
        return 0;
    free(list->items);
    *list = (struct merged_list){0};
    return -1;
}

static int by_name(const void *left, const void *right)
{
    const struct shmcore_merged *a = left, *b = right;
    return strcmp(a->name, b->name);
}

static int by_size(const void *left, const void *right)
{
    const struct shmcore_merged *a = left, *b = right;
    return a->bytes != b->bytes ? (a->bytes < b->bytes) - (a->bytes > b->bytes) : by_name(left, right);
}

void merged_sort(struct merged_list *list, enum tool_sort order)
{
    if (list->count > 1)
        qsort(list->items, list->count, sizeof *list->items, order == SORT_SIZE ? by_size : by_name);
}

/* Thousandths. The numbers were read one after the other, so they need not fit together. */
static unsigned share_of(const struct shmcore_merged *merged)
{
    uint64_t all = merged->bytes * merged->ranks;
    if (all == 0)
        return 0;
    return merged->merged >= all ? 1000 : (unsigned)(merged->merged * 1000 / all);
}

static char *percent(unsigned share)
{
    return formatted("%u.%u", share / 10, share % 10);
}

void merged_print(const struct merged_list *list, bool exact)
{
    static const char *const headings[] = {"MERGED", ">SIZE", ">RANKS", ">SHARED%", ">SAVED", NULL};
    char size[DISPLAY_SIZE_MAX], saved[DISPLAY_SIZE_MAX];
    struct table table;
    table_start(&table, headings);
    for (size_t i = 0; i < list->count; i++) {
        const struct shmcore_merged *merged = &list->items[i];
        char *share = percent(share_of(merged));
        table_text(&table, merged->name);
        table_text(&table, display_size(merged->bytes, exact, size));
        table_number(&table, merged->ranks);
        table_text(&table, share);
        table_text(&table, display_size(merged->saved, exact, saved));
        free(share);
    }
    table_finish(&table, stdout, 0);
    printf("%zu block%s that can be merged: %s shared, %s of memory saved\n", list->count,
           list->count == 1 ? "" : "s", display_size(list->merged, exact, size),
           display_size(list->saved, exact, saved));
}

static struct json_object *item_json(const struct shmcore_merged *merged)
{
    struct json_object *object = json_new_object();
    unsigned share = share_of(merged);
    char *text = percent(share);
    json_put_text(object, "name", merged->name);
    json_put_number(object, "bytes", merged->bytes);
    json_put_number(object, "ranks", merged->ranks);
    json_put_number(object, "merged", merged->merged);
    json_put(object, "percent", required(json_object_new_double_s(share / 10.0, text)));
    json_put_number(object, "saved", merged->saved);
    free(text);
    return object;
}

struct json_object *merged_json(const struct merged_list *list)
{
    struct json_object *array = json_new_array();
    for (size_t i = 0; i < list->count; i++)
        json_append(array, item_json(&list->items[i]));
    return array;
}

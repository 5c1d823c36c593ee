/* SPDX-License-Identifier: MIT
 *
 * ls: the segments there are, or the blocks of one.
 *
 * A listing of blocks is a sequence of glances, not a snapshot: blocks may come and go meanwhile,
 * and the summary may count them differently.
 */
#include "blocks.h"
#include "display.h"
#include "json_output.h"
#include "merged.h"
#include "segments.h"
#include "table.h"
#include "tool.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static const char *segment_state(const struct shmcore_segment_info *info)
{
    if (!info->usable)
        return "unusable";
    return info->processes > 0 ? "live" : info->persist ? "kept" : "dead";
}

static enum tool_sort order; /* qsort() has no argument to pass it in */

static int compare_numbers(uint64_t a, uint64_t b)
{
    return (a > b) - (a < b);
}

static int compare_segments(const void *left, const void *right)
{
    const struct shmcore_segment_info *a = left, *b = right;
    int result = order == SORT_SIZE    ? compare_numbers(b->capacity, a->capacity)
                 : order == SORT_OWNER ? compare_numbers(a->uid, b->uid)
                                       : 0;
    if (result == 0)
        result = strcmp(a->name, b->name);
    if (result == 0)
        result = strcmp(a->job, b->job);
    return result ? result : strcmp(a->path, b->path);
}

static int compare_blocks(const void *left, const void *right)
{
    const struct shmcore_block *a = left, *b = right;
    int result = order == SORT_SIZE    ? compare_numbers(b->bytes, a->bytes)
                 : order == SORT_OWNER ? compare_numbers((uint64_t)a->owner, (uint64_t)b->owner)
                                       : 0;
    return result ? result : strcmp(a->name, b->name);
}

/* False where it cannot be told: of segments that are unusable, or another user's. */
static bool find_saved(const struct shmcore_segment_info *info, uint64_t *saved)
{
    struct merged_list list = {0};
    struct shmcore_traits traits = segments_traits(info);
    bool may = info->usable && info->uid == geteuid();
    shmcore_segment *segment = may ? shmcore_open(info->name, &traits) : NULL;
    bool found = segment && merged_collect(segment, &list) == 0;
    *saved = list.saved;
    free(list.items);
    shmcore_close(segment);
    return found;
}

static void print_segments(const struct segment_list *list, bool exact)
{
    static const char *const headings[] = {"NAME",   "JOB",        "USER",  ">SIZE", ">USED",
                                           ">SAVED", ">PROCESSES", "STATE", NULL};
    char size[DISPLAY_SIZE_MAX];
    struct table table;
    table_start(&table, headings);
    for (size_t i = 0; i < list->count; i++) {
        const struct shmcore_segment_info *info = &list->items[i];
        char *user = segments_user(info->uid);
        uint64_t saved;
        bool told = find_saved(info, &saved);
        table_text(&table, info->name);
        table_text(&table, info->job);
        table_text(&table, user);
        table_text(&table, display_size(info->capacity, exact, size));
        table_text(&table, display_size(info->reserved, exact, size));
        table_text(&table, told ? display_size(saved, exact, size) : "");
        table_number(&table, info->processes);
        table_text(&table, segment_state(info));
        free(user);
    }
    table_finish(&table, stdout, 0);
}

static struct json_object *segment_json(const struct shmcore_segment_info *info)
{
    struct json_object *object = json_new_object();
    char *user = segments_user(info->uid);
    uint64_t saved;
    json_put_text(object, "name", info->name);
    json_put_text(object, "job", info->job);
    json_put_number(object, "uid", info->uid);
    json_put_text(object, "user", user);
    json_put_text(object, "path", info->path);
    json_put_number(object, "capacity", info->capacity);
    json_put_number(object, "reserved", info->reserved);
    if (find_saved(info, &saved))
        json_put_number(object, "saved", saved);
    json_put_number(object, "processes", info->processes);
    json_put_bool(object, "persist", info->persist);
    json_put_bool(object, "usable", info->usable);
    free(user);
    return object;
}

static int list_segments(const struct options *options)
{
    struct segment_list list;
    if (segments_list(options, NULL, &list) < 0)
        return STATUS_FAILED;
    if (list.count > 1)
        qsort(list.items, list.count, sizeof *list.items, compare_segments);
    if (options->json) {
        struct json_object *array = json_new_array();
        for (size_t i = 0; i < list.count; i++)
            json_append(array, segment_json(&list.items[i]));
        json_finish(array);
    } else {
        print_segments(&list, options->exact);
    }
    free(list.items);
    return STATUS_DONE;
}

struct block_list {
    struct shmcore_block *items;
    size_t count;
};

static int collect_block(const shmcore_block *block, void *argument)
{
    struct block_list *list = argument;
    list->items = room_for_one(list->items, list->count, sizeof *list->items);
    list->items[list->count++] = *block;
    return 0;
}

static void print_blocks(const struct block_list *list, bool exact)
{
    static const char *const headings[] = {"NAME", ">SIZE", "KIND", ">OWNER", ">REFS", NULL};
    char size[DISPLAY_SIZE_MAX];
    struct table table;
    table_start(&table, headings);
    for (size_t i = 0; i < list->count; i++) {
        const struct shmcore_block *block = &list->items[i];
        table_text(&table, block->name);
        table_text(&table, display_size(block->bytes, exact, size));
        table_text(&table, block_kind_name(block->kind));
        table_number(&table, (uint64_t)block->owner);
        table_number(&table, block->refs);
    }
    table_finish(&table, stdout, 0);
}

static void print_summary(const shmcore_segment *segment, const struct block_list *list, bool exact)
{
    char blocks[DISPLAY_SIZE_MAX], capacity[DISPLAY_SIZE_MAX], reserved[DISPLAY_SIZE_MAX];
    struct shmcore_statistics statistics;
    uint64_t bytes = 0;
    for (size_t i = 0; i < list->count; i++)
        bytes += list->items[i].bytes;
    printf("%zu block%s, %s", list->count, list->count == 1 ? "" : "s", display_size(bytes, exact, blocks));
    if (shmcore_stat(segment, &statistics) == 0)
        printf("; the segment takes %s of %s, in %zu process%s",
               display_size(statistics.reserved, exact, reserved),
               display_size(statistics.capacity, exact, capacity), statistics.processes,
               statistics.processes == 1 ? "" : "es");
    putchar('\n');
}

static void print_blocks_json(const struct block_list *list, const struct merged_list *merged)
{
    struct json_object *object = json_new_object(), *array = json_new_array();
    for (size_t i = 0; i < list->count; i++)
        json_append(array, block_json(&list->items[i]));
    json_put(object, "blocks", array);
    json_put(object, "merged", merged_json(merged));
    json_finish(object);
}

static int list_blocks(const struct options *options, shmcore_segment *segment)
{
    struct block_list list = {0};
    struct merged_list merged;
    int status = STATUS_DONE;
    if (shmcore_for_each(segment, collect_block, &list) != 0) {
        complain("cannot list the blocks: %s", shmcore_error());
        free(list.items);
        return STATUS_FAILED;
    }
    if (list.count > 1)
        qsort(list.items, list.count, sizeof *list.items, compare_blocks);
    if (merged_collect(segment, &merged) < 0) {
        complain("cannot list the merged blocks: %s", shmcore_error());
        status = STATUS_FAILED;
    }
    merged_sort(&merged, options->sort);
    if (options->json) {
        print_blocks_json(&list, &merged);
    } else {
        print_blocks(&list, options->exact);
        print_summary(segment, &list, options->exact);
        if (merged.count > 0) {
            putchar('\n');
            merged_print(&merged, options->exact);
        }
    }
    free(list.items);
    free(merged.items);
    return status;
}

static int perform(const struct options *options)
{
    order = options->sort;
    if (options->operand_count == 0)
        return list_segments(options);
    shmcore_segment *segment = segments_view(options, options->operands[0]);
    if (!segment)
        return STATUS_FAILED;
    int status = list_blocks(options, segment);
    shmcore_close(segment);
    return status;
}

const struct command command_ls = {
    .name = "ls",
    .summary = "list the segments, or the blocks of one",
    .help = "Usage: shmpreload ls [OPTION]… [SEGMENT]\n"
            "Lists the segments of this user (as root: of all users), or the blocks of SEGMENT.\n"
            "\n"
            "  -b, --bytes         exact sizes in bytes\n"
            "      --sort ORDER    name (default), size (largest first) or owner\n"
            "      --json          a JSON array; of a SEGMENT an object of two: blocks and merged\n"
            "      --dir DIR       where the segments lie (default /dev/shm)\n"
            "      --job JOB       segments of this job only; '' for those without a job\n"
            "  -h, --help          this text\n"
            "\n"
            "SIZE of a segment is what it may grow to, USED the memory it occupies now, SAVED what its\n"
            "processes would occupy more if nothing had been merged. Its STATE is live (processes have it\n"
            "open), kept (persistent), dead (nobody has it open: `gc` removes it) or unusable (half made,\n"
            "damaged, or of another version).\n"
            "\n"
            "Blocks under `merge` rules come last: how many processes have each (RANKS), how much of what\n"
            "these have of it is shared, and the memory that saves. Those of less than 2 MiB are added\n"
            "up for each call site and thread, with '*' in the name for what tells them apart.\n",
    .accepts = "bSNDJ",
    .operands_most = 1,
    .perform = perform,
};

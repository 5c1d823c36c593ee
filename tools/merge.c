/* SPDX-License-Identifier: MIT
 *
 * merge: asks the processes of a segment to merge their memory now.
 *
 * The one command that takes part in a segment: to ask is to write, so it opens the segment as the programs
 * do, is one of its processes meanwhile, and so never the one that keeps it. It does not wait for processes
 * that have nothing to merge, and cannot tell those that will from those that are stopped.
 */
#include "display.h"
#include "json_output.h"
#include "merged.h"
#include "segments.h"
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>

/* Without living processes there is nobody to ask, and opening it would make us the last one to leave. */
static shmcore_segment *open_for_asking(const struct shmcore_segment_info *info)
{
    struct shmcore_traits traits = segments_traits(info);
    if (info->usable && info->processes == 0) {
        complain("no process of '%s' has memory to merge: none has it open", info->name);
        return NULL;
    }
    shmcore_segment *viewed = shmcore_open(info->name, &traits); /* what cannot be read is not made anew */
    traits.read_only = false;
    traits.persist = info->persist;
    shmcore_segment *segment = viewed ? shmcore_open(info->name, &traits) : NULL;
    if (!segment)
        complain("cannot open the segment '%s' for writing: %s", info->name, shmcore_error());
    shmcore_close(viewed);
    return segment;
}

/* How many have merged; -1 after a message. */
static int ask(const struct options *options, shmcore_segment *segment)
{
    int count = shmcore_ask_merge(segment, (unsigned)options->wait * 1000);
    if (count < 0)
        complain("cannot ask the processes of '%s': %s", shmcore_segment_name(segment), shmcore_error());
    return count;
}

static const char *why_nobody(const struct merged_list *list)
{
    return list->count == 0 ? "has memory to merge"
                            : "has merged: those with memory for it do not listen, or do not run";
}

static void print_result(int count, const struct merged_list *list)
{
    char shared[DISPLAY_SIZE_MAX], saved[DISPLAY_SIZE_MAX];
    printf("%d process%s merged: %s shared, %s of memory saved\n", count, count == 1 ? "" : "es",
           display_size(list->merged, false, shared), display_size(list->saved, false, saved));
}

static void print_result_json(int count, const struct merged_list *list)
{
    struct json_object *object = json_new_object();
    json_put_number(object, "processes", (uint64_t)count);
    json_put_number(object, "merged", list->merged);
    json_put_number(object, "saved", list->saved);
    json_finish(object);
}

static int merge(const struct options *options, shmcore_segment *segment)
{
    struct merged_list list;
    int count = ask(options, segment);
    if (count < 0)
        return STATUS_FAILED;
    if (merged_collect(segment, &list) < 0) {
        complain("cannot tell what is merged in '%s': %s", shmcore_segment_name(segment), shmcore_error());
        return STATUS_FAILED;
    }
    if (count == 0)
        complain("no process of '%s' %s", shmcore_segment_name(segment), why_nobody(&list));
    else if (options->json)
        print_result_json(count, &list);
    else
        print_result(count, &list);
    free(list.items);
    return count > 0 ? STATUS_DONE : STATUS_FAILED;
}

static int perform(const struct options *options)
{
    struct shmcore_segment_info info;
    if (segments_choose(options, options->operands[0], &info) < 0)
        return STATUS_FAILED;
    shmcore_segment *segment = open_for_asking(&info);
    if (!segment)
        return STATUS_FAILED;
    int status = merge(options, segment);
    shmcore_close(segment);
    return status;
}

const struct command command_merge = {
    .name = "merge",
    .summary = "have the processes of a segment merge their memory now",
    .help = "Usage: shmpreload merge [OPTION]… SEGMENT\n"
            "Asks every process that has memory under a `merge` rule in SEGMENT to merge all of it now,\n"
            "whatever the rule's when= says, waits until they have, and says how many did, how many bytes\n"
            "are shared now, of all processes together, and how much memory that saves.\n"
            "\n"
            "      --wait SECONDS  at most so long (default 10)\n"
            "      --json          a JSON object: processes, merged, saved\n"
            "      --dir DIR       where the segments lie (default /dev/shm)\n"
            "      --job JOB       the job that the segment belongs to; '' for none\n"
            "  -h, --help          this text\n"
            "\n"
            "It fails when no process has memory to merge, or none did in that time. Rules without\n"
            "segment= use SHARED::node. `shmpreload ls SEGMENT` tells the blocks apart.\n",
    .accepts = "WNDJ",
    .operands_least = 1,
    .operands_most = 1,
    .perform = perform,
};

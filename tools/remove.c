/* SPDX-License-Identifier: MIT
 *
 * rm and gc: segments that should go. Neither takes memory away from a process that lives: rm frees
 * the name (and refuses to do even that to a segment in use, unless told twice), gc takes only what
 * nobody has open.
 */
#include "display.h"
#include "json_output.h"
#include "segments.h"
#include "tool.h"

#include <stdio.h>

static const char *plural(size_t count, const char *one, const char *many)
{
    return count == 1 ? one : many;
}

static int perform_rm(const struct options *options)
{
    struct shmcore_segment_info info;
    if (segments_choose(options, options->operands[0], &info) < 0)
        return STATUS_FAILED;
    if (info.processes > 0 && !options->force) {
        complain(
            "%zu process%s the segment '%s' open; -f removes it all the same, and they keep what they have",
            info.processes, plural(info.processes, " has", "es have"), info.name);
        return STATUS_FAILED;
    }
    struct shmcore_traits traits = segments_traits(&info);
    if (shmcore_remove(info.name, &traits) == 0)
        return STATUS_DONE;
    complain("cannot remove the segment '%s': %s", info.name, shmcore_error());
    return STATUS_FAILED;
}

static void print_collected(const struct shmcore_collected *collected)
{
    char size[DISPLAY_SIZE_MAX];
    if (collected->segments == 0 && collected->processes == 0) {
        puts("nothing was left behind");
        return;
    }
    printf("removed %zu segment%s (%s), and %zu dead process%s from segments that live on\n",
           collected->segments, plural(collected->segments, "", "s"),
           display_size(collected->bytes, false, size), collected->processes,
           plural(collected->processes, "", "es"));
}

static void print_collected_json(const struct shmcore_collected *collected)
{
    struct json_object *object = json_new_object();
    json_put_number(object, "segments", collected->segments);
    json_put_number(object, "processes", collected->processes);
    json_put_number(object, "bytes", collected->bytes);
    json_finish(object);
}

static int perform_gc(const struct options *options)
{
    struct shmcore_collected collected = {0};
    if (shmcore_collect(options->dir, &collected) < 0) {
        complain("cannot collect: %s", shmcore_error());
        return STATUS_FAILED;
    }
    if (options->json)
        print_collected_json(&collected);
    else
        print_collected(&collected);
    return STATUS_DONE;
}

const struct command command_rm = {
    .name = "rm",
    .summary = "remove a segment",
    .help = "Usage: shmpreload rm [OPTION]… SEGMENT\n"
            "Removes SEGMENT without asking. A segment that living processes have open is refused.\n"
            "\n"
            "  -f, --force         remove it even so: the name is free, the processes keep the memory\n"
            "      --dir DIR       where the segments lie (default /dev/shm)\n"
            "      --job JOB       the job that the segment belongs to; '' for none\n"
            "  -h, --help          this text\n",
    .accepts = "fDJ",
    .operands_least = 1,
    .operands_most = 1,
    .perform = perform_rm,
};

const struct command command_gc = {
    .name = "gc",
    .summary = "give back what dead processes left",
    .help = "Usage: shmpreload gc [OPTION]…\n"
            "Removes this user's segments (as root: all users') that no living process has open, and what\n"
            "dead processes held in the others. Persistent segments are kept. Made for a batch epilogue.\n"
            "\n"
            "      --json          what was done as a JSON object: segments, processes, bytes\n"
            "      --dir DIR       where the segments lie (default /dev/shm)\n"
            "  -h, --help          this text\n",
    .accepts = "ND",
    .perform = perform_gc,
};

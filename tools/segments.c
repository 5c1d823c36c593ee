/* SPDX-License-Identifier: MIT
 *
 * The environment's job is asked of the library, by opening with its defaults and looking at what
 * was opened: which variables name a job is the library's knowledge and not repeated here.
 *
 * The library opens segments of the calling user only, so those of others, which root sees listed,
 * are candidates for nothing here.
 */
#include "segments.h"

#include "table.h"

#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct collection {
    const struct options *options;
    const char *name;
    bool of_domains; /* NAME@socket0 and the like, in place of NAME */
    struct segment_list *list;
};

static bool is_of_domain(const char *segment, const char *name)
{
    const size_t length = strlen(name);
    return strncmp(segment, name, length) == 0 &&
           (strncmp(segment + length, "@socket", 7) == 0 || strncmp(segment + length, "@numa", 5) == 0);
}

static bool is_named(const struct collection *collection, const char *segment)
{
    if (collection->of_domains)
        return is_of_domain(segment, collection->name);
    return !collection->name || strcmp(segment, collection->name) == 0;
}

static int collect(const shmcore_segment_info *info, void *argument)
{
    struct collection *collection = argument;
    struct segment_list *list = collection->list;
    if (!is_named(collection, info->name))
        return 0;
    if (collection->options->job && strcmp(info->job, collection->options->job) != 0)
        return 0;
    list->items = room_for_one(list->items, list->count, sizeof *list->items);
    list->items[list->count++] = *info;
    return 0;
}

static int collect_all(struct collection *collection)
{
    *collection->list = (struct segment_list){0};
    if (shmcore_for_each_segment(collection->options->dir, collect, collection) == 0)
        return 0;
    complain("cannot list the segments: %s", shmcore_error());
    free(collection->list->items);
    return -1;
}

int segments_list(const struct options *options, const char *name, struct segment_list *list)
{
    struct collection collection = {.options = options, .name = name, .list = list};
    return collect_all(&collection);
}

char *segments_user(uid_t uid)
{
    const struct passwd *entry = getpwuid(uid);
    return entry ? formatted("%s", entry->pw_name) : formatted("%ju", (uintmax_t)uid);
}

struct shmcore_traits segments_traits(const struct shmcore_segment_info *info)
{
    struct shmcore_traits traits = shmcore_default_traits();
    traits.read_only = true;
    traits.dir = info->dir;
    traits.job = info->job;
    return traits;
}

static void list_candidates(const struct segment_list *list)
{
    static const char *const headings[] = {"NAME", "JOB", ">UID", "PATH", NULL};
    struct table table;
    table_start(&table, headings);
    for (size_t i = 0; i < list->count; i++) {
        table_text(&table, list->items[i].name);
        table_text(&table, list->items[i].job);
        table_number(&table, list->items[i].uid);
        table_text(&table, list->items[i].path);
    }
    table_finish(&table, stderr, 0);
}

/* Keeps the items for which `wanted` holds, unless that would leave none. */
static void prefer(struct segment_list *list,
                   bool (*wanted)(const struct shmcore_segment_info *, const char *), const char *argument)
{
    size_t kept = 0;
    for (size_t i = 0; i < list->count; i++)
        kept += wanted(&list->items[i], argument);
    if (kept == 0)
        return;
    kept = 0;
    for (size_t i = 0; i < list->count; i++)
        if (wanted(&list->items[i], argument))
            list->items[kept++] = list->items[i];
    list->count = kept;
}

static bool is_live(const struct shmcore_segment_info *info, const char *unused)
{
    (void)unused;
    return info->processes > 0;
}

static bool has_job(const struct shmcore_segment_info *info, const char *job)
{
    return strcmp(info->job, job) == 0;
}

/* Settles on the segment of the job that the environment names, if it names one and has such a segment. */
static void prefer_own_job(const struct options *options, const char *name, struct segment_list *list)
{
    struct shmcore_traits traits = shmcore_default_traits();
    traits.read_only = true;
    traits.dir = options->dir;
    shmcore_segment *segment = shmcore_open(name, &traits);
    if (!segment)
        return;
    const char *job = shmcore_get_traits(segment).job;
    if (job && *job)
        prefer(list, has_job, job);
    shmcore_close(segment);
}

/* Of a rule with scope=socket or numa there is a segment for each domain, none for the node. */
static bool say_domains(const char *name, const struct options *options)
{
    struct segment_list list;
    struct collection collection = {.options = options, .name = name, .of_domains = true, .list = &list};
    if (collect_all(&collection) < 0)
        return true;
    if (list.count > 0) {
        complain("there is no segment '%s', but there are such of single sockets or NUMA domains; choose one",
                 name);
        list_candidates(&list);
    }
    free(list.items);
    return list.count > 0;
}

static int say_none(const char *name, const struct options *options, const struct segment_list *others)
{
    if (others->count > 0) {
        char *user = segments_user(others->items[0].uid);
        complain("the segment '%s' belongs to user %s, and only that user can open it", name, user);
        free(user);
    } else if (say_domains(name, options)) {
        return -1;
    } else if (options->job) {
        complain("there is no segment '%s' of job '%s'", name, options->job);
    } else {
        complain("there is no segment '%s'; `shmpreload ls` lists those there are", name);
    }
    return -1;
}

static bool is_ours(const struct shmcore_segment_info *info, const char *unused)
{
    (void)unused;
    return info->uid == geteuid();
}

static int choose(const struct options *options, const char *name, struct segment_list *list)
{
    prefer(list, is_ours, NULL);
    if (list->count == 0 || !is_ours(&list->items[0], NULL))
        return say_none(name, options, list);
    if (list->count > 1)
        prefer_own_job(options, name, list);
    if (list->count > 1)
        prefer(list, is_live, NULL);
    if (list->count > 1) {
        complain("%zu segments are called '%s'; choose one with --job", list->count, name);
        list_candidates(list);
        return -1;
    }
    return 0;
}

int segments_choose(const struct options *options, const char *name, struct shmcore_segment_info *info)
{
    struct segment_list list;
    if (segments_list(options, name, &list) < 0)
        return -1;
    int result = choose(options, name, &list);
    if (result == 0)
        *info = list.items[0];
    free(list.items);
    return result;
}

shmcore_segment *segments_view(const struct options *options, const char *name)
{
    struct shmcore_segment_info info;
    if (segments_choose(options, name, &info) < 0)
        return NULL;
    struct shmcore_traits traits = segments_traits(&info);
    shmcore_segment *segment = shmcore_open(info.name, &traits);
    if (!segment)
        complain("cannot open the segment '%s': %s", name, shmcore_error());
    return segment;
}

/* SPDX-License-Identifier: MIT
 *
 * Segments as files: listing them, removing them, and clearing away what dead processes left.
 *
 * A segment is judged by its process table, read through a mapping of its own like any viewer's. Whether a
 * file may go is decided under the file's lock, the same that openers take, so a segment that somebody is
 * about to join is never pulled away from under him.
 */
#include <errno.h>
#include <string.h>

#include "handle.h"
#include "merge_index.h"
#include "os.h"
#include "promise.h"
#include "registry.h"
#include "scope.h"

static const char *directory_or_default(const char *directory)
{
    return directory != NULL ? directory : "/dev/shm";
}

/* ---------------------------------------------------------------- listing */

struct listing {
    const char *directory;
    int (*visit)(const shmcore_segment_info *info, void *argument);
    void *argument;
    int answer; /* the visitor's: it may be negative, which for os_list() would be an error */
};

static bool open_for_reading(struct segment *segment, const char *directory, uid_t uid, const char *job,
                             const char *name)
{
    const struct segment_request request = {
        .name = name, .directory = directory, .job = job, .read_only = true, .uid = uid};
    return segment_open(segment, &request, NULL, NULL) == 0;
}

static size_t living(const struct segment *segment)
{
    const struct view *view = &segment->view;
    const uint32_t used = process_rows_used(view);
    struct promises promises;
    size_t count = 0;
    promises_examine(&promises, view, segment->device, segment->inode);
    for (uint32_t row = 0; row < used; row++) {
        const enum row_state state = process_state(view, row);
        const bool counts = state == ROW_ALIVE || state == ROW_EXITING ||
                            (state == ROW_FORKING && !promise_is_broken(&promises, view, row));
        count += counts && !process_is_dead(view, row, segment->device, segment->inode);
    }
    return count;
}

static bool describe(shmcore_segment_info *info, const char *directory, const char *file_name)
{
    struct os_file file;
    struct segment segment;
    memset(info, 0, sizeof *info);
    if (!segment_parse_file_name(file_name, &info->uid, info->job, info->name) ||
        (os_user() != 0 && os_user() != info->uid))
        return false;
    error_format(info->dir, sizeof info->dir, "%s", directory);
    error_format(info->path, sizeof info->path, "%s/%s", directory, file_name);
    if (os_stat_path(info->path, &file) != 0)
        return false;
    info->capacity = file.bytes;
    info->reserved = file.blocks;
    if (open_for_reading(&segment, directory, info->uid, info->job, info->name)) {
        info->usable = true;
        info->persist = segment.view.header->persist != 0;
        info->processes = living(&segment);
        segment_unmap(&segment);
    }
    return true;
}

static int list_one(const char *file_name, void *argument)
{
    struct listing *listing = argument;
    shmcore_segment_info info;
    if (describe(&info, listing->directory, file_name))
        listing->answer = listing->visit(&info, listing->argument);
    return listing->answer != 0;
}

int shmcore_for_each_segment(const char *dir, int (*visit)(const shmcore_segment_info *info, void *argument),
                             void *argument)
{
    struct listing listing = {.directory = directory_or_default(dir), .visit = visit, .argument = argument};
    if (visit == NULL)
        return error_set(EINVAL, "shmcore_for_each_segment() needs a function to call");
    const int result = os_list(listing.directory, list_one, &listing);
    if (result >= 0)
        return listing.answer;
    return error_set(-result, "cannot list %s: %s", listing.directory, error_words(-result));
}

/* ---------------------------------------------------------------- removing */

int shmcore_remove(const char *name, const shmcore_traits *traits)
{
    const shmcore_traits defaults = shmcore_default_traits();
    char job[64], path[512], whole[SEGMENT_NAME_BYTES];
    struct os_file file;
    if (traits == NULL)
        traits = &defaults;
    if (segment_check_name(name) != 0 || scope_name(whole, name, traits->scope) != 0)
        return -1;
    if (traits->job != NULL)
        segment_set_job(job, traits->job);
    else if (segment_find_job(job) != 0)
        return -1;
    segment_path(path, directory_or_default(traits->dir), os_user(), job, whole);
    int error = os_stat_path(path, &file);
    if (error == 0)
        error = os_unlink(path);
    if (error == -ENOENT)
        return error_set(ENOENT, "there is no segment '%s' (%s)", whole, path);
    if (error != 0)
        return error_set(-error, "cannot remove %s: %s", path, error_words(-error));
    registry_tidy(false);
    return 0;
}

/* ---------------------------------------------------------------- collecting */

struct collecting {
    const char *directory;
    shmcore_collected *out;
};

struct verdict {
    shmcore_collected *out;
    bool keep;
};

static bool nobody_at_all(struct segment *segment, void *argument)
{
    struct verdict *verdict = argument;
    if (verdict->keep || living(segment) > 0)
        return false;
    struct os_file file;
    if (os_stat_path(segment->path, &file) == 0)
        verdict->out->bytes += file.blocks;
    verdict->out->segments++;
    merge_index_remove_files(segment);
    return true;
}

/* A file that never became a segment, or is damaged: nobody can use it, and openers hold its lock while they
 * make it. Under that lock, whoever made it is gone. */
static void remove_unborn(const char *path, uid_t uid, shmcore_collected *out)
{
    struct os_file file, named;
    struct header header;
    const int descriptor = os_open_file(path, OS_WRITE);
    if (descriptor < 0)
        return;
    if (os_lock_file(descriptor, 0) == 0 && os_stat_file(descriptor, &file) == 0 && file.regular &&
        file.uid == uid && os_stat_path(path, &named) == 0 && named.inode == file.inode) {
        const int64_t got = os_read_at(descriptor, &header, sizeof header, 0);
        const bool unborn = got == 0 || (got == sizeof header && header.ready == 0 &&
                                         (header.magic == 0 || header.magic == LAYOUT_MAGIC));
        if (unborn && os_unlink(path) == 0) {
            out->segments++;
            out->bytes += file.blocks;
        }
        os_unlock_file(descriptor);
    }
    os_close(descriptor);
}

static size_t count_dead(const struct segment *segment)
{
    const struct view *view = &segment->view;
    struct promises promises;
    size_t count = 0;
    promises_examine(&promises, view, segment->device, segment->inode);
    for (uint32_t row = 0; row < process_rows_used(view); row++)
        count += promise_is_broken(&promises, view, row) ||
                 (process_state(view, row) != ROW_FREE &&
                  process_is_dead(view, row, segment->device, segment->inode));
    return count;
}

/* Rows of the dead in a segment that lives are reaped by joining it for a moment, which its owner alone can
 * do. `dead`: how many there are; joining reaps some of them by itself. */
static void reap_in(const struct segment *where, bool persist, size_t dead, shmcore_collected *out)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.dir = where->directory;
    traits.job = where->job;
    traits.persist = persist;
    shmcore_segment *segment = segment_join(where->name, &traits); /* it may be gone by now */
    if (segment == NULL)
        return;
    reap_some(segment, ROWS_MOST);
    const size_t left = count_dead(&segment->file);
    out->processes += dead > left ? dead - left : 0;
    shmcore_close(segment);
}

static int collect_one(const char *file_name, void *argument)
{
    const struct collecting *collecting = argument;
    shmcore_segment_info info;
    struct segment segment;
    if (!describe(&info, collecting->directory, file_name))
        return 0;
    if (!info.usable) {
        remove_unborn(info.path, info.uid, collecting->out);
        return 0;
    }
    if (!open_for_reading(&segment, collecting->directory, info.uid, info.job, info.name))
        return 0;
    /* of another pid namespace nothing can be told */
    const bool foreign = segment.view.header->pid_namespace != os_pid_namespace();
    const bool persist = segment.view.header->persist != 0;
    const size_t dead = foreign ? 0 : count_dead(&segment);
    struct verdict verdict = {.out = collecting->out, .keep = foreign || persist};
    const bool empty = living(&segment) == 0 && !verdict.keep;
    if (empty)
        segment_leave(&segment, nobody_at_all, &verdict);
    segment_unmap(&segment);
    if (!empty && dead > 0 && info.uid == os_user())
        reap_in(&segment, persist, dead, collecting->out);
    return 0;
}

static bool nobody_alive(struct segment *segment, void *argument)
{
    (void)argument;
    return nobody_else_lives(&segment->view, ROW_NONE, segment->device, segment->inode);
}

/* Stops at the first living process of a segment: this runs whenever a program makes one. */
static int remove_abandoned(const char *file_name, void *argument)
{
    const char *directory = argument;
    struct segment segment;
    char job[64], name[96];
    uid_t uid;
    if (!segment_parse_file_name(file_name, &uid, job, name) || uid != os_user() ||
        !open_for_reading(&segment, directory, uid, job, name))
        return 0;
    const struct header *header = segment.view.header;
    if (header->persist == 0 && header->pid_namespace == os_pid_namespace() && nobody_alive(&segment, NULL))
        segment_leave(&segment, nobody_alive, NULL);
    segment_unmap(&segment);
    return 0;
}

void collect_abandoned(const char *directory)
{
    char path[256];
    error_format(path, sizeof path, "%s", directory);
    os_list(path, remove_abandoned, path);
    merge_index_collect(path, os_user());
}

int shmcore_collect(const char *dir, shmcore_collected *out)
{
    shmcore_collected unwanted;
    struct collecting collecting = {.directory = directory_or_default(dir),
                                    .out = out != NULL ? out : &unwanted};
    *collecting.out = (shmcore_collected){0};
    const int result = os_list(collecting.directory, collect_one, &collecting);
    if (result < 0)
        return error_set(-result, "cannot list %s: %s", collecting.directory, error_words(-result));
    collecting.out->bytes += merge_index_collect(collecting.directory, os_user());
    registry_tidy(true);
    return 0;
}

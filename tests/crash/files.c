/* SPDX-License-Identifier: MIT */
#include "files.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "hooks.h"
#include "scenes.h"

static char sentence[640];

#define SAY(...) (snprintf(sentence, sizeof sentence, __VA_ARGS__), sentence)

#define ISLAND "/dev/shm"

static bool is_segment(const char *name)
{
    return strstr(name, "SHARED") != NULL;
}

/* ---------------------------------------------------------------- the directories */

/* Calls `each` with the name of every file; false from it ends the walk. */
static const char *for_each_file(const char *directory, const char *(*each)(const char *name, void *argument),
                                 void *argument)
{
    DIR *open_directory = opendir(directory);
    const char *wrong = open_directory == NULL ? "an island cannot be looked at" : NULL;
    for (struct dirent *entry; wrong == NULL && (entry = readdir(open_directory)) != NULL;)
        if (entry->d_name[0] != '.')
            wrong = each(entry->d_name, argument);
    if (open_directory != NULL)
        closedir(open_directory);
    return wrong;
}

static const char *remove_one(const char *name, void *argument)
{
    char path[512];
    (void)argument;
    snprintf(path, sizeof path, ISLAND "/%s", name);
    return unlink(path) == 0 ? NULL : SAY("%s cannot be removed", path);
}

static const char *name_one(const char *name, void *argument)
{
    (void)argument;
    return SAY("%s is left when all have gone", name);
}

/* ---------------------------------------------------------------- copying */

const unsigned char *files_map(pid_t victim, uint64_t bytes)
{
    char directory[64], path[512];
    const unsigned char *memory = NULL;
    snprintf(directory, sizeof directory, "/proc/%d/root" ISLAND, (int)victim);
    DIR *open_directory = opendir(directory);
    for (struct dirent *entry; open_directory != NULL && (entry = readdir(open_directory)) != NULL;) {
        struct stat status;
        if (!is_segment(entry->d_name))
            continue;
        snprintf(path, sizeof path, "%s/%s", directory, entry->d_name);
        const int descriptor = open(path, O_RDWR | O_CLOEXEC);
        if (descriptor >= 0 && fstat(descriptor, &status) == 0 && (uint64_t)status.st_size == bytes) {
            void *mapped = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
            memory = mapped != MAP_FAILED ? mapped : NULL;
        }
        if (descriptor >= 0)
            close(descriptor);
    }
    if (open_directory != NULL)
        closedir(open_directory);
    return memory;
}

struct copying {
    const struct stepper *stepper;
    uint64_t old_inode, new_inode; /* of the segment's file */
    bool segments;                 /* this time around: the segment, or what is not one */
};

static bool copy_data(int from, int to, uint64_t bytes)
{
    static unsigned char buffer[65536];
    for (off_t at = 0; (at = lseek(from, at, SEEK_DATA)) >= 0 && (uint64_t)at < bytes;) {
        const ssize_t got = pread(from, buffer, sizeof buffer, at);
        if (got <= 0 || pwrite(to, buffer, (size_t)got, at) != got)
            return false;
        at += got;
    }
    return true;
}

/* The registry knows files by their inodes, and the copy has another. */
static void translate_inodes(int descriptor, uint64_t bytes, const struct copying *copying)
{
    uint64_t *words = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (words == MAP_FAILED)
        abort();
    for (uint64_t i = 0; i < bytes / sizeof *words; i++)
        if (words[i] == copying->old_inode)
            words[i] = copying->new_inode;
    munmap(words, bytes);
}

static void let_locks_die(int descriptor, uint64_t bytes, const struct stepper *stepper)
{
    if (stepper->bytes != bytes)
        return;
    void *memory = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, descriptor, 0);
    if (memory == MAP_FAILED)
        abort();
    trial_locks_die(memory, bytes, stepper);
    munmap(memory, bytes);
}

static const char *copy_one(const char *name, void *argument)
{
    struct copying *copying = argument;
    char from_path[512], to_path[512];
    struct stat from_status, to_status;
    if (is_segment(name) != copying->segments)
        return NULL;
    snprintf(from_path, sizeof from_path, "/proc/%d/root" ISLAND "/%s", (int)copying->stepper->pid, name);
    snprintf(to_path, sizeof to_path, ISLAND "/%s", name);
    const int from = open(from_path, O_RDONLY | O_CLOEXEC);
    const int to = open(to_path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (from < 0 || to < 0 || fstat(from, &from_status) != 0 || fstat(to, &to_status) != 0 ||
        ftruncate(to, from_status.st_size) != 0 || !copy_data(from, to, (uint64_t)from_status.st_size))
        return SAY("%s cannot be copied", name);
    if (copying->segments) {
        copying->old_inode = from_status.st_ino;
        copying->new_inode = to_status.st_ino;
        if (from_status.st_size > 0)
            let_locks_die(to, (uint64_t)from_status.st_size, copying->stepper);
    } else if (from_status.st_size > 0) {
        translate_inodes(to, (uint64_t)from_status.st_size, copying);
    }
    close(from);
    close(to);
    return NULL;
}

const char *files_copy(const struct stepper *stepper)
{
    char directory[64];
    struct copying copying = {.stepper = stepper, .segments = true};
    snprintf(directory, sizeof directory, "/proc/%d/root" ISLAND, (int)stepper->pid);
    const char *wrong = for_each_file(ISLAND, remove_one, NULL);
    if (wrong == NULL)
        wrong = for_each_file(directory, copy_one, &copying);
    copying.segments = false;
    return wrong != NULL ? wrong : for_each_file(directory, copy_one, &copying);
}

/* ---------------------------------------------------------------- the newcomer */

static const char *use_segment(shmcore_segment *segment)
{
    const struct view *view = &segment->file.view;
    struct expectation expected = {.living = {segment->row}, .living_count = 1};
    struct trial trial;
    const char *wrong = "there is no memory for the trial";
    reap_some(segment, ROWS_MOST);
    if (!trial_begin(&trial, segment, &expected))
        return wrong;
    wrong = trial_of_segment(&trial, TRIAL_DEAD_FIRST);
    if (wrong == NULL && expected.sum != 0)
        wrong = "blocks are left that nobody holds";
    if (wrong == NULL && expected.actual != (size_t)view->table_regions << view->region_shift)
        wrong = "more than the tables is in use";
    trial_end(&trial);
    return wrong;
}

const char *files_verdict(int32_t dead)
{
    const char *wrong;
    hooks = (struct hooks){.dead = dead, .impatient = true};
    shmcore_traits traits = shmcore_default_traits();
    traits.job = "crash";
    traits.size = MEBI;
    shmcore_segment *segment = shmcore_open(SCENE_SEGMENT, &traits);
    if (segment == NULL) {
        wrong = SAY("the segment cannot be opened: %s", shmcore_error());
    } else {
        hooks.dead = dead;
        wrong = use_segment(segment);
        hooks.dead = dead;
        if (shmcore_close(segment) != 0 && wrong == NULL)
            wrong = SAY("the segment cannot be closed: %s", shmcore_error());
    }
    hooks = (struct hooks){.dead = 0};
    return wrong != NULL ? wrong : for_each_file(ISLAND, name_one, NULL);
}

/* SPDX-License-Identifier: MIT */
#include "operations.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "export.h"
#include "forked.h"
#include "handle.h"
#include "os.h"
#include "reference.h"
#include "world.h"

#define KEPT 16u

struct run {
    const struct script *script;
    const struct base *base;
    const char *directory;
    shmcore_segment *reader, *writer;
    void *kept[KEPT]; /* blocks got from the writer */
    unsigned next;
    struct export_source source;
    shmcore_segment *seen; /* whose blocks are being visited */
    uint64_t visited;
};

/* ---------------------------------------------------------------- what an answer must be */

static void check(bool good, const char *what)
{
    if (!good)
        world_complain(what);
}

static void check_place(const shmcore_segment *segment, const void *pointer, uint64_t bytes)
{
    const struct view *view = &segment->file.view;
    const uint64_t offset = (uint64_t)((const unsigned char *)pointer - view->base);
    check(offset < view->capacity, "a block outside the segment");
    check(bytes <= view->capacity - offset, "a block that ends outside the segment");
    check(offset >> view->region_shift >= view->table_regions, "a block over the tables");
}

static void check_name(const char *name, size_t room)
{
    check(memchr(name, '\0', room) != NULL, "a name without an end");
    check(name[0] != '\0', "a block without a name");
}

static void check_error(void)
{
    const char *sentence = shmcore_error();
    check(sentence[0] != '\0', "a failure without a sentence");
    check(strchr(sentence, '\n') == NULL, "an error of several lines");
    check(errno > 0, "a failure without an errno");
}

/* ---------------------------------------------------------------- reading */

static int see_block(const shmcore_block *block, void *argument)
{
    struct run *run = argument;
    check_place(run->seen, block->address, block->bytes);
    check_name(block->name, sizeof block->name);
    check(strcmp(block->segment, BASE_SEGMENT) == 0, "a block of another segment");
    check(++run->visited <= run->seen->file.view.capacity / 16, "more blocks than there is room for");
    return 0;
}

static int see_segment(const shmcore_segment_info *info, void *argument)
{
    struct run *run = argument;
    check_name(info->name, sizeof info->name);
    check(memchr(info->path, '\0', sizeof info->path) != NULL, "a path without an end");
    check(info->processes <= ROWS_MOST, "more processes than rows");
    run->visited++;
    return 0;
}

static void read_blocks(struct run *run, shmcore_segment *segment)
{
    run->visited = 0;
    run->seen = segment;
    check(shmcore_for_each(segment, see_block, run) == 0, "for_each failed");
}

static void read_names(struct run *run, shmcore_segment *segment)
{
    (void)run;
    for (size_t i = 0; i < base_name_count; i++) {
        size_t bytes = 0;
        const void *pointer = shmcore_find(segment, base_names[i].name, &bytes);
        if (pointer != NULL)
            check_place(segment, pointer, bytes);
        else
            check_error();
    }
}

static void look_at(const shmcore_segment *segment, uint64_t offset)
{
    shmcore_block block;
    if (offset >= segment->file.view.capacity)
        return;
    if (shmcore_block_of(segment->file.view.base + offset, &block) != 0)
        return check_error();
    check_place(segment, block.address, block.bytes);
    check_name(block.name, sizeof block.name);
}

static void read_places(struct run *run, shmcore_segment *segment)
{
    const uint64_t capacity = segment->file.view.capacity;
    for (unsigned i = 0; i < run->base->places[PLACE_BLOCK] && i < 24; i++) {
        look_at(segment, base_place(run->base, PLACE_BLOCK, i).offset);
        look_at(segment, base_place(run->base, PLACE_BLOCK, i).offset + 17);
    }
    for (uint64_t i = 0; i < 8; i++)
        look_at(segment, capacity / 8 * i + 40000);
    look_at(segment, 0);
    look_at(segment, capacity - 1);
}

static void read_facts(struct run *run, shmcore_segment *segment)
{
    shmcore_statistics statistics;
    (void)run;
    check(shmcore_stat(segment, &statistics) == 0, "stat failed");
    check(statistics.capacity == segment->file.view.capacity, "a false capacity");
    check(statistics.reserved <= statistics.capacity, "more memory than capacity");
    const shmcore_traits traits = shmcore_get_traits(segment);
    check(traits.job != NULL && traits.dir != NULL, "traits without strings");
}

static void read_all(struct run *run, shmcore_segment *segment)
{
    read_blocks(run, segment);
    read_names(run, segment);
    read_places(run, segment);
    read_facts(run, segment);
}

/* ---------------------------------------------------------------- opening and closing */

static shmcore_segment *open_it(const struct run *run, bool read_only, bool persist)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.dir = run->directory;
    traits.job = BASE_JOB;
    traits.read_only = read_only;
    traits.persist = persist;
    shmcore_segment *segment = shmcore_open(BASE_SEGMENT, &traits);
    if (segment == NULL)
        check_error();
    return segment;
}

static void close_it(struct run *run, shmcore_segment **segment)
{
    if (segment == &run->writer) {
        memset(run->kept, 0, sizeof run->kept);
        run->source = (struct export_source){0};
    }
    shmcore_close(*segment);
    *segment = NULL;
}

/* ---------------------------------------------------------------- writing */

static void keep(struct run *run, void *pointer, size_t bytes)
{
    if (pointer == NULL)
        return check_error();
    check_place(run->writer, pointer, bytes);
    memset(pointer, 0xa5, bytes);
    run->kept[run->next++ % KEPT] = pointer;
}

static void allocate(struct run *run, uint8_t with)
{
    const struct base_name *wanted = &base_names[with % base_name_count];
    keep(run, shmcore_allocate(run->writer, wanted->name, wanted->bytes), wanted->bytes);
}

static void deallocate(struct run *run, uint8_t with)
{
    void **kept = &run->kept[with % KEPT];
    const struct view *view = &run->writer->file.view;
    if (with >= 128) { /* a block that somebody else made, perhaps in a past life */
        const struct place place = base_place(run->base, PLACE_BLOCK, with);
        if (place.offset < view->capacity && shmcore_deallocate(run->writer, view->base + place.offset) != 0)
            check_error();
    } else if (*kept != NULL) {
        if (shmcore_deallocate(run->writer, *kept) != 0 && export_free(run->writer, *kept) != EXPORT_DONE)
            check_error();
        *kept = NULL;
    }
}

static void export(struct run *run, uint8_t with)
{
    static const size_t sizes[] = {10, 100, 700, 5000, 20000, 33000, 90000, 300000};
    const size_t bytes = sizes[with % 8];
    if (run->source.label == 0 && !export_label(run->writer, "fuzz/\x01 \x02", 8, 5, &run->source.label))
        return;
    const unsigned flags = with >> 3 & (EXPORT_ZERO | EXPORT_TOUCH);
    keep(run, export_allocate(run->writer, &run->source, with, bytes, (size_t)16 << (with >> 5), flags),
         bytes);
}

static void export_release(struct run *run, uint8_t with)
{
    const struct view *view = &run->writer->file.view;
    const struct place place = base_place(run->base, PLACE_BLOCK, with);
    void **kept = &run->kept[with % KEPT];
    if (*kept != NULL) {
        export_resize(run->writer, *kept, export_usable(run->writer, *kept) / 2 + with);
        export_free(run->writer, *kept);
        *kept = NULL;
    }
    if (place.offset < view->capacity)
        export_free(run->writer, view->base + place.offset);
    if (with % 16 == 15)
        export_retire(run->writer, &run->source);
}

/* The fork handlers as parent and child would call them, in one process: the "child" is somebody new. */
static void fork_it(struct run *run, uint8_t with)
{
    forked_prepare();
    if (with % 2 == 0)
        return forked_parent();
    if (run->writer->self.pid == world.self)
        world.self = WORLD_FRIEND;
    run->source = (struct export_source){0};
    forked_child();
}

static void collect(const struct run *run)
{
    shmcore_collected collected;
    if (shmcore_collect(run->directory, &collected) != 0)
        check_error();
}

static void remove_it(const struct run *run)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.dir = run->directory;
    traits.job = BASE_JOB;
    if (shmcore_remove(BASE_SEGMENT, &traits) != 0)
        check_error();
}

/* A stray write while the segment is open. */
static void damage_it(const struct run *run, uint8_t with)
{
    char path[512];
    segment_path(path, run->directory, os_user(), BASE_JOB, BASE_SEGMENT);
    const int descriptor = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (descriptor < 0)
        return;
    script_damage_later(run->script, descriptor, with);
    close(descriptor);
}

/* Things that are called like segments and are none. */
static void litter_path(char out[512], const char *directory, uint8_t with)
{
    static const char *const names[] = {"SHARED::litter", "SHARED\n\x1b[2J", "SHARED.a.b.c", "sharedless"};
    segment_path(out, directory, os_user(), with % 2 == 0 ? "fuzz" : "", names[with / 2 % 4]);
}

static void litter(const char *directory, uint8_t with)
{
    char path[512];
    litter_path(path, directory, with);
    int descriptor = -1;
    switch (with / 8 % 6) {
    case 0:
        mkfifo(path, 0600);
        break;
    case 1:
        mkdir(path, 0700);
        break;
    case 2:
        check(symlink(path, path) == 0 || errno == EEXIST, "no link");
        break;
    default: /* too short for a header, without any mark, or with somebody else's permissions */
        descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK,
                          with / 8 % 6 == 5 ? 0666 : 0600);
        if (descriptor >= 0)
            check(ftruncate(descriptor, with < 128 ? 100 : 1 << 20) == 0 || errno == EINVAL, "no file");
    }
    if (descriptor >= 0)
        close(descriptor);
}

static void sweep(const char *directory)
{
    char path[512];
    for (uint8_t with = 0; with < 8; with++) {
        litter_path(path, directory, with);
        if (unlink(path) != 0 && errno == EISDIR)
            rmdir(path);
    }
}

/* ---------------------------------------------------------------- the script */

enum operation_kind {
    OPERATE_OPEN = 1,
    OPERATE_CLOSE,
    OPERATE_READ_BLOCKS,
    OPERATE_READ_NAMES,
    OPERATE_READ_PLACES,
    OPERATE_READ_FACTS,
    OPERATE_LIST,
    OPERATE_ALLOCATE,
    OPERATE_DEALLOCATE,
    OPERATE_EXPORT,
    OPERATE_EXPORT_RELEASE,
    OPERATE_REAP,
    OPERATE_COLLECT,
    OPERATE_REMOVE,
    OPERATE_FORK,
    OPERATE_FULL,
    OPERATE_LATER,
    OPERATE_DAMAGE,
    OPERATE_LITTER,
    OPERATIONS
};

static bool is_member(const struct run *run)
{
    return run->writer != NULL && export_is_member(run->writer);
}

static void operate_outside(struct run *run, unsigned what, uint8_t with)
{
    if (what == OPERATE_OPEN && (with & 1) == 0 && run->reader == NULL)
        run->reader = open_it(run, true, false);
    else if (what == OPERATE_OPEN && (with & 1) != 0 && run->writer == NULL)
        run->writer = open_it(run, false, (with & 2) != 0);
    else if (what == OPERATE_CLOSE)
        close_it(run, (with & 1) == 0 ? &run->reader : &run->writer);
    else if (what == OPERATE_LIST)
        check(shmcore_for_each_segment(run->directory, see_segment, run) == 0, "for_each_segment failed");
    else if (what == OPERATE_COLLECT)
        collect(run);
    else if (what == OPERATE_REMOVE)
        remove_it(run);
    else if (what == OPERATE_FULL)
        world.full = with % 2 != 0;
    else if (what == OPERATE_LATER)
        world.clock += UINT64_C(40000000000);
    else if (what == OPERATE_DAMAGE)
        damage_it(run, with);
    else if (what == OPERATE_LITTER)
        litter(run->directory, with);
}

static void operate_reading(struct run *run, unsigned what, uint8_t with)
{
    shmcore_segment *segment = run->writer != NULL && (with & 1) != 0 ? run->writer : run->reader;
    if (segment == NULL)
        return;
    if (what == OPERATE_READ_BLOCKS)
        read_blocks(run, segment);
    else if (what == OPERATE_READ_NAMES)
        read_names(run, segment);
    else if (what == OPERATE_READ_PLACES)
        read_places(run, segment);
    else if (what == OPERATE_READ_FACTS)
        read_facts(run, segment);
}

static void operate_writing(struct run *run, unsigned what, uint8_t with)
{
    if (!is_member(run))
        return;
    if (what == OPERATE_ALLOCATE)
        allocate(run, with);
    else if (what == OPERATE_DEALLOCATE)
        deallocate(run, with);
    else if (what == OPERATE_EXPORT)
        export(run, with);
    else if (what == OPERATE_EXPORT_RELEASE)
        export_release(run, with);
    else if (what == OPERATE_REAP)
        reap_some(run->writer, ROWS_MOST);
    else if (what == OPERATE_FORK)
        fork_it(run, with);
}

/* The longest that is meant to be waited for anything is for the creator of a block: half a minute. */
static void operate(struct run *run, struct operation operation)
{
    const unsigned what = operation.what % OPERATIONS;
    world_allow(100);
    operate_outside(run, what, operation.with);
    operate_reading(run, what, operation.with);
    operate_writing(run, what, operation.with);
}

/* What every file should survive, readers first. */
static void operate_as_usual(struct run *run)
{
    static const struct operation first[] = {{OPERATE_LIST, 0}, {OPERATE_OPEN, 0}};
    static const struct operation then[] = {
        {OPERATE_CLOSE, 0},          {OPERATE_OPEN, 1},     {OPERATE_ALLOCATE, 0},
        {OPERATE_ALLOCATE, 2},       {OPERATE_ALLOCATE, 4}, {OPERATE_ALLOCATE, 8},
        {OPERATE_EXPORT, 1},         {OPERATE_EXPORT, 5},   {OPERATE_EXPORT, 22},
        {OPERATE_ALLOCATE, 9},       {OPERATE_DAMAGE, 255}, {OPERATE_DEALLOCATE, 0},
        {OPERATE_DEALLOCATE, 3},     {OPERATE_EXPORT, 2},   {OPERATE_EXPORT_RELEASE, 4},
        {OPERATE_EXPORT_RELEASE, 5}, {OPERATE_REAP, 0},     {OPERATE_READ_BLOCKS, 1},
        {OPERATE_EXPORT_RELEASE, 6}, {OPERATE_CLOSE, 1},    {OPERATE_COLLECT, 0}};
    for (size_t i = 0; i < COUNT_OF(first); i++)
        operate(run, first[i]);
    if (run->reader != NULL)
        read_all(run, run->reader);
    for (size_t i = 0; i < COUNT_OF(then); i++)
        operate(run, then[i]);
}

static int next_descriptor(void)
{
    const int descriptor = open("/dev/null", O_RDONLY | O_CLOEXEC);
    close(descriptor);
    return descriptor;
}

void operations_run(const struct script *script, const char *directory)
{
    struct run run = {.script = script, .base = script->base, .directory = directory};
    const int descriptor = next_descriptor();
    if (script->operations == 0)
        operate_as_usual(&run);
    for (size_t i = 0; i < script->operations; i++)
        operate(&run, script->operation[i]);
    world_allow(200);
    close_it(&run, &run.reader);
    close_it(&run, &run.writer);
    sweep(directory);
    check(next_descriptor() == descriptor, "a descriptor is left open");
}

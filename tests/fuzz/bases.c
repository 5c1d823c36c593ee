/* SPDX-License-Identifier: MIT */
#include "bases.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "directory.h"
#include "export.h"
#include "export_own.h"
#include "forked.h"
#include "handle.h"
#include "os.h"
#include "places.h"
#include "world.h"

#define LONG_NAME "a name that is kept outside its record, because it is long: grid/pressure/halo/north"

const struct base_name base_names[] = {
    {"a", 40},         {"b", 100},          {LONG_NAME, 500}, {"medium", 9000},    {"extent", 40000},
    {"large", 150000}, {"field/1", 100},    {"share", 200},   {"new", 64},         {"new extent", 50000},
    {"", 8},           {"field/200", 5000}, {"empty", 0},     {"new large", 90000}};
const size_t base_name_count = sizeof base_names / sizeof base_names[0];

struct base bases[BASES];

static const char *place_of_bases;

/* ---------------------------------------------------------------- what the processes of a base do */

typedef void act(shmcore_segment *segment);

static void name_blocks(shmcore_segment *segment)
{
    bool created;
    for (size_t i = 0; i < 6; i++)
        shmcore_allocate(segment, base_names[i].name, base_names[i].bytes);
    shmcore_allocate(segment, "empty", 0);
    export_share(segment, "share", 99, 200, &created);
    void *gone = shmcore_allocate(segment, "gone", 300);
    shmcore_deallocate(segment, shmcore_allocate(segment, "gone too", 60000));
    shmcore_deallocate(segment, gone);
}

static void join_blocks(shmcore_segment *segment)
{
    for (size_t i = 0; i < 6; i += 2)
        shmcore_allocate(segment, base_names[i].name, base_names[i].bytes);
    shmcore_allocate(segment, "a", 40);
}

static void export_blocks(shmcore_segment *segment)
{
    static const char text[] = "field/\x01";
    struct export_source source = {0}, other = {0};
    if (!export_label(segment, text, sizeof text - 1, 7, &source.label) ||
        !export_label(segment, "sized \x02", 7, 8, &other.label))
        _exit(3);
    void *freed = NULL;
    for (uint64_t sequence = 0; sequence < 6; sequence++) {
        void *block = export_allocate(segment, &source, sequence, 100, 16, 0);
        freed = sequence == 3 ? block : freed;
    }
    export_free(segment, freed);
    export_allocate(segment, &other, 1, 5000, 16, EXPORT_ZERO);
    export_allocate(segment, &source, 200, 5000, 16, 0);
    export_allocate(segment, &source, 201, 40000, 4096, 0);
    export_free(segment, export_allocate(segment, &source, 202, 50000, 16, 0));
    export_allocate(segment, &other, 2, 70000, 16, EXPORT_TOUCH);
}

static void do_everything(shmcore_segment *segment)
{
    name_blocks(segment);
    join_blocks(segment);
    export_blocks(segment);
}

static void fork_half(shmcore_segment *segment)
{
    join_blocks(segment);
    forked_prepare();
}

static void begin_to_exit(shmcore_segment *segment)
{
    struct guarded pool;
    join_blocks(segment);
    if (!pool_enter(segment, &pool))
        _exit(3);
    struct transaction transaction = transaction_begin(&pool);
    process_set_state(&segment->file.view, &transaction, segment->row, ROW_EXITING);
    transaction_end(&pool, &transaction);
    pool_leave(&pool);
}

/* Dies in the middle of taking memory from a shard: the kernel marks the lock, the log is not empty. */
static void die_in_shard(shmcore_segment *segment)
{
    struct guarded guarded;
    join_blocks(segment);
    if (!shard_enter(segment, 0, &guarded))
        _exit(3);
    struct transaction transaction = transaction_begin(&guarded);
    const struct heap heap = shard_heap(segment, 0, &transaction);
    heap_take(&heap, 1, 1, QUANTUM_NAMED);
    UNDO_SET(&transaction, &segment->file.view.shards[0].blocks, 12345);
}

/* Dies with a run of regions in its hands and the pool's log not empty. */
static void die_in_pool(shmcore_segment *segment)
{
    const struct view *view = &segment->file.view;
    struct guarded guarded, pool;
    if (!shard_enter(segment, 0, &guarded) || !pool_enter(segment, &pool))
        _exit(3);
    const struct region_run run = pool_find(view, 1, 1, false);
    struct transaction transaction = transaction_begin(&pool);
    pool_take(view, &transaction, run, OWNER_SHARD);
    UNDO_SET(&transaction, &view->shards[0].loose.first, run.first);
    UNDO_SET(&transaction, &view->shards[0].loose.count, run.count);
    undo_commit(&transaction);
    transaction = transaction_begin(&pool);
    UNDO_SET(&transaction, &view->pool->hint, 1);
}

/* ---------------------------------------------------------------- processes */

static void perform(int32_t pid, uint64_t bytes, act *acts)
{
    const pid_t child = fork();
    int status;
    if (child == 0) {
        world.self = pid;
        world.random = (uint64_t)pid * 1000; /* so that everybody has a nonce of his own */
        shmcore_traits traits = shmcore_default_traits();
        traits.dir = place_of_bases;
        traits.job = BASE_JOB;
        traits.size = bytes;
        shmcore_segment *segment = shmcore_open(BASE_SEGMENT, &traits);
        if (segment == NULL) {
            fprintf(stderr, "fuzz: %s\n", shmcore_error());
            _exit(2);
        }
        acts(segment);
        _exit(0); /* without closing */
    }
    if (child < 0 || waitpid(child, &status, 0) != child || status != 0)
        world_complain("a segment to begin with could not be made");
}

static void make_rich(uint64_t bytes)
{
    perform(WORLD_FRIEND, bytes, do_everything);
    perform(WORLD_DEAD, bytes, do_everything);
    perform(WORLD_ZOMBIE, bytes, join_blocks);
    perform(WORLD_ELSEWHERE, bytes, export_blocks);
    perform(WORLD_DEAD_TOO, bytes, fork_half);
    perform(WORLD_DEAD, bytes, begin_to_exit);
    perform(WORLD_HIDDEN, bytes, join_blocks);
    perform(WORLD_SELF, bytes, do_everything); /* a past life */
}

/* ---------------------------------------------------------------- keeping the bytes */

static void *ask_for(size_t bytes)
{
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (memory == MAP_FAILED)
        world_complain("no memory for a base");
    return memory;
}

static bool is_zero(const unsigned char *bytes)
{
    for (size_t i = 0; i < PAGE_BYTES; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

static void keep(struct base *base, const char *title, const char *path)
{
    uint64_t start, stop;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC);
    const off_t bytes = descriptor < 0 ? -1 : lseek(descriptor, 0, SEEK_END);
    if (bytes < 0)
        world_complain("a base is gone");
    base->title = title;
    base->bytes = (uint64_t)bytes;
    base->image = ask_for(most(base->bytes, 1));
    base->page = ask_for(most(base->bytes / PAGE_BYTES, 1) * sizeof *base->page);
    for (uint64_t at = 0; os_next_data(descriptor, at, base->bytes, &start, &stop) == 1; at = stop)
        for (uint64_t p = start; p < stop; p += PAGE_BYTES) {
            if (pread(descriptor, base->image + p, PAGE_BYTES, (off_t)p) != (ssize_t)PAGE_BYTES)
                world_complain("a base cannot be read");
            if (!is_zero(base->image + p))
                base->page[base->pages++] = (uint32_t)(p / PAGE_BYTES);
        }
    close(descriptor);
    unlink(path);
    if (base->bytes >= CAPACITY_LEAST)
        places_find(base);
}

static void make_unborn(const char *path, uint64_t bytes, bool header)
{
    struct header half = {.magic = LAYOUT_MAGIC, .version = LAYOUT_VERSION, .capacity = bytes};
    const int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (descriptor < 0 || ftruncate(descriptor, (off_t)bytes) != 0 ||
        (header && pwrite(descriptor, &half, sizeof half, 0) != sizeof half))
        world_complain("a half-born base could not be made");
    close(descriptor);
}

void bases_make(const char *directory)
{
    char path[512];
    struct base *base = bases;
    place_of_bases = directory;
    segment_path(path, directory, os_user(), BASE_JOB, BASE_SEGMENT);
    unlink(path);
    perform(WORLD_FRIEND, 1 * MEBI, join_blocks);
    keep(base++, "little", path);
    make_rich(4 * MEBI);
    keep(base++, "rich", path);
    make_rich(4 * MEBI);
    perform(WORLD_DEAD_TOO, 4 * MEBI, die_in_shard);
    keep(base++, "dead in a shard", path);
    make_rich(4 * MEBI);
    perform(WORLD_DEAD_TOO, 4 * MEBI, die_in_pool);
    keep(base++, "dead in the pool", path);
    make_rich(32 * MEBI);
    keep(base++, "four shards", path);
    make_rich(256 * MEBI);
    keep(base++, "sixteen shards", path);
    perform(WORLD_DEAD, 1 * MEBI, name_blocks);
    keep(base++, "abandoned", path);
    perform(WORLD_DEAD, 2 * MEBI, do_everything);
    keep(base++, "full of exports", path);
    make_unborn(path, MEBI, true);
    keep(base++, "half-born", path);
    make_unborn(path, 0, false);
    keep(base++, "unborn", path);
}

/* ---------------------------------------------------------------- using them */

int base_put(const struct base *base, const char *path)
{
    unlink(path);
    const int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (descriptor < 0 || ftruncate(descriptor, (off_t)base->bytes) != 0)
        world_complain("the file of a run could not be made");
    for (size_t i = 0, run; i < base->pages; i += run) {
        for (run = 1; i + run < base->pages && base->page[i + run] == base->page[i] + run;)
            run++;
        const uint64_t at = base->page[i] * PAGE_BYTES;
        if (pwrite(descriptor, base->image + at, run * PAGE_BYTES, (off_t)at) != (ssize_t)(run * PAGE_BYTES))
            world_complain("the file of a run could not be written");
    }
    return descriptor;
}

struct place base_place(const struct base *base, unsigned kind, unsigned index)
{
    kind %= PLACES;
    if (base->places[kind] == 0)
        return (struct place){0, 0};
    return base->place[kind][index % base->places[kind]];
}

/* SPDX-License-Identifier: MIT
 *
 * The façade: handles of open segments, and the one place from which locks are entered and recovery runs.
 *
 * Every operation is: enter the shard, operate in a transaction, publish, leave. Handles live in a fixed
 * table, because the core never allocates.
 */
#include "store.h"

#include <errno.h>
#include <string.h>

#include "directory.h"
#include "export.h"
#include "forked.h"
#include "os.h"
#include "registry.h"
#include "visit.h"

static struct {
    pthread_mutex_t lock;
    bool handles_forks; /* the fork handlers are registered, by us or by the preload */
    shmcore_segment handle[STORE_HANDLES];
} store = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---------------------------------------------------------------- entering, repairing */

static struct guarded guard_of_shard(const shmcore_segment *segment, uint32_t number)
{
    struct shard *shard = &segment->file.view.shards[number];
    return (struct guarded){.lock = &shard->lock,
                            .undo = &shard->undo,
                            .sequence = &shard->sequence,
                            .poisoned = &shard->poisoned,
                            .base = segment->file.view.base,
                            .capacity = segment->file.view.capacity};
}

static bool refuse_entry(const shmcore_segment *segment, enum lock_result result)
{
    if (result == LOCK_BUSY)
        error_set(EBUSY, "a part of segment '%s' is locked by a process that does not run",
                  segment->file.name);
    else
        error_set(EIO, "a part of segment '%s' is damaged and out of use", segment->file.name);
    return false;
}

bool pool_enter(shmcore_segment *segment, struct guarded *guarded)
{
    struct pool *pool = segment->file.view.pool;
    *guarded = (struct guarded){.lock = &pool->lock,
                                .undo = &pool->undo,
                                .sequence = &pool->sequence,
                                .poisoned = &pool->poisoned,
                                .base = segment->file.view.base,
                                .capacity = segment->file.view.capacity};
    const enum lock_result result = lock_acquire(guarded);
    if (LIKELY(result == LOCK_OK))
        return true;
    if (result == LOCK_RECOVERED)
        return lock_settle(guarded, pool_is_sound(&segment->file.view)) ||
               refuse_entry(segment, LOCK_POISONED);
    return refuse_entry(segment, result);
}

void pool_leave(const struct guarded *guarded)
{
    lock_release(guarded);
}

/* A run on its way when its carrier died goes back to the pool. Only what still belongs to the shard: a part
 * may already have been handed to a process, whose reaping returns it. */
static bool return_loose(shmcore_segment *segment, uint32_t number)
{
    const struct view *view = &segment->file.view;
    struct loose_run *loose = &view->shards[number].loose;
    struct guarded guarded;
    if (!pool_enter(segment, &guarded)) /* also settles a transaction of the pool that was writing `loose` */
        return false;
    if (loose->count != 0 && loose->first < view->region_count &&
        loose->count <= view->region_count - loose->first) {
        struct transaction transaction = transaction_begin(&guarded);
        const uint32_t end = loose->first + loose->count;
        for (uint32_t r = loose->first; r < end;) {
            const struct region_run run = pool_next_of(view, OWNER_SHARD + number, r, end - r);
            if (run.first >= end)
                break;
            const uint32_t count = (uint32_t)least(run.count, end - run.first);
            pool_give(view, &transaction, (struct region_run){run.first, count});
            r = run.first + count;
        }
        UNDO_SET(&transaction, &loose->count, 0);
        transaction_end(&guarded, &transaction);
    }
    pool_leave(&guarded);
    return true;
}

static COLD bool repair_shard(shmcore_segment *segment, uint32_t number, const struct guarded *guarded)
{
    const struct heap heap = shard_heap(segment, number, NULL);
    const struct shard *shard = &segment->file.view.shards[number];
    const bool sound = return_loose(segment, number) && heap_is_sound(&heap) &&
                       directory_is_sound(heap.view, shard, heap.owner);
    return lock_settle(guarded, sound);
}

bool shard_enter(shmcore_segment *segment, uint32_t shard, struct guarded *guarded)
{
    *guarded = guard_of_shard(segment, shard);
    const enum lock_result result = lock_acquire(guarded);
    if (LIKELY(result == LOCK_OK))
        return true;
    if (result == LOCK_RECOVERED)
        return repair_shard(segment, shard, guarded) || refuse_entry(segment, LOCK_POISONED);
    return refuse_entry(segment, result);
}

void shard_leave(const struct guarded *guarded)
{
    lock_release(guarded);
}

/* ---------------------------------------------------------------- regions on the move */

int out_of_space(const shmcore_segment *segment, uint64_t bytes)
{
    char wanted[ERROR_SIZE_BYTES], capacity[ERROR_SIZE_BYTES];
    error_size(wanted, bytes);
    error_size(capacity, segment->file.view.capacity);
    return error_set(ENOMEM, "segment '%s' (%s) has no room for %s; make it larger (size=)",
                     segment->file.name, capacity, wanted);
}

static int out_of_memory(const shmcore_segment *segment)
{
    return error_set(ENOMEM,
                     "no memory left for segment '%s' in %s; free some, or enlarge it (mount -o "
                     "remount,size=…)",
                     segment->file.name, segment->file.directory);
}

/* How many regions to ask for: what is needed, and rather a MiB than a single small region. */
static uint32_t regions_for(const struct view *view, uint32_t quanta, uint32_t *alignment)
{
    const uint32_t each = view_region_quanta(view);
    *alignment = (uint32_t)divide_up(*alignment, each);
    return (uint32_t)divide_up(quanta, each);
}

/* Finds a run, gives its tables memory, hands it to `owner`; `also` is stored in the same transaction. With
 * the pool entered. */
static struct region_run take_run(shmcore_segment *segment, const struct guarded *guarded, uint32_t count,
                                  uint32_t alignment, uint32_t owner, bool low, struct loose_run *also)
{
    const struct view *view = &segment->file.view;
    const struct region_run none = {0, 0};
    const struct region_run run = pool_find(view, count, alignment, low);
    if (run.count == 0) {
        out_of_space(segment, (uint64_t)count << view->region_shift);
        return none;
    }
    if (space_reserve_tables(&segment->space, run.first, run.count) != 0) {
        out_of_memory(segment);
        return none;
    }
    struct transaction transaction = transaction_begin(guarded);
    pool_take(view, &transaction, run, owner);
    if (also != NULL) {
        UNDO_SET(&transaction, &also->first, run.first);
        UNDO_SET(&transaction, &also->count, run.count);
    }
    if (transaction_end(guarded, &transaction))
        return run;
    out_of_space(segment, (uint64_t)count << view->region_shift);
    return none;
}

static struct extent extent_of(const struct view *view, struct region_run run)
{
    const uint32_t each = view_region_quanta(view);
    return (struct extent){run.first * each, run.count * each};
}

int shard_refill(shmcore_segment *segment, uint32_t number, const struct guarded *guarded, uint32_t count,
                 uint32_t alignment, bool low)
{
    struct shard *shard = &segment->file.view.shards[number];
    struct guarded pool;
    const uint32_t regions = regions_for(&segment->file.view, count, &alignment);
    if (!pool_enter(segment, &pool))
        return -1;
    const struct region_run run =
        take_run(segment, &pool, regions, alignment, OWNER_SHARD + number, low, &shard->loose);
    pool_leave(&pool);
    if (run.count == 0)
        return -1;
    struct transaction transaction = transaction_begin(guarded);
    const struct heap heap = shard_heap(segment, number, &transaction);
    heap_add(&heap, extent_of(heap.view, run));
    UNDO_SET(&transaction, &shard->loose.count, 0);
    return transaction_end(guarded, &transaction) ? 0 : error_set(EIO, "the undo log is too small");
}

struct region_run regions_inside(const struct view *view, struct extent extent)
{
    const uint32_t each = view_region_quanta(view);
    const uint32_t first = (uint32_t)divide_up(extent.first, each);
    const uint32_t end = (extent.first + extent.count) / each;
    return (struct region_run){first, end > first ? end - first : 0};
}

/* Shards keep a region to themselves, so that a block made and freed over and over costs no system call. */
struct region_run shard_shed(shmcore_segment *segment, uint32_t number, const struct guarded *guarded,
                             struct extent freed)
{
    const struct view *view = &segment->file.view;
    struct shard *shard = &view->shards[number];
    const struct region_run none = {0, 0}, run = regions_inside(view, freed);
    const uint64_t keep = view_region_quanta(view);
    struct guarded pool;
    if (run.count == 0 ||
        segment->row == ROW_NONE || /* while attaching nobody could be its owner on the way */
        shard->bins.free_quanta < keep + (uint64_t)run.count * keep)
        return none;
    struct transaction transaction = transaction_begin(guarded);
    const struct heap heap = shard_heap(segment, number, &transaction);
    heap_cut(&heap, freed, extent_of(view, run));
    UNDO_SET(&transaction, &shard->loose.first, run.first);
    UNDO_SET(&transaction, &shard->loose.count, run.count);
    if (!transaction_end(guarded, &transaction) || !pool_enter(segment, &pool))
        return none; /* stays loose until the next recovery: lost room, no harm */
    struct transaction handing = transaction_begin(&pool);
    UNDO_SET(&handing, &shard->loose.count, 0);
    for (uint32_t r = run.first; r < run.first + run.count; r++)
        __atomic_store_n(&view->region_owner[r], OWNER_PROCESS + segment->row, __ATOMIC_RELEASE);
    transaction_end(&pool, &handing);
    pool_leave(&pool);
    return run;
}

struct region_run regions_take(shmcore_segment *segment, uint32_t quanta, uint32_t alignment)
{
    struct guarded pool;
    const uint32_t regions = regions_for(&segment->file.view, quanta, &alignment);
    if (!pool_enter(segment, &pool))
        return (struct region_run){0, 0};
    const struct region_run run =
        take_run(segment, &pool, regions, alignment, OWNER_PROCESS + segment->row, false, NULL);
    pool_leave(&pool);
    return run;
}

void regions_return(shmcore_segment *segment, struct region_run run)
{
    const struct view *view = &segment->file.view;
    struct guarded pool;
    if (run.count == 0)
        return;
    space_give_back(&segment->space, (uint64_t)run.first << view->region_shift,
                    (uint64_t)run.count << view->region_shift);
    if (!pool_enter(segment, &pool))
        return; /* they stay this process's and go with it */
    struct transaction transaction = transaction_begin(&pool);
    pool_give(view, &transaction, run);
    if (transaction_end(&pool, &transaction))
        pool_forget(view, run);
    pool_leave(&pool);
}

/* ---------------------------------------------------------------- handles */

shmcore_segment *segment_handle(uint32_t index)
{
    shmcore_segment *segment = &store.handle[index];
    return segment->opens > 0 ? segment : NULL;
}

bool segment_is_usable(const shmcore_segment *segment, bool writing)
{
    const bool ours = segment >= store.handle && segment < store.handle + STORE_HANDLES && segment->opens > 0;
    if (UNLIKELY(!ours)) {
        error_set(EINVAL, "that is no open segment");
        return false;
    }
    if (UNLIKELY(writing && segment->file.read_only)) {
        error_set(EROFS, "segment '%s' is open for reading only", segment->file.name);
        return false;
    }
    return true;
}

shmcore_segment *segment_of_pointer(const void *pointer)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        shmcore_segment *segment = &store.handle[i];
        if (segment->opens > 0 && (uint64_t)((const unsigned char *)pointer - segment->file.view.base) <
                                      segment->file.view.capacity)
            return segment;
    }
    return NULL;
}

shmcore_traits shmcore_default_traits(void)
{
    return (shmcore_traits){.scope = SHMCORE_SCOPE_NODE, .resource = SHMCORE_RESOURCE_SHARED};
}

const char *shmcore_error(void)
{
    return error_last();
}

struct attachment {
    shmcore_segment *handle;
    bool mapped_before; /* by another copy of the library in this process */
};

static uint32_t take_row(shmcore_segment *segment)
{
    struct guarded pool;
    uint32_t row = ROW_NONE;
    if (!pool_enter(segment, &pool))
        return ROW_NONE;
    struct transaction transaction = transaction_begin(&pool);
    row = process_take_row(&segment->file.view, &transaction, &segment->self, ROW_ALIVE);
    if (!transaction_end(&pool, &transaction))
        row = ROW_NONE;
    pool_leave(&pool);
    return row;
}

static void reap_former_selves(shmcore_segment *segment)
{
    const struct view *view = &segment->file.view;
    const uint32_t used = process_rows_used(view);
    for (uint32_t row = 0; row < used; row++)
        if (process_is_former_self(view, row, &segment->self))
            reap_row(segment, row, view->rows[row].nonce);
}

static void set_up_space(shmcore_segment *segment)
{
    segment->space = (struct space){.view = &segment->file.view,
                                    .path = segment->file.path,
                                    .directory = segment->file.directory,
                                    .device = segment->file.device,
                                    .inode = segment->file.inode,
                                    .credit = &segment->credit};
}

/* Runs under the file's lock. */
static int attach(struct segment *file, void *argument)
{
    shmcore_segment *segment = ((struct attachment *)argument)->handle;
    segment->file = *file;
    set_up_space(segment);
    segment->self = process_identify();
    if (file->owns_mapping) /* else the other row of this pid is another copy of the library, not a past life
                             */
        reap_former_selves(segment);
    reap_some(segment, 2);
    segment->row = take_row(segment);
    if (segment->row == ROW_NONE && reap_some(segment, ROWS_MOST) > 0)
        segment->row = take_row(segment);
    if (segment->row == ROW_NONE)
        return error_set(EUSERS, "segment '%s' has room for %u processes and all are taken", file->name,
                         file->view.row_count);
    return 0;
}

static void make_request(struct segment_request *request, const char *name, const shmcore_traits *traits,
                         char job[64])
{
    if (traits->job != NULL)
        error_format(job, 64, "%s", traits->job);
    else
        segment_find_job(job);
    *request = (struct segment_request){
        .name = name,
        .directory = traits->dir != NULL ? traits->dir : "/dev/shm",
        .job = job,
        .size = traits->size,
        .scope = (uint32_t)traits->scope,
        .read_only = traits->read_only,
        .persist = traits->persist,
        .uid = os_user(),
    };
}

static int check_traits(const shmcore_traits *traits)
{
    if (traits->resource != SHMCORE_RESOURCE_SHARED)
        return error_set(EINVAL, "traits.resource must be SHMCORE_RESOURCE_SHARED");
    if (traits->scope != SHMCORE_SCOPE_NODE)
        return error_set(EINVAL, "only the scope node is possible in this version");
    if (traits->size > CAPACITY_MOST)
        return error_set(ENOMEM, "a segment can have 2 TiB at the most");
    return 0;
}

/* The handle that this process already has for the same file, or NULL. */
static shmcore_segment *open_again(const struct segment_request *request)
{
    char path[512];
    segment_path(path, request->directory, request->uid, request->job, request->name);
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        shmcore_segment *segment = segment_handle(i);
        struct os_file file;
        if (segment == NULL || strcmp(segment->file.path, path) != 0 ||
            segment->file.read_only != request->read_only || os_stat_path(path, &file) != 0 ||
            file.inode != segment->file.inode)
            continue;
        return segment;
    }
    return NULL;
}

static shmcore_segment *free_handle(void)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++)
        if (store.handle[i].opens == 0)
            return &store.handle[i];
    error_set(EMFILE, "a process can have %u segments open", STORE_HANDLES);
    return NULL;
}

static int fits_again(const shmcore_segment *segment, const struct segment_request *request)
{
    const struct header *header = segment->file.view.header;
    if (request->size != 0 && request->size != header->asked_size &&
        view_round_capacity(request->size) != segment->file.view.capacity)
        return error_set(EINVAL, "segment '%s' is open with %lu bytes and %lu were asked for",
                         segment->file.name, (unsigned long)segment->file.view.capacity,
                         (unsigned long)request->size);
    if (!request->read_only && request->persist != (header->persist != 0))
        return error_set(EINVAL, "segment '%s' is open with other traits", segment->file.name);
    return 0;
}

/* With the store's lock. */
static shmcore_segment *open_or_share(const struct segment_request *request)
{
    shmcore_segment *segment = open_again(request);
    if (segment != NULL) {
        if (fits_again(segment, request) != 0)
            return NULL;
        segment->opens++;
        return segment;
    }
    segment = free_handle();
    if (segment == NULL)
        return NULL;
    memset(segment, 0, sizeof *segment);
    segment->row = segment->child_row = ROW_NONE;
    pthread_mutex_init(&segment->exports.lock, NULL);
    struct attachment attachment = {.handle = segment};
    struct segment file;
    if (segment_open(&file, request, attach, &attachment) != 0)
        return NULL;
    segment->file = file;
    set_up_space(segment);
    segment->asked_size = request->size;
    segment->opens = 1;
    return segment;
}

void store_lock(void)
{
    pthread_mutex_lock(&store.lock);
}

void store_unlock(void)
{
    pthread_mutex_unlock(&store.lock);
}

void export_take_over_forks(void)
{
    store.handles_forks = true;
}

/* With the store's lock: a forked child must have a row of its own. */
static void handle_forks(void)
{
    if (!store.handles_forks)
        store.handles_forks = pthread_atfork(export_fork_prepare, export_fork_parent, export_fork_child) == 0;
}

shmcore_segment *shmcore_open(const char *name, const shmcore_traits *traits)
{
    const shmcore_traits defaults = shmcore_default_traits();
    struct segment_request request;
    char job[64];
    if (traits == NULL)
        traits = &defaults;
    if (segment_check_name(name) != 0 || check_traits(traits) != 0)
        return NULL;
    make_request(&request, name, traits, job);
    store_lock();
    handle_forks();
    shmcore_segment *segment = open_or_share(&request);
    store_unlock();
    return segment;
}

static bool others_are_gone(struct segment *file, void *argument)
{
    const shmcore_segment *segment = argument;
    return file->view.header->persist == 0 &&
           nobody_else_lives(&file->view, segment->row, file->device, file->inode);
}

int shmcore_close(shmcore_segment *segment)
{
    if (segment == NULL)
        return 0;
    if (!segment_is_usable(segment, false))
        return -1;
    store_lock();
    if (--segment->opens == 0) {
        if (!segment->file.read_only) {
            reap_row(segment, segment->row, segment->self.nonce);
            segment_leave(&segment->file, others_are_gone, segment);
        }
        segment_unmap(&segment->file);
        forked_forget(segment);
        pthread_mutex_destroy(&segment->exports.lock);
    }
    store_unlock();
    return 0;
}

/* At a normal end: other threads may still run, so nothing is taken from under them. The row says EXITING and
 * is reaped by whoever comes next; the file goes when nobody else is there. */
static __attribute__((destructor)) void leave_at_exit(void)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        shmcore_segment *segment = segment_handle(i);
        struct guarded pool;
        if (segment == NULL || segment->file.read_only || segment->self.pid != os_process())
            continue;
        if (pool_enter(segment, &pool)) {
            struct transaction transaction = transaction_begin(&pool);
            process_set_state(&segment->file.view, &transaction, segment->row, ROW_EXITING);
            transaction_end(&pool, &transaction);
            pool_leave(&pool);
        }
        segment_leave(&segment->file, others_are_gone, segment);
    }
}

/* ---------------------------------------------------------------- facts */

shmcore_traits shmcore_get_traits(const shmcore_segment *segment)
{
    shmcore_traits traits = shmcore_default_traits();
    if (!segment_is_usable(segment, false))
        return traits;
    const struct header *header = segment->file.view.header;
    traits.size = header->asked_size != 0 ? header->asked_size : segment->file.view.capacity;
    traits.scope = (enum shmcore_scope)header->scope;
    traits.read_only = segment->file.read_only;
    traits.persist = header->persist != 0;
    traits.dir = segment->file.directory;
    traits.job = segment->file.job;
    return traits;
}

const char *shmcore_segment_name(const shmcore_segment *segment)
{
    return segment_is_usable(segment, false) ? segment->file.name : "";
}

bool shmcore_address_stable(const shmcore_segment *segment)
{
    return segment_is_usable(segment, false) && segment->file.stable;
}

int shmcore_stat(const shmcore_segment *segment, shmcore_statistics *out)
{
    if (!segment_is_usable(segment, false) || out == NULL)
        return -1;
    const struct view *view = &segment->file.view;
    const uint64_t tables = (uint64_t)view->table_regions << view->region_shift;
    *out = (shmcore_statistics){.capacity = view->capacity, .used = tables};
    uint64_t room = (uint64_t)view->pool->free_regions << view->region_shift;
    for (uint32_t s = 0; s < view->shard_count; s++) {
        out->blocks += view->shards[s].blocks;
        out->used += view->shards[s].used_bytes;
        room += view->shards[s].bins.free_quanta << QUANTUM_SHIFT;
    }
    visit_sum_exports(view, &out->blocks, &out->used);
    out->free = room;
    out->reserved = view->eager_bytes + space_reserved(view);
    out->processes = process_count(view);
    return 0;
}

size_t shmcore_actual_size(const shmcore_segment *segment)
{
    shmcore_statistics statistics;
    return shmcore_stat(segment, &statistics) == 0 ? statistics.used : 0;
}

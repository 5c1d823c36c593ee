/* SPDX-License-Identifier: MIT
 *
 * The façade: handles of open segments. They live in a fixed table, because the core never allocates.
 */
#include "handle.h"

#include <errno.h>
#include <string.h>

#include "directory.h"
#include "export_book.h"
#include "forked.h"
#include "inherited.h"
#include "merge_index.h"
#include "os.h"
#include "private.h"
#include "registry.h"
#include "scope.h"
#include "visit.h"

/* When a segment is opened, dead processes are looked for: those whose number is gone for as long as there
 * are some every so many looks, and others in so many rows. */
#define LOOKS_VANISHED 8u
#define LOOKS_DEAD     2u

static struct {
    pthread_mutex_t lock;
    _Atomic uint32_t
        used; /* handles beyond these, but for the first, are not looked at: they were never open */
} store = {.lock = PTHREAD_MUTEX_INITIALIZER};
NEEDED_LATER shmcore_segment segment_handles[STORE_HANDLES];

/* ---------------------------------------------------------------- handles */

shmcore_segment *segment_handle(uint32_t index)
{
    shmcore_segment *segment = &segment_handles[index];
    return index < atomic_load_explicit(&store.used, memory_order_relaxed) && segment->opens > 0 ? segment
                                                                                                 : NULL;
}

bool segment_is_usable(const shmcore_segment *segment, bool writing)
{
    const bool ours =
        segment >= segment_handles && segment < segment_handles + STORE_HANDLES && segment->opens > 0;
    if (UNLIKELY(!ours)) {
        error_set(EINVAL, "that is no open segment");
        return false;
    }
    if (UNLIKELY(writing && segment->file.read_only)) {
        error_set(EROFS, "segment '%s' is open for reading only", segment->file.name);
        return false;
    }
    if (UNLIKELY(writing && segment->row == ROW_NONE)) {
        error_set(EUSERS, "segment '%s' had no row for this process when it was forked: it has no part in it",
                  segment->file.name);
        return false;
    }
    return true;
}

shmcore_segment *segment_of_pointer(const void *pointer)
{
    const uint32_t used = atomic_load_explicit(&store.used, memory_order_relaxed);
    for (uint32_t i = 0; i < used; i++) {
        shmcore_segment *segment = segment_handle(i);
        if (segment != NULL && (uint64_t)((const unsigned char *)pointer - segment->file.view.base) <
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

/* 0, or -1 with the error set: EUSERS when all rows are taken. */
static int take_row(shmcore_segment *segment)
{
    struct guarded pool;
    const struct view *view = &segment->file.view;
    if (!pool_enter(segment, &pool))
        return -1;
    struct transaction transaction = transaction_begin(&pool);
    const uint32_t row = process_take_row(view, &transaction, &segment->self, ROW_ALIVE);
    segment->row = transaction_end(&pool, &transaction) ? row : ROW_NONE;
    pool_leave(&pool);
    if (segment->row != ROW_NONE)
        return 0;
    return error_set(EUSERS, "segment '%s' has room for %u processes and all are taken", segment->file.name,
                     view->row_count);
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

/* Runs under the file's lock, which at the start of a job all its processes want: what can be done before or
 * afterwards is. */
static int attach(struct segment *file, void *argument)
{
    shmcore_segment *segment = ((struct attachment *)argument)->handle;
    segment->file = *file;
    set_up_space(segment);
    if (file->owns_mapping) /* else the other row of this pid is another copy of the library, not a past life
                             */
        reap_former_selves(segment);
    if (take_row(segment) == 0)
        return 0;
    return errno == EUSERS && reap_some(segment, ROWS_MOST) > 0 ? take_row(segment) : -1;
}

/* What a request points to. */
struct wish {
    char name[SEGMENT_NAME_BYTES], job[64];
};

static int make_request(struct segment_request *request, const char *name, const shmcore_traits *traits,
                        struct wish *wish)
{
    if (scope_name(wish->name, name, traits->scope) != 0)
        return -1;
    if (traits->job != NULL)
        segment_set_job(wish->job, traits->job);
    else if (segment_find_job(wish->job) != 0)
        return -1;
    *request = (struct segment_request){
        .name = wish->name,
        .directory = traits->dir != NULL ? traits->dir : "/dev/shm",
        .job = wish->job,
        .size = traits->size,
        .scope = (uint32_t)traits->scope,
        .read_only = traits->read_only,
        .persist = traits->persist,
        .interleave = traits->interleave,
        .uid = os_user(),
    };
    return 0;
}

static int check_traits(const shmcore_traits *traits)
{
    if (traits->resource != SHMCORE_RESOURCE_SHARED)
        return error_set(EINVAL, "traits.resource must be SHMCORE_RESOURCE_SHARED");
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

/* All zero, and not touched before it is needed. */
static shmcore_segment *free_handle(void)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        shmcore_segment *segment = &segment_handles[i];
        if (segment_handle(i) != NULL)
            continue;
        if (i < atomic_load(&store.used))
            memset(segment, 0, sizeof *segment);
        else
            atomic_store(&store.used, i + 1);
        return segment;
    }
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
    if ((request->scope != SHMCORE_SCOPE_NODE && request->scope != header->scope) ||
        (!request->read_only && request->persist != (header->persist != 0)))
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
    segment->row = segment->child_row = ROW_NONE;
    segment->forked_file = -1;
    atomic_store(&segment->credit, SPACE_FIRST_CREDIT);
    if (!request->read_only)
        segment->self = process_identify();
    pthread_mutex_init(&segment->exports.lock, NULL);
    struct attachment attachment = {.handle = segment};
    struct segment file;
    if (segment_open(&file, request, attach, &attachment) != 0)
        return NULL;
    segment->file = file;
    set_up_space(segment);
    segment->asked_size = request->size;
    segment->opens = 1;
    if (!request->read_only) {
        reap_vanished(segment, LOOKS_VANISHED);
        reap_some(segment, LOOKS_DEAD);
    }
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

static shmcore_segment *open_checked(const char *name, const shmcore_traits *traits, bool must_exist)
{
    struct segment_request request;
    struct wish wish;
    if (segment_check_name(name) != 0 || check_traits(traits) != 0 ||
        make_request(&request, name, traits, &wish) != 0)
        return NULL;
    request.must_exist = must_exist;
    store_lock();
    forked_register(); /* a forked child must have a row of its own */
    shmcore_segment *segment = open_or_share(&request);
    const bool created = segment != NULL && segment->file.created && segment->opens == 1;
    store_unlock();
    if (created)
        collect_abandoned(segment->file.directory);
    return segment;
}

shmcore_segment *shmcore_open(const char *name, const shmcore_traits *traits)
{
    const shmcore_traits defaults = shmcore_default_traits();
    return open_checked(name, traits != NULL ? traits : &defaults, false);
}

shmcore_segment *segment_join(const char *name, const shmcore_traits *traits)
{
    return open_checked(name, traits, true);
}

/* Asked when the segment is about to go: merged memory goes with it. */
static bool others_are_gone(struct segment *file, void *argument)
{
    const shmcore_segment *segment = argument;
    const uint32_t row = segment->row;
    /* given back a moment ago, it may be somebody else's by now */
    const bool own = row != ROW_NONE && file->view.rows[row].nonce == segment->self.nonce;
    const bool gone = file->view.header->persist == 0 &&
                      nobody_else_lives(&file->view, own ? row : ROW_NONE, file->device, file->inode);
    if (gone)
        merge_index_remove_files(file);
    return gone;
}

static void leave(shmcore_segment *segment)
{
    struct os_file file;
    segment_leave(&segment->file, others_are_gone, segment);
    /* somebody has removed the name while it was in use: nobody can come any more, and nobody else tidies up
     */
    if (merge_index_is_there(&segment->file) &&
        (os_stat_path(segment->file.path, &file) != 0 || file.inode != segment->file.inode))
        others_are_gone(&segment->file, segment);
}

/* Another copy of the library may use the mapping, whichever of them has made it: the last one to leave takes
 * it away. Under the file's lock, so that none is just about to find it. Removes nothing. */
static bool let_mapping_go(struct segment *file, void *argument)
{
    shmcore_segment *segment = argument;
    (void)file;
    if (segment->file.view.base != NULL && segment->file.stable && !segment->file.read_only)
        segment->file.owns_mapping = !process_has_other_self(&segment->file.view, &segment->self);
    segment_unmap(&segment->file);
    return false;
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
            private_close(segment);
            reap_row(segment, segment->row, segment->self.nonce);
            leave(segment);
        }
        book_forget_all(segment);
        if (!segment->file.read_only)
            segment_leave(&segment->file, let_mapping_go, segment);
        let_mapping_go(&segment->file, segment); /* by its name it cannot be found any more */
        inherited_forget(segment);
        pthread_mutex_destroy(&segment->exports.lock);
    }
    store_unlock();
    return 0;
}

/* At a normal end: other threads may still run, so nothing is taken from under them. The row says EXITING and
 * is reaped by whoever comes next; the file goes when nobody else is there. */
static __attribute__((destructor)) void leave_at_exit(void)
{
    private_end();
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        shmcore_segment *segment = segment_handle(i);
        struct guarded pool;
        if (segment == NULL || segment->file.read_only || segment->self.pid != os_process())
            continue;
        if (segment->row != ROW_NONE && pool_enter(segment, &pool)) {
            struct transaction transaction = transaction_begin(&pool);
            process_set_state(&segment->file.view, &transaction, segment->row, ROW_EXITING);
            transaction_end(&pool, &transaction);
            pool_leave(&pool);
        }
        leave(segment);
    }
}

shmcore_segment *shmcore_of_identity(uint64_t identity)
{
    shmcore_segment *found = NULL;
    store_lock();
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        shmcore_segment *segment = segment_handle(i);
        if (segment != NULL && shmcore_identity(segment) == identity &&
            (found == NULL || found->file.read_only))
            found = segment;
    }
    store_unlock();
    if (found == NULL)
        error_set(ENOENT, "this process has no such segment open");
    return found;
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
    traits.interleave = header->interleave != 0;
    traits.dir = segment->file.directory;
    traits.job = segment->file.job;
    return traits;
}

const char *shmcore_segment_name(const shmcore_segment *segment)
{
    return segment_is_usable(segment, false) ? segment->file.name : "";
}

uint64_t shmcore_identity(const shmcore_segment *segment)
{
    if (!segment_is_usable(segment, false))
        return 0;
    const struct segment *file = &segment->file;
    const uint64_t identity =
        hash_mix(file->view.header->nonce ^ hash_mix(file->inode ^ hash_mix(file->device)));
    return identity != 0 ? identity : 1;
}

bool shmcore_address_stable(const shmcore_segment *segment)
{
    return segment_is_usable(segment, false) && segment->file.stable;
}

GLANCES int shmcore_stat(const shmcore_segment *segment, shmcore_statistics *out)
{
    if (!segment_is_usable(segment, false))
        return -1;
    if (out == NULL)
        return error_set(EINVAL, "shmcore_stat() needs a place for its answer");
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

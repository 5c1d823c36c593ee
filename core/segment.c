/* SPDX-License-Identifier: MIT */
#include "segment.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "file_lock.h"
#include "lock.h"
#include "os.h"
#include "pool.h"
#include "registry.h"
#include "shmcore.h"
#include "shortage.h"
#include "text.h"

#define LOCK_FILE_PATIENCE UINT64_C(5000000000)
#define TRIES              64

/* ---------------------------------------------------------------- trust */

static int refuse_open(const struct segment *segment, int error)
{
    switch (error) {
    case -ENOENT:
        return error_set(ENOENT, "there is no segment '%s' (%s)", segment->name, segment->path);
    case -ELOOP:
        return error_set(EACCES, "%s is a symbolic link; a segment never is: remove it", segment->path);
    case -EISDIR: /* a directory, a FIFO, a socket */
    case -ENXIO:
        return error_set(EPROTO, "%s is not a regular file; remove it", segment->path);
    case -EACCES:
        return error_set(EACCES, "%s belongs to another user or may not be opened", segment->path);
    default:
        return error_set(-error, "cannot open %s: %s", segment->path, error_words(-error));
    }
}

/* Is the open file one that only `uid` can have made and changed? */
static int check_file(const struct segment *segment, const struct os_file *file, uid_t uid)
{
    if (!file->regular)
        return error_set(EPROTO, "%s is not a regular file; remove it", segment->path);
    if (file->uid != uid)
        return error_set(EACCES, "%s belongs to user %u, not to user %u", segment->path, file->uid, uid);
    if ((file->mode & 077) != 0)
        return error_set(EACCES, "%s may be used by others than its owner (mode is not 0600); remove it",
                         segment->path);
    if (file->links > 1)
        return error_set(EACCES, "%s is a file that has other names, too (a hard link); remove it",
                         segment->path);
    return 0;
}

static bool name_leads_to(const char *path, const struct os_file *file)
{
    struct os_file named;
    return file->links > 0 && os_stat_path(path, &named) == 0 && named.device == file->device &&
           named.inode == file->inode;
}

static int check_identity(const struct segment *segment, const struct header *header)
{
    if (header->version != LAYOUT_VERSION || header->fingerprint != LAYOUT_FINGERPRINT)
        return error_set(EPROTO,
                         "%s was made by another version of this library (layout %u.%x, here %u.%x); end its "
                         "processes or use another name",
                         segment->path, header->version, header->fingerprint, LAYOUT_VERSION,
                         LAYOUT_FINGERPRINT);
    return 0;
}

static int check_header(const struct segment *segment, const struct header *header,
                        const struct os_file *file)
{
    if (header->capacity != file->bytes || header->capacity < CAPACITY_LEAST ||
        header->capacity > CAPACITY_MOST || view_round_capacity(header->capacity) != header->capacity)
        return error_set(EPROTO, "%s is damaged: it is %lu bytes long and says %lu; remove it", segment->path,
                         (unsigned long)file->bytes, (unsigned long)header->capacity);
    if (header->uid != file->uid || strncmp(header->name, segment->name, sizeof header->name) != 0)
        return error_set(EPROTO, "%s is damaged or was copied from another segment; remove it",
                         segment->path);
    if (header->base != 0 && (header->base < WINDOW_BASE || header->base > WINDOW_END - header->capacity ||
                              header->base % PAGE_BYTES != 0))
        return error_set(EPROTO, "%s is damaged: it asks for an address outside the window; remove it",
                         segment->path);
    return 0;
}

static int check_wishes(const struct segment *segment, const struct header *header,
                        const struct segment_request *request)
{
    if (!request->read_only && header->pid_namespace != os_pid_namespace())
        return error_set(
            ENOTSUP,
            "%s was made in another pid namespace (another container): locks are not safe across "
            "them, so each needs a /dev/shm of its own or another SHM_JOB",
            segment->path);
    if (request->size != 0 && request->size != header->asked_size &&
        view_round_capacity(request->size) != header->capacity)
        return error_set(EINVAL, "segment '%s' exists with %lu bytes and %lu were asked for", segment->name,
                         (unsigned long)header->capacity, (unsigned long)request->size);
    if (request->scope != SHMCORE_SCOPE_NODE &&
        request->scope != header->scope) /* else the name says it all */
        return error_set(EINVAL, "segment '%s' exists with another scope", segment->name);
    if (!request->read_only && request->persist != (header->persist != 0))
        return error_set(EINVAL, "segment '%s' exists %s persist", segment->name,
                         header->persist != 0 ? "with" : "without");
    return 0;
}

/* ---------------------------------------------------------------- addresses */

/* For blocks, not for tables, of which little is used here and there. /dev/shm gives none, as it is mounted.
 */
static void welcome_huge_pages(const struct view *view)
{
    const uint64_t tables = (uint64_t)view->table_regions << view->region_shift;
    os_welcome_huge(view_at(view, tables), view->capacity - tables);
}

static int map_at_base(struct segment *segment, int descriptor, uint64_t base, uint64_t capacity)
{
    const int error = os_map_file_at(base, capacity, descriptor, !segment->read_only);
    if (error == 0) {
        segment->owns_mapping = true;
    } else if (error == -EEXIST && !segment->read_only &&
               os_mapped_writable_at(base, segment->device, segment->inode)) {
        segment->owns_mapping = false; /* another copy of this library in this process */
    } else {
        return error;
    }
    segment->stable = true;
    view_make(&segment->view, (unsigned char *)(uintptr_t)base, capacity);
    welcome_huge_pages(&segment->view);
    return 0;
}

static int map_anywhere(struct segment *segment, int descriptor, uint64_t capacity)
{
    void *address;
    const int error = os_map_file(descriptor, capacity, !segment->read_only, &address);
    if (error != 0) {
        char size[ERROR_SIZE_BYTES], why[SHORTAGE_BYTES];
        return error_set(ENOMEM, "cannot map the %s of %s: %s", error_size(size, capacity), segment->path,
                         error == -ENOMEM ? shortage_of_addresses(why) : error_words(-error));
    }
    segment->owns_mapping = true;
    segment->stable = false;
    view_make(&segment->view, address, capacity);
    welcome_huge_pages(&segment->view);
    return 0;
}

/* The creator's search: the first base that neither another segment nor this process uses. */
static int map_new(struct segment *segment, int descriptor, uint64_t capacity, uint64_t *base)
{
    struct registry registry = registry_open(true);
    uint64_t from = 0;
    int error = -ENOMEM;
    if (registry.descriptor < 0) /* nobody to ask: begin where others probably do not */
        from = WINDOW_BASE + segment->inode % 4096 * WINDOW_SLOT;
    for (int tries = 0; tries < TRIES; tries++) {
        *base = registry_free_base(&registry, from, capacity);
        if (*base == 0)
            break;
        error = map_at_base(segment, descriptor, *base, capacity);
        if (error != -EEXIST)
            break;
        from = *base + WINDOW_SLOT;
    }
    if (error == 0)
        registry_note_base(&registry, *base, capacity, segment->path);
    registry_close(&registry);
    if (error == 0)
        return 0;
    *base = 0;
    return map_anywhere(segment, descriptor, capacity);
}

void segment_unmap(struct segment *segment)
{
    if (segment->view.base != NULL && segment->owns_mapping)
        os_unmap(segment->view.base, segment->view.capacity);
    segment->view.base = NULL;
}

/* ---------------------------------------------------------------- birth */

static uint64_t default_size(const struct segment *segment)
{
    struct os_space space;
    if (os_file_system(segment->directory, &space) != 0 || space.total == 0)
        return os_memory_left(segment->directory) / 2;
    return space.total / 2;
}

static int make_locks(const struct view *view)
{
    int error = lock_make(&view->pool->lock);
    for (uint32_t s = 0; error == 0 && s < view->shard_count; s++)
        error = lock_make(&view->shards[s].lock);
    return error;
}

static void write_header(const struct segment *segment, const struct segment_request *request, uint64_t base,
                         bool interleaved)
{
    struct header *header = segment->view.header;
    header->magic = LAYOUT_MAGIC;
    header->version = LAYOUT_VERSION;
    header->fingerprint = LAYOUT_FINGERPRINT;
    header->scope = request->scope;
    header->capacity = segment->view.capacity;
    header->asked_size = request->size;
    header->base = base;
    header->pid_namespace = os_pid_namespace();
    header->uid = os_user();
    header->persist = request->persist;
    header->interleave = interleaved;
    header->nonce = os_random();
    memcpy(header->name, segment->name, sizeof header->name);
    memcpy(header->job, segment->job, sizeof header->job);
    atomic_store_explicit(&header->ready, LAYOUT_READY, memory_order_release);
}

static int refuse_birth(struct segment *segment, int descriptor, int error, uint64_t capacity)
{
    char size[ERROR_SIZE_BYTES], why[SHORTAGE_BYTES];
    const bool full = error == -ENOMEM || error == -ENOSPC;
    segment_unmap(segment);
    os_resize(descriptor, 0);
    os_unlink(segment->path);
    if (error == -EFBIG)
        return error_set(
            EFBIG,
            "cannot make the segment %s: its %s are more than a file of this process may have; raise "
            "ulimit -f or ask for a smaller segment (size=)",
            segment->path, error_size(size, capacity));
    if (!full)
        return error_set(-error, "cannot make the segment %s: %s", segment->path, error_words(-error));
    return error_set(ENOMEM, "cannot make the segment %s, which takes %s from the start: %s", segment->path,
                     error_size(size, most(segment->view.eager_bytes, PAGE_BYTES)),
                     shortage_of_memory(why, segment->directory));
}

static int create(struct segment *segment, int descriptor, const struct segment_request *request)
{
    uint64_t base = 0;
    const uint64_t capacity = view_round_capacity(request->size != 0 ? request->size : default_size(segment));
    int error = os_resize(descriptor, 0);
    if (error == 0)
        error = os_resize(descriptor, capacity);
    if (error != 0)
        return refuse_birth(segment, descriptor, error, capacity);
    if (map_new(segment, descriptor, capacity, &base) != 0) {
        os_unlink(segment->path);
        return -1;
    }
    /* the file keeps it: for all processes, and for memory that is reserved as well */
    const bool interleaved =
        request->interleave && os_interleave(segment->view.base, segment->view.capacity) == 0;
    if (os_memory_left(segment->directory) < segment->view.eager_bytes)
        error = -ENOMEM;
    else
        error = os_populate(segment->view.base, segment->view.eager_bytes);
    if (error == -EINVAL)
        error = os_reserve(descriptor, 0, segment->view.eager_bytes);
    if (error == 0)
        error = make_locks(&segment->view);
    if (error != 0)
        return refuse_birth(segment, descriptor, error, capacity);
    pool_make(&segment->view);
    write_header(segment, request, base, interleaved);
    segment->created = true;
    return 0;
}

/* ---------------------------------------------------------------- opening */

enum file_stage { STAGE_UNBORN, STAGE_READY, STAGE_FOREIGN };

static enum file_stage stage_of(int descriptor, const struct os_file *file, struct header *header)
{
    if (file->bytes == 0)
        return STAGE_UNBORN;
    if (os_read_at(descriptor, header, sizeof *header, 0) != sizeof *header)
        return STAGE_FOREIGN;
    if (header->magic == LAYOUT_MAGIC)
        return header->ready == LAYOUT_READY ? STAGE_READY : STAGE_UNBORN;
    return header->magic == 0 && header->ready == 0 ? STAGE_UNBORN : STAGE_FOREIGN;
}

static int map_existing(struct segment *segment, int descriptor, const struct header *header)
{
    int error = -EEXIST;
    if (header->base != 0)
        error = map_at_base(segment, descriptor, header->base, header->capacity);
    return error == 0 ? 0 : map_anywhere(segment, descriptor, header->capacity);
}

static int join(struct segment *segment, int descriptor, const struct os_file *file, struct header *header,
                const struct segment_request *request)
{
    header->name[sizeof header->name - 1] = '\0';
    if (check_identity(segment, header) != 0 || check_header(segment, header, file) != 0 ||
        check_wishes(segment, header, request) != 0)
        return -1;
    return map_existing(segment, descriptor, header);
}

static int open_locked(struct segment *segment, int descriptor, const struct os_file *file,
                       const struct segment_request *request)
{
    struct header header;
    segment->device = file->device;
    segment->inode = file->inode;
    if (check_file(segment, file, request->uid) != 0)
        return -1;
    switch (stage_of(descriptor, file, &header)) {
    case STAGE_READY:
        return join(segment, descriptor, file, &header, request);
    case STAGE_UNBORN:
        if (request->read_only || request->must_exist)
            return error_set(EPROTO, "%s is not ready: its creator is at work or has died", segment->path);
        return create(segment, descriptor, request);
    default:
        return error_set(EPROTO, "%s is no segment of this library; remove it", segment->path);
    }
}

static int check_directory(const struct segment *segment)
{
    struct os_space space;
    const int error = os_file_system(segment->directory, &space);
    if (error != 0)
        return error_set(-error, "cannot use the directory %s: %s", segment->directory, error_words(-error));
    if (space.kind != OS_MEMORY_FILES)
        return error_set(ENOTSUP,
                         "the directory %s is not on a tmpfs; segments lie in memory, as in /dev/shm",
                         segment->directory);
    return 0;
}

static int begin(struct segment *segment, const struct segment_request *request)
{
    *segment = (struct segment){.read_only = request->read_only};
    if (segment_check_name(request->name) != 0)
        return -1;
    if (strlen(request->directory) >= sizeof segment->directory)
        return error_set(EINVAL, "the directory name is too long");
    strcpy(segment->name, request->name);
    strcpy(segment->directory, request->directory);
    segment_set_job(segment->job, request->job);
    segment_path(segment->path, segment->directory, request->uid, segment->job, segment->name);
    return check_directory(segment);
}

static enum os_open how_to_open(const struct segment_request *request)
{
    if (request->read_only)
        return OS_READ;
    return request->must_exist ? OS_WRITE : OS_CREATE;
}

int segment_open(struct segment *segment, const struct segment_request *request,
                 int (*attach)(struct segment *segment, void *argument), void *argument)
{
    struct os_file file;
    if (begin(segment, request) != 0)
        return -1;
    for (int tries = 0; tries < TRIES; tries++) {
        const int descriptor = os_open_file(segment->path, how_to_open(request));
        if (descriptor < 0)
            return refuse_open(segment, descriptor);
        /* before the lock, which whoever may open the file can hold for ever */
        if (os_stat_file(descriptor, &file) == 0 && check_file(segment, &file, request->uid) != 0) {
            os_close(descriptor);
            return -1;
        }
        if (!request->read_only && file_lock(descriptor, LOCK_FILE_PATIENCE) != 0) {
            os_close(descriptor);
            return error_set(EBUSY, "%s has been locked for too long by a process that opens or closes it",
                             segment->path);
        }
        struct header *header = NULL; /* where it can be written */
        int result = 1;
        if (os_stat_file(descriptor, &file) == 0 && name_leads_to(segment->path, &file)) {
            result = open_locked(segment, descriptor, &file, request);
            if (result == 0 && !request->read_only && attach(segment, argument) != 0) {
                segment_unmap(segment);
                result = -1;
            }
            if (result == 0 && !request->read_only)
                header = segment->view.header;
        }
        (void)file_unlock(descriptor, header);
        os_close(descriptor);
        if (result <= 0)
            return result;
    }
    return error_set(EBUSY, "%s is made and removed over and over", segment->path);
}

void segment_leave(const struct segment *segment, bool (*nobody_left)(struct segment *, void *),
                   void *argument)
{
    struct os_file file;
    const int descriptor = os_open_file(segment->path, OS_WRITE);
    if (descriptor < 0)
        return;
    if (file_lock(descriptor, LOCK_FILE_PATIENCE) == 0) {
        if (os_stat_file(descriptor, &file) == 0 && file.inode == segment->inode &&
            file.device == segment->device && name_leads_to(segment->path, &file)) {
            struct segment copy = *segment;
            if (nobody_left(&copy, argument)) {
                os_unlink(segment->path);
                registry_tidy(false);
            }
        }
        /* the mapping may have gone just now */
        const bool is_mapped = segment->view.base != NULL && !segment->read_only;
        (void)file_unlock(descriptor, is_mapped ? segment->view.header : NULL);
    }
    os_close(descriptor);
}

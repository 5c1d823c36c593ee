/* SPDX-License-Identifier: MIT */
#include "merge_index.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "merge_index_own.h"
#include "registry.h"

#define PREFIX             "shmcore-merge."
#define LOCK_PATIENCE_FILE UINT64_C(1000000000)

/* ---------------------------------------------------------------- files */

static void set_prefix(char out[320], const char *directory, uid_t uid, uint64_t nonce)
{
    error_format(out, 320, "%s/" PREFIX "%u.%lx", directory, (unsigned)uid, (unsigned long)nonce);
}

void merge_index_path(const struct merge_index *index, char out[MERGE_PATH_BYTES])
{
    error_format(out, MERGE_PATH_BYTES, "%s.index", index->prefix);
}

/* Nobody else's, and nobody else may read it. */
int merge_index_open_own(const char *path, enum os_open how)
{
    struct os_file file;
    const int descriptor = os_open_file(path, how);
    if (descriptor < 0)
        return descriptor;
    const bool ours = os_stat_file(descriptor, &file) == 0 && file.regular && file.uid == os_user() &&
                      (file.mode & 077) == 0;
    if (!ours)
        os_close(descriptor);
    return ours ? descriptor : -EACCES;
}

int merge_index_lock(struct merge_index *index)
{
    char path[MERGE_PATH_BYTES];
    struct os_file file;
    merge_index_path(index, path);
    const int descriptor = merge_index_open_own(path, OS_WRITE);
    if (descriptor < 0)
        return descriptor;
    const bool is_wary = os_clock() < atomic_load(&index->wary);
    int error = os_lock_file(descriptor, is_wary ? 0 : LOCK_PATIENCE_FILE);
    if (error == -EBUSY && !is_wary)
        atomic_store(&index->wary, os_clock() + LOCK_PATIENCE_FILE);
    if (error == 0 &&
        (os_stat_file(descriptor, &file) != 0 || file.inode != index->inode || file.device != index->device))
        error = -ENOENT; /* removed, with its segment */
    if (error == 0)
        return descriptor;
    os_close(descriptor);
    return error;
}

void merge_index_unlock(int descriptor)
{
    os_unlock_file(descriptor); /* a forked child may hold a copy of the descriptor */
    os_close(descriptor);
}

int merge_index_reserve(int descriptor, uint64_t offset, uint64_t bytes)
{
    const uint64_t from = align_down(offset, PAGE_BYTES);
    return os_reserve(descriptor, from, align_up(offset + bytes, PAGE_BYTES) - from);
}

/* ---------------------------------------------------------------- opening */

/* Until it is ready only this function's caller, who has the lock, looks at it. */
static int make(struct merge_index *index, int descriptor, const char *path)
{
    struct merge_header header = {
        .magic = MERGE_MAGIC, .version = MERGE_VERSION, .nonce = index->segment->view.header->nonce};
    struct registry registry = registry_open(true);
    header.base = registry_free_base(&registry, 0, MERGE_SPACE);
    if (header.base != 0)
        registry_note_base(&registry, header.base, MERGE_SPACE, path);
    registry_close(&registry);
    if (header.base == 0)
        return -ENOSPC;
    int error = os_resize(descriptor, sizeof(struct merge_file));
    if (error == 0)
        error = os_reserve(descriptor, 0, offsetof(struct merge_file, sheets));
    if (error == 0)
        error = os_write_at(descriptor, &header, sizeof header, 0);
    header.ready = 1;
    return error != 0 ? error : os_write_at(descriptor, &header, sizeof header, 0);
}

static int check(const struct merge_index *index, int descriptor, struct merge_header *header)
{
    struct os_file file;
    if (os_stat_file(descriptor, &file) != 0 ||
        os_read_at(descriptor, header, sizeof *header, 0) != sizeof *header || header->ready == 0)
        return -EAGAIN;
    const bool sound = header->magic == MERGE_MAGIC && header->version == MERGE_VERSION &&
                       header->nonce == index->segment->view.header->nonce &&
                       file.bytes == sizeof(struct merge_file) && header->base % WINDOW_SLOT == 0 &&
                       header->base >= WINDOW_BASE && header->base <= WINDOW_END - MERGE_SPACE;
    return sound ? 0 : -EPROTO;
}

static int map(struct merge_index *index, int descriptor, bool writable)
{
    struct merge_header header;
    struct os_file file;
    void *memory;
    int error = check(index, descriptor, &header);
    if (error == 0)
        error = os_stat_file(descriptor, &file);
    if (error == 0)
        error = os_map_file(descriptor, sizeof(struct merge_file), writable, &memory);
    if (error != 0)
        return error;
    index->base = header.base;
    index->device = file.device;
    index->inode = file.inode;
    index->file = memory;
    return 0;
}

static int open_locked(struct merge_index *index, const char *path)
{
    const int descriptor = merge_index_open_own(path, OS_CREATE);
    struct merge_header header;
    if (descriptor < 0)
        return descriptor;
    int error = os_lock_file(descriptor, LOCK_PATIENCE_FILE);
    if (error == 0) {
        error = check(index, descriptor, &header) == -EAGAIN ? make(index, descriptor, path) : 0;
        if (error == 0)
            error = map(index, descriptor, true);
        os_unlock_file(descriptor);
    }
    os_close(descriptor);
    return error;
}

static int open_existing(struct merge_index *index, const char *path)
{
    const bool writable = !index->segment->read_only;
    const int descriptor = os_open_file(path, writable ? OS_WRITE : OS_READ);
    if (descriptor < 0)
        return descriptor;
    const int error = map(index, descriptor, writable);
    os_close(descriptor);
    return error == -EAGAIN ? -ENOENT : error;
}

int merge_index_open(struct merge_index *index, const struct segment *segment, bool create)
{
    char path[MERGE_PATH_BYTES];
    const struct header *header = segment->view.header;
    *index = (struct merge_index){.segment = segment};
    set_prefix(index->prefix, segment->directory, header->uid, header->nonce);
    merge_index_path(index, path);
    const int error = create ? open_locked(index, path) : open_existing(index, path);
    if (error == 0)
        return 0;
    if (error == -ENOSPC)
        return error_set(ENOMEM, "no %u GiB of addresses are left for merged memory of segment '%s'",
                         (unsigned)(MERGE_SPACE / GIBI), segment->name);
    return error_set(-error, "cannot open %s: %s", path, error_words(-error));
}

void merge_index_close(struct merge_index *index)
{
    if (index->file != NULL)
        os_unmap(index->file, sizeof *index->file);
    index->file = NULL;
}

bool merge_index_is_there(const struct segment *segment)
{
    struct merge_index index;
    char path[MERGE_PATH_BYTES];
    struct os_file file;
    const struct header *header = segment->view.header;
    set_prefix(index.prefix, segment->directory, header->uid, header->nonce);
    merge_index_path(&index, path);
    return os_stat_path(path, &file) == 0;
}

/* ---------------------------------------------------------------- removing */

struct sweep {
    const char *directory;
    const char *prefix; /* names that begin so … */
    bool sheets;        /* … and are not the index's */
    uid_t uid;          /* … or, NULL: this user's whose segment is not there */
    uint64_t bytes;
};

static int remove_one(const char *name, void *argument)
{
    struct sweep *sweep = argument;
    char path[512];
    struct os_file file;
    const size_t length = strlen(sweep->prefix);
    if (strncmp(name, sweep->prefix, length) != 0 || (sweep->sheets && strcmp(name + length, "index") == 0))
        return 0;
    error_format(path, sizeof path, "%s/%s", sweep->directory, name);
    if (os_stat_path(path, &file) == 0 && os_unlink(path) == 0)
        sweep->bytes += file.blocks;
    return 0;
}

void merge_index_remove_files(const struct segment *segment)
{
    char prefix[320];
    const struct header *header = segment->view.header;
    set_prefix(prefix, segment->directory, header->uid, header->nonce);
    const size_t directory = strlen(segment->directory) + 1;
    const size_t length = strlen(prefix);
    prefix[length] = '.';
    prefix[length + 1] = '\0';
    struct sweep sweep = {.directory = segment->directory, .prefix = prefix + directory, .sheets = true};
    if (!merge_index_is_there(segment)) /* it is made first and removed last: without it there is nothing */
        return;
    os_list(segment->directory, remove_one, &sweep);
    sweep.sheets = false; /* a new index must never find copies that it does not know of */
    os_list(segment->directory, remove_one, &sweep);
}

/* Does a segment with this nonce lie in the directory, or one of which that cannot be told (no descriptor is
 * left, say)? */
struct search {
    const char *directory;
    uint64_t uid, nonce;
};

static int is_the_segment(const char *name, void *argument)
{
    const struct search *search = argument;
    char path[512], job[64], segment[SEGMENT_NAME_BYTES];
    struct header header;
    uid_t uid;
    if (!segment_parse_file_name(name, &uid, job, segment) || uid != search->uid)
        return 0;
    error_format(path, sizeof path, "%s/%s", search->directory, name);
    const int descriptor = os_open_file(path, OS_READ);
    if (descriptor < 0)
        return descriptor != -ENOENT;
    const int64_t read = os_read_at(descriptor, &header, sizeof header, 0);
    os_close(descriptor);
    return read < 0 || (read == sizeof header && header.nonce == search->nonce);
}

static bool parse_name(const char *name, uint64_t *uid, uint64_t *nonce)
{
    const size_t prefix = sizeof PREFIX - 1;
    if (strncmp(name, PREFIX, prefix) != 0)
        return false;
    *uid = *nonce = 0;
    for (name += prefix; *name >= '0' && *name <= '9'; name++)
        *uid = *uid * 10 + (uint64_t)(*name - '0');
    if (*name++ != '.')
        return false;
    for (; (*name >= '0' && *name <= '9') || (*name >= 'a' && *name <= 'f'); name++)
        *nonce = *nonce << 4 | (uint64_t)(*name <= '9' ? *name - '0' : *name - 'a' + 10);
    return *name == '.';
}

/* A file of merged memory is made after its segment and removed after it: a segment that is not found after
 * the file was seen is gone. */
static int collect_one(const char *name, void *argument)
{
    struct sweep *sweep = argument;
    struct search search = {.directory = sweep->directory};
    if (!parse_name(name, &search.uid, &search.nonce) || (sweep->uid != 0 && search.uid != sweep->uid) ||
        os_list(sweep->directory, is_the_segment, &search) != 0)
        return 0;
    struct sweep this = {.directory = sweep->directory, .prefix = name};
    remove_one(name, &this);
    sweep->bytes += this.bytes;
    return 0;
}

uint64_t merge_index_collect(const char *directory, uid_t uid)
{
    struct sweep sweep = {.directory = directory, .uid = uid};
    os_list(directory, collect_one, &sweep);
    return sweep.bytes;
}

/* ---------------------------------------------------------------- spans */

static uint32_t span_count(const struct merge_index *index)
{
    return (uint32_t)least(atomic_load_explicit(&index->file->header.spans, memory_order_acquire),
                           MERGE_SPANS);
}

static const struct merge_span *find_span(const struct merge_index *index, const uint64_t key[2],
                                          uint32_t grains)
{
    const uint32_t count = span_count(index);
    for (uint32_t i = 0; i < count; i++) {
        const struct merge_span *span = &index->file->spans[i];
        if (span->key[0] == key[0] && span->key[1] == key[1] && span->count == grains &&
            span->first < MERGE_GRAINS && grains <= MERGE_GRAINS - span->first)
            return span;
    }
    return NULL;
}

static int reserve_for(int descriptor, uint32_t number, uint32_t first, uint32_t grains)
{
    const uint32_t sheets = (uint32_t)(MERGE_GRAIN / MERGE_SHEET);
    int error = merge_index_reserve(descriptor,
                                    offsetof(struct merge_file, spans) + number * sizeof(struct merge_span),
                                    sizeof(struct merge_span));
    if (error == 0)
        error = merge_index_reserve(descriptor,
                                    offsetof(struct merge_file, sheets) + (uint64_t)first * sheets * 8,
                                    (uint64_t)grains * sheets * 8);
    if (error == 0)
        error = merge_index_reserve(descriptor,
                                    offsetof(struct merge_file, chunks) +
                                        (uint64_t)first * GRAIN_CHUNKS * sizeof(struct merge_chunk),
                                    (uint64_t)grains * GRAIN_CHUNKS * sizeof(struct merge_chunk));
    return error;
}

/* With the lock. */
static int add_span(struct merge_index *index, int descriptor, const uint64_t key[2], const char *label,
                    size_t length, uint32_t grains)
{
    struct merge_header *header = &index->file->header;
    const uint32_t number = span_count(index);
    const uint32_t first = atomic_load(&header->grains);
    if (number == MERGE_SPANS || first > MERGE_GRAINS || grains > MERGE_GRAINS - first)
        return -ENOSPC;
    const int error = reserve_for(descriptor, number, first, grains);
    if (error != 0)
        return error;
    atomic_store(&header->grains, first + grains);
    struct merge_span *span = &index->file->spans[number];
    *span = (struct merge_span){.key = {key[0], key[1]},
                                .first = first,
                                .count = grains,
                                .length = (uint32_t)least(length, MERGE_LABEL)};
    memcpy(span->label, label, span->length);
    atomic_store_explicit(&header->spans, number + 1, memory_order_release);
    return 0;
}

int merge_index_agree(struct merge_index *index, const uint64_t key[2], const char *label, size_t length,
                      uint32_t grains, uint32_t *first)
{
    const struct merge_span *span = find_span(index, key, grains);
    if (span == NULL) {
        const int descriptor = merge_index_lock(index);
        if (descriptor < 0)
            return descriptor;
        int error = 0;
        if (find_span(index, key, grains) == NULL)
            error = add_span(index, descriptor, key, label, length, grains);
        merge_index_unlock(descriptor);
        if (error != 0)
            return error;
        span = find_span(index, key, grains);
    }
    if (span == NULL)
        return -EIO;
    *first = span->first;
    return 0;
}

/* SPDX-License-Identifier: MIT
 *
 * Arenas in the merge spaces of this process: made, allocated from, freed into; what a fork does to them.
 */
#include <errno.h>
#include <string.h>

#include "error.h"
#include "os.h"
#include "park.h"
#include "private.h"
#include "private_own.h"
#include "shortage.h"

static struct {
    pthread_mutex_t lock; /* spaces are made */
    _Atomic(struct private_space *) space[STORE_HANDLES];
    _Atomic uint32_t used; /* places beyond these are not looked at: nothing was ever there */
    _Atomic unsigned best; /* enum hold_way */
    _Atomic bool ended;    /* the process is about to end: no more passes */
} privates = {.lock = PTHREAD_MUTEX_INITIALIZER};

struct private_space *private_space_of(uint32_t index)
{
    return atomic_load_explicit(&privates.space[index], memory_order_acquire);
}

uint32_t private_chunks_end(const struct private_space *space)
{
    return (uint32_t)least(atomic_load(&space->index.file->header.grains), MERGE_GRAINS) * GRAIN_CHUNKS;
}

struct private_space *private_space_at(const void *pointer)
{
    const uint32_t used = atomic_load_explicit(&privates.used, memory_order_acquire);
    for (uint32_t i = 0; i < used; i++) {
        struct private_space *space = private_space_of(i);
        if (space != NULL && (uint64_t)((const unsigned char *)pointer - space->ground.base) < MERGE_SPACE)
            return space;
    }
    return NULL;
}

void private_set_hold(unsigned best)
{
    atomic_store(&privates.best, best);
}

unsigned private_hold(void)
{
    return atomic_load(&privates.best);
}

/* ---------------------------------------------------------------- spaces */

static struct private_space *make_space(shmcore_segment *segment, uint32_t index)
{
    void *memory;
    if (os_map_private(align_up(sizeof(struct private_space), PAGE_BYTES), &memory) != 0) {
        error_set(ENOMEM, "no addresses are left for merged memory of segment '%s'", segment->file.name);
        return NULL;
    }
    struct private_space *space = memory;
    if (merge_index_open(&space->index, &segment->file, true) != 0) {
        os_unmap(memory, align_up(sizeof *space, PAGE_BYTES));
        return NULL;
    }
    space->segment = segment;
    private_make_ground(space);
    pthread_mutex_init(&space->lock, NULL);
    pthread_mutex_init(&space->tables, NULL);
    pthread_mutex_init(&space->passing, NULL);
    atomic_store_explicit(&privates.space[index], space, memory_order_release);
    if (index >= atomic_load(&privates.used))
        atomic_store_explicit(&privates.used, index + 1, memory_order_release);
    return space;
}

struct private_space *private_space_for(const shmcore_segment *segment)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++)
        if (private_space_of(i) != NULL && private_space_of(i)->segment == segment)
            return private_space_of(i);
    return NULL;
}

static struct private_space *space_for(shmcore_segment *segment)
{
    uint32_t index = 0;
    while (index < STORE_HANDLES && segment_handle(index) != segment)
        index++;
    struct private_space *space = index < STORE_HANDLES ? private_space_of(index) : NULL;
    if (space != NULL || index == STORE_HANDLES)
        return space;
    pthread_mutex_lock(&privates.lock);
    space = private_space_of(index);
    if (space == NULL)
        space = make_space(segment, index);
    pthread_mutex_unlock(&privates.lock);
    return space;
}

struct private_space *private_space_or_join(uint32_t index)
{
    struct private_space *space = private_space_of(index);
    shmcore_segment *segment = segment_handle(index);
    if (space != NULL || segment == NULL || segment->row == ROW_NONE || !merge_index_is_there(&segment->file))
        return space;
    return space_for(segment);
}

void private_close(shmcore_segment *segment)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        struct private_space *space = private_space_of(i);
        if (space == NULL || space->segment != segment)
            continue;
        pthread_mutex_lock(&space->passing);
        atomic_store(&privates.space[i], NULL);
        for (uint32_t grain = 0; grain < MERGE_GRAINS; grain++)
            if (atomic_load_explicit(&space->by_grain[grain], memory_order_relaxed) != NULL)
                os_unmap(space->ground.base + grain * MERGE_GRAIN, MERGE_GRAIN);
        if (segment->row != ROW_NONE)
            merge_index_drop_row(&space->index, segment->row);
        merge_index_close(&space->index);
        pthread_mutex_unlock(&space->passing);
        os_unmap(space,
                 align_up(sizeof *space, PAGE_BYTES)); /* the arenas' tables stay: a closed segment is rare */
    }
}

void private_drop_row(shmcore_segment *segment, uint32_t row)
{
    struct merge_index index;
    struct private_space *space = private_space_for(segment);
    const int kept_errno = errno;
    if (space != NULL) {
        merge_index_drop_row(&space->index, row);
    } else if (merge_index_is_there(&segment->file) && merge_index_open(&index, &segment->file, false) == 0) {
        merge_index_drop_row(&index, row);
        merge_index_close(&index);
    }
    errno = kept_errno;
}

/* ---------------------------------------------------------------- arenas */

static _Atomic(struct arena *) *bucket_of(struct private_space *space, const uint64_t key[2])
{
    return &space->by_key[key[0] % PRIVATE_BUCKETS];
}

static struct arena *find_arena(struct private_space *space, const uint64_t key[2])
{
    struct arena *arena = atomic_load_explicit(bucket_of(space, key), memory_order_acquire);
    while (arena != NULL && (arena->key[0] != key[0] || arena->key[1] != key[1]))
        arena = arena->next_by_key;
    return arena;
}

static struct arena *make_arena(struct private_space *space, const uint64_t key[2], const char *label,
                                size_t length, const struct private_rule *rule)
{
    struct arena *arena = space->ground.memory(&space->ground, sizeof *arena);
    if (arena == NULL) {
        error_set(ENOMEM, "no memory is left for the tables of merged memory");
        return NULL;
    }
    pthread_mutex_lock(&space->lock);
    struct arena *other = find_arena(space, key);
    if (other == NULL) {
        arena->ground = &space->ground;
        arena->key[0] = key[0], arena->key[1] = key[1];
        arena->owner = rule->owner;
        arena->when = (uint32_t)rule->when;
        arena->quiet = rule->quiet;
        arena->label_length = (uint32_t)least(length, ARENA_LABEL);
        memcpy(arena->label, label, arena->label_length);
        pthread_mutex_init(&arena->lock, NULL);
        arena->next_by_key = atomic_load(bucket_of(space, key));
        atomic_store_explicit(bucket_of(space, key), arena, memory_order_release);
        arena->next = atomic_load(&space->arenas);
        atomic_store_explicit(&space->arenas, arena, memory_order_release);
    }
    pthread_mutex_unlock(&space->lock);
    return other != NULL ? other : arena;
}

struct arena *private_arena(shmcore_segment *segment, const char *label, size_t length, uint64_t salt,
                            const struct private_rule *rule)
{
    struct private_space *space = space_for(segment);
    if (space == NULL)
        return NULL;
    const uint64_t first = hash_bytes(label, length);
    const uint64_t key[2] = {hash_mix(first ^ salt), hash_mix(hash_mix(first + length) + salt)};
    struct arena *arena = find_arena(space, key);
    return arena != NULL ? arena : make_arena(space, key, label, length, rule);
}

/* ---------------------------------------------------------------- blocks */

static void note_block(struct private_space *space, struct arena *arena, const void *pointer, size_t bytes)
{
    if (bytes < MERGE_CHUNK)
        return;
    struct merge_chunk *chunk = &space->index.file->chunks[private_chunk_of(space, pointer)];
    atomic_store_explicit(&chunk->block_bytes, bytes, memory_order_relaxed);
    atomic_store_explicit(&chunk->block_sequence, arena->sequence, memory_order_relaxed);
}

static void *refuse(const struct private_space *space, size_t bytes, int error)
{
    char size[ERROR_SIZE_BYTES], why[SHORTAGE_BYTES];
    const char *name = space->segment->file.name;
    error_size(size, bytes);
    if (space->segment->row == ROW_NONE || space->segment->row >= MERGE_ROWS)
        error_set(ENOMEM, "only %u processes of segment '%s' can have merged memory", MERGE_ROWS, name);
    else if (error == -ENOSPC)
        error_set(ENOMEM, "no addresses are left for %s of merged memory in segment '%s'", size, name);
    else if (error == -EEXIST)
        error_set(ENOMEM, "the addresses that the other processes have %s of merged memory at are taken",
                  size);
    else if (error == -ENOMEM)
        error_set(ENOMEM, "no addresses for %s of merged memory in segment '%s': %s", size, name,
                  shortage_of_addresses(why));
    else
        error_set(ENOMEM, "no %s of merged memory in segment '%s': %s", size, name, error_words(-error));
    return NULL;
}

void *private_allocate(struct arena *arena, size_t bytes, size_t alignment, bool zero)
{
    struct private_space *space = private_space_under(arena->ground);
    int error = -ENOMEM;
    void *pointer = NULL;
    if (space->segment->row < MERGE_ROWS) {
        pthread_mutex_lock(&arena->lock);
        pointer = arena_allocate(arena, bytes, alignment, zero, &error);
        if (pointer != NULL) {
            note_block(space, arena, pointer, bytes);
            arena->sequence++;
        }
        pthread_mutex_unlock(&arena->lock);
    }
    return pointer != NULL ? pointer : refuse(space, bytes, error);
}

static struct arena *arena_at(const void *pointer)
{
    const struct private_space *space = private_space_at(pointer);
    if (space == NULL)
        return NULL;
    const uint64_t offset = (uint64_t)((const unsigned char *)pointer - space->ground.base);
    return atomic_load_explicit(&space->by_grain[offset / MERGE_GRAIN], memory_order_acquire);
}

bool private_owns(const void *pointer)
{
    return arena_at(pointer) != NULL;
}

/* Whoever gets its memory next expects to read and write it. */
static COLD void lift_protection(const struct arena *arena, void *pointer)
{
    const uintptr_t start = align_up((uintptr_t)pointer, PAGE_BYTES);
    const uintptr_t end = align_down((uintptr_t)pointer + arena_usable(arena, pointer), PAGE_BYTES);
    if (end > start)
        os_allow((void *)start, end - start);
}

shmcore_segment *private_segment_of(const void *pointer)
{
    const struct private_space *space = private_space_at(pointer);
    return space != NULL ? space->segment : NULL;
}

bool private_free(void *pointer, const void *owner)
{
    struct arena *arena = arena_at(pointer);
    if (arena == NULL)
        return false;
    const struct private_space *space = private_space_under(arena->ground);
    pthread_mutex_lock(&arena->lock);
    if (UNLIKELY(space->chunks[private_chunk_of(space, pointer)].altered))
        lift_protection(arena, pointer);
    const bool freed = arena_free(arena, pointer, arena->owner == NULL || arena->owner == owner);
    pthread_mutex_unlock(&arena->lock);
    return freed;
}

size_t private_usable(const void *pointer)
{
    struct arena *arena = arena_at(pointer);
    if (arena == NULL)
        return 0;
    pthread_mutex_lock(&arena->lock);
    const size_t bytes = arena_usable(arena, pointer);
    pthread_mutex_unlock(&arena->lock);
    return bytes;
}

bool private_resize(const void *pointer, size_t bytes, const void *owner)
{
    struct arena *arena = arena_at(pointer);
    if (arena == NULL)
        return false;
    struct private_space *space = private_space_under(arena->ground);
    pthread_mutex_lock(&arena->lock);
    const bool resized = arena_resize(arena, pointer, bytes, arena->owner == NULL || arena->owner == owner);
    if (resized && bytes >= MERGE_CHUNK) /* of smaller ones a chunk has many */
        atomic_store_explicit(&space->index.file->chunks[private_chunk_of(space, pointer)].block_bytes, bytes,
                              memory_order_relaxed);
    pthread_mutex_unlock(&arena->lock);
    return resized;
}

size_t private_left(const void *pointer)
{
    struct arena *arena = arena_at(pointer);
    if (arena == NULL)
        return 0;
    pthread_mutex_lock(&arena->lock);
    const size_t bytes = arena_left(arena, pointer);
    pthread_mutex_unlock(&arena->lock);
    return bytes;
}

struct arena *private_alter_begin(const void *address, size_t bytes)
{
    struct private_space *space = private_space_at(address);
    struct arena *arena = bytes != 0 ? arena_at(address) : NULL;
    if (arena == NULL)
        return NULL;
    pthread_mutex_lock(&arena->lock);
    const uint32_t last = private_chunk_of(space, (const unsigned char *)address + bytes - 1);
    for (uint32_t chunk = private_chunk_of(space, address); chunk <= last && chunk < MERGE_CHUNKS; chunk++)
        space->chunks[chunk].altered = true;
    return arena;
}

void private_alter_end(struct arena *arena)
{
    if (arena != NULL)
        pthread_mutex_unlock(&arena->lock);
}

int private_forget(void *address, size_t bytes)
{
    struct arena *arena = arena_at(address);
    const size_t left = (size_t)align_up(private_left(address), PAGE_BYTES);
    if (arena == NULL || left == 0)
        return -EINVAL;
    pthread_mutex_lock(&arena->lock);
    const int error = os_map_private_over(address, least(bytes, left));
    if (error == 0)
        private_note_holes(private_space_under(arena->ground), address, least(bytes, left));
    pthread_mutex_unlock(&arena->lock);
    return error;
}

/* ---------------------------------------------------------------- the end, a fork */

void private_end(void)
{
    atomic_store(&privates.ended, true);
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        struct private_space *space = private_space_of(i);
        if (space != NULL &&
            space->segment->self.pid == os_process()) /* a child of _Fork has nobody's pass to await */
            pthread_mutex_lock(&space->passing);      /* for good */
    }
}

bool private_has_ended(void)
{
    return atomic_load_explicit(&privates.ended, memory_order_relaxed);
}

/* A pass may take long, and goes on: with the arenas locked it is between two chunks. */
void private_fork_prepare(void)
{
    pthread_mutex_lock(&privates.lock);
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        struct private_space *space = private_space_of(i);
        if (space == NULL)
            continue;
        pthread_mutex_lock(&space->lock);
        for (struct arena *arena = atomic_load(&space->arenas); arena != NULL; arena = arena->next)
            pthread_mutex_lock(&arena->lock);
        pthread_mutex_lock(&space->tables);
    }
}

void private_fork_parent(void)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        struct private_space *space = private_space_of(i);
        if (space == NULL)
            continue;
        pthread_mutex_unlock(&space->tables);
        for (struct arena *arena = atomic_load(&space->arenas); arena != NULL; arena = arena->next)
            pthread_mutex_unlock(&arena->lock);
        pthread_mutex_unlock(&space->lock);
    }
    pthread_mutex_unlock(&privates.lock);
}

/* The pages are the child's own already. It holds no canonical copy yet: what it has mapped stays whatever
 * becomes of the file, and its first pass makes it a holder. */
void private_fork_child(void)
{
    for (uint32_t i = 0; i < STORE_HANDLES; i++) {
        struct private_space *space = private_space_of(i);
        if (space == NULL)
            continue;
        pthread_mutex_init(&space->passing, NULL); /* the thread that made a pass is not here */
        for (uint32_t grain = 0; grain < MERGE_GRAINS; grain++)
            for (uint32_t c = 0; c < GRAIN_CHUNKS && space->by_grain[grain] != NULL; c++) {
                struct merge_local *local = &space->chunks[grain * GRAIN_CHUNKS + c];
                local->holds = false;
                local->tried = 0; /* by this process not yet */
            }
    }
    private_fork_parent();
    park_after_fork();
}

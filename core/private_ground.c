/* SPDX-License-Identifier: MIT
 *
 * What the arenas of this process stand on: addresses that all processes agree on, and their memory. With the
 * arena's lock; `tables` is the innermost.
 */
#include <string.h>

#include "os.h"
#include "private_own.h"

static void *take_memory(struct arena_ground *ground, size_t bytes)
{
    struct private_space *space = private_space_under(ground);
    void *memory = NULL;
    bytes = align_up(bytes, 16);
    pthread_mutex_lock(&space->tables);
    if (bytes > PRIVATE_CHUNK_MEMORY / 4) {
        if (os_map_private(align_up(bytes, PAGE_BYTES), &memory) != 0)
            memory = NULL;
    } else {
        if (bytes > space->memory_left && os_map_private(PRIVATE_CHUNK_MEMORY, &memory) == 0) {
            space->memory = memory;
            space->memory_left = PRIVATE_CHUNK_MEMORY;
        }
        memory = bytes <= space->memory_left ? space->memory : NULL;
        if (memory != NULL) {
            space->memory += bytes;
            space->memory_left -= bytes;
        }
    }
    pthread_mutex_unlock(&space->tables);
    return memory;
}

static int extend(struct arena_ground *ground, struct arena *arena, uint32_t ordinal, uint32_t grains,
                  uint32_t *first)
{
    struct private_space *space = private_space_under(ground);
    const uint64_t key[2] = {hash_mix(arena->key[0] + ordinal), arena->key[1] ^ hash_mix(ordinal)};
    int error = merge_index_agree(&space->index, key, arena->label, arena->label_length, grains, first);
    if (error != 0)
        return error;
    error = os_map_private_at(space->index.base + *first * MERGE_GRAIN, grains * MERGE_GRAIN);
    for (uint32_t i = 0; i < grains && error == 0; i++)
        atomic_store_explicit(&space->by_grain[*first + i], arena, memory_order_release);
    return error;
}

static int use(struct arena_ground *ground, uint32_t page, uint32_t pages)
{
    struct private_space *space = private_space_under(ground);
    const uint32_t first = page / CHUNK_PAGES, end = (page + pages - 1) / CHUNK_PAGES + 1;
    const int error = merge_index_use(&space->index, space->segment->row, first, end - first);
    for (uint32_t chunk = first; chunk < end && error == 0; chunk++)
        space->chunks[chunk].used = true;
    return error;
}

/* Nothing lives in it any more: its canonical copy, if it has one, is not this process's business. What lay
 * beside the last block is a mapping of it as well, and would keep the whole file. */
static void leave_chunk(struct private_space *space, uint32_t chunk)
{
    struct merge_local *local = &space->chunks[chunk];
    if (local->file != 0)
        (void)os_map_private_over(space->ground.base + chunk * MERGE_CHUNK, MERGE_CHUNK);
    if (local->used && space->segment->row != ROW_NONE)
        merge_index_release(&space->index, space->segment->row, chunk, false);
    if (!merge_index_is_used(&space->index, chunk))
        atomic_store_explicit(&space->index.file->chunks[chunk].block_bytes, 0, memory_order_relaxed);
    *local = (struct merge_local){.barred = local->barred};
}

void private_note_holes(struct private_space *space, const void *address, uint64_t bytes)
{
    const uint32_t last = private_chunk_of(space, (const unsigned char *)address + bytes - 1);
    for (uint32_t chunk = private_chunk_of(space, address); chunk <= last; chunk++)
        space->chunks[chunk].has_holes |= space->chunks[chunk].file != 0;
}

/* Of all arenas together: as much as programs free and ask for again at a time, and little beside what they
 * have. */
#define STAYING_MOST ((uint32_t)(32 * MEBI / PAGE_BYTES))

/* Not what is a mapping of a canonical copy, nor what the program has changed the rights of. What stays is to
 * be looked at again when it has been so for a while, however often it was tried before. */
static bool may_stay(struct arena_ground *ground, uint32_t page, uint32_t pages)
{
    struct private_space *space = private_space_under(ground);
    const uint32_t first = page / CHUNK_PAGES, last = (page + pages - 1) / CHUNK_PAGES;
    if (atomic_load_explicit(&ground->staying, memory_order_relaxed) + pages > STAYING_MOST)
        return false;
    for (uint32_t chunk = first; chunk <= last; chunk++) {
        const struct merge_local *local = &space->chunks[chunk];
        if (local->file != 0 || local->barred || local->altered)
            return false;
    }
    for (uint32_t chunk = first; chunk <= last; chunk++)
        space->chunks[chunk].since = space->chunks[chunk].tried = 0;
    return true;
}

static void drop(struct arena_ground *ground, struct arena *arena, uint32_t page, uint32_t pages)
{
    struct private_space *space = private_space_under(ground);
    unsigned char *address = ground->base + page * PAGE_BYTES;
    if (os_map_private_over(address, pages * PAGE_BYTES) != 0)
        memset(address, 0, pages * PAGE_BYTES); /* no mapping is left: at least it is zero, as it must be */
    private_note_holes(space, address, pages * PAGE_BYTES);
    for (uint32_t chunk = page / CHUNK_PAGES; chunk <= (page + pages - 1) / CHUNK_PAGES; chunk++)
        if (!arena_lives_in(arena, chunk * CHUNK_PAGES, CHUNK_PAGES))
            leave_chunk(space, chunk);
}

void private_make_ground(struct private_space *space)
{
    space->ground = (struct arena_ground){.base = (unsigned char *)(uintptr_t)space->index.base,
                                          .extend = extend,
                                          .use = use,
                                          .drop = drop,
                                          .may_stay = may_stay,
                                          .memory = take_memory};
}

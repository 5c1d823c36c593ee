/* SPDX-License-Identifier: MIT
 *
 * What a fresh process finds when all the others are dead: a segment like a new one. It looks through the
 * public API as any process would, and then, through a view of its own, at what the API does not show.
 */
#include "storm-api.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "directory.h"
#include "heap.h"
#include "merge_index.h"
#include "pool.h"
#include "process.h"
#include "segment.h"
#include "shmcore.h"

static shmcore_segment *open_segment(struct storm_board *board)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.size = board->capacity;
    traits.dir = board->directory;
    traits.job = STORM_JOB;
    shmcore_segment *segment = shmcore_open(STORM_SEGMENT, &traits);
    if (segment == NULL)
        storm_complain(board, "a fresh process cannot attach: %s", shmcore_error());
    return segment;
}

bool storm_measure_fresh(struct storm_board *board)
{
    shmcore_segment *segment = open_segment(board);
    if (segment == NULL)
        return false;
    board->fresh_size = shmcore_actual_size(segment);
    shmcore_close(segment);
    return true;
}

/* ---------------------------------------------------------------- rows */

/* Attaching examines the rows whose process has vanished; what needs a closer look is for gc. */
static unsigned rows_of_others(const struct view *view, unsigned *promises)
{
    unsigned count = 0;
    for (uint32_t row = 0; row < process_rows_used(view); row++) {
        const enum row_state state = process_state(view, row);
        if (state == ROW_FREE || view->rows[row].pid == getpid())
            continue;
        *promises += state == ROW_FORKING;
        count += state != ROW_FORKING;
    }
    return count;
}

static void look_at_rows(struct storm_board *board, const struct view *view)
{
    for (uint32_t row = 0; row < process_rows_used(view); row++) {
        const struct process_row *entry = &view->rows[row];
        if (process_state(view, row) != ROW_FREE && entry->pid != getpid())
            storm_complain(board, "row %u of process %d is left in state %d (parent row %d, reaper %d)", row,
                           entry->pid, (int)process_state(view, row), (int)entry->parent - 1, entry->reaper);
    }
    for (uint32_t i = 0; i < view->shard_count * view->row_count; i++)
        if (view->held[i] != 0)
            storm_complain(board, "row %u is said to hold %u references in shard %u", i % view->row_count,
                           view->held[i], i / view->row_count);
}

/* ---------------------------------------------------------------- what the API does not show */

static void look_at_shard(struct storm_board *board, const struct view *view, uint32_t number)
{
    const struct shard *shard = &view->shards[number];
    struct shard copy; /* of its bins: a heap to look at needs ones it could change */
    memcpy(&copy, shard, sizeof copy);
    const struct heap heap = {.view = view, .bins = &copy.bins, .owner = OWNER_SHARD + number};
    if (shard->poisoned != 0)
        storm_complain(board, "shard %u is out of use", number);
    if (shard->undo.count != 0 || (shard->sequence & 1) != 0)
        storm_complain(board, "shard %u is in a transaction: %lu words, sequence %u", number,
                       (unsigned long)shard->undo.count, shard->sequence);
    if (!heap_is_sound(&heap))
        storm_complain(board, "the heap of shard %u is not sound", number);
    if (!directory_is_sound(view, shard, heap.owner))
        storm_complain(board, "the directory of shard %u is not sound", number);
    if (shard->blocks != 0 || shard->used_bytes != 0 || shard->directory.entries != 0)
        storm_complain(board, "shard %u counts %lu blocks, %lu bytes, %u names", number,
                       (unsigned long)shard->blocks, (unsigned long)shard->used_bytes,
                       shard->directory.entries);
}

static void look_at_pool(struct storm_board *board, const struct view *view)
{
    if (view->pool->poisoned != 0)
        storm_complain(board, "the pool is out of use");
    if (view->pool->undo.count != 0 || (view->pool->sequence & 1) != 0)
        storm_complain(board, "the pool is in a transaction");
    if (!pool_is_sound(view))
        storm_complain(board, "the pool is not sound");
    for (uint32_t region = view->table_regions; region < view->region_count; region++) {
        const bool is_free = (view->region_free[region / 64] >> region % 64 & 1) != 0;
        if (!is_free && view->region_owner[region] >= OWNER_PROCESS)
            storm_complain(board, "region %u still belongs to row %u", region,
                           view->region_owner[region] - OWNER_PROCESS);
    }
}

/* Copies without a holder, and holders that are dead. */
static void look_at_chunk(struct storm_board *board, const struct merge_index *index, uint32_t chunk)
{
    const uint64_t word = atomic_load(&index->file->chunks[chunk].state);
    if ((word & CHUNK_STATE_MASK) != CHUNK_EMPTY)
        storm_complain(board, "chunk %u of merged memory is left in state %u, file %u", chunk,
                       (unsigned)(word & CHUNK_STATE_MASK),
                       (unsigned)(word >> CHUNK_FILE_SHIFT & SHEET_FILE_MASK));
    for (uint32_t row = 0; row < MERGE_ROWS; row++)
        if (merge_index_held(index, row, chunk) != HELD_NOTHING)
            storm_complain(board, "row %u is said to have chunk %u", row, chunk);
}

static void look_at_merged(struct storm_board *board, const struct segment *file)
{
    struct merge_index index;
    if (!merge_index_is_there(file))
        return;
    if (merge_index_open(&index, file, false) != 0) {
        storm_complain(board, "merged memory cannot be looked into: %s", shmcore_error());
        return;
    }
    const uint32_t grains = atomic_load(&index.file->header.grains);
    for (uint32_t chunk = 0; chunk < grains * GRAIN_CHUNKS && chunk < MERGE_CHUNKS; chunk++)
        look_at_chunk(board, &index, chunk);
    merge_index_close(&index);
}

static void look_inside(struct storm_board *board, const struct view *view)
{
    look_at_rows(board, view);
    look_at_pool(board, view);
    for (uint32_t number = 0; number < view->shard_count; number++)
        look_at_shard(board, view, number);
}

/* ---------------------------------------------------------------- the end */

static int complain_of(const shmcore_block *block, void *argument)
{
    storm_complain(argument, "block '%s' of %zu bytes is left, with %u references, owner %d", block->name,
                   block->bytes, block->refs, (int)block->owner);
    return 0;
}

/* The segment lies at the address in its header, in this process too. */
static bool find_view(struct storm_board *board, const shmcore_segment *segment, struct view *view,
                      bool merged)
{
    struct segment file;
    const struct segment_request request = {.name = STORM_SEGMENT,
                                            .directory = board->directory,
                                            .job = STORM_JOB,
                                            .read_only = true,
                                            .uid = geteuid()};
    if (!shmcore_address_stable(segment) || segment_open(&file, &request, NULL, NULL) != 0) {
        storm_complain(board, "the segment cannot be looked into: %s", shmcore_error());
        return false;
    }
    if (merged)
        look_at_merged(board, &file);
    view_make(view, (unsigned char *)(uintptr_t)file.view.header->base, file.view.capacity);
    segment_unmap(&file);
    return true;
}

static unsigned count_loose(const struct view *view)
{
    unsigned regions = 0;
    for (uint32_t number = 0; number < view->shard_count; number++)
        regions += view->shards[number].loose.count;
    return regions;
}

void storm_look_at_the_end(struct storm_board *board)
{
    struct view view;
    shmcore_collected collected;
    shmcore_statistics statistics = {0};
    shmcore_segment *segment = open_segment(board);
    if (segment == NULL || !find_view(board, segment, &view, false))
        return;
    board->left_rows = rows_of_others(&view, &board->left_promises);
    if (shmcore_collect(board->directory, &collected) != 0)
        storm_complain(board, "collect: %s", shmcore_error());
    shmcore_for_each(segment, complain_of, board);
    if (shmcore_stat(segment, &statistics) != 0 || statistics.blocks != 0 || statistics.processes != 1 ||
        statistics.used != board->fresh_size)
        storm_complain(board, "%zu blocks, %zu processes and %zu bytes are left; an empty segment has %zu",
                       statistics.blocks, statistics.processes, statistics.used, board->fresh_size);
    look_inside(board, &view);
    find_view(board, segment, &view, true);
    board->left_loose = count_loose(&view);
    shmcore_close(segment);
}

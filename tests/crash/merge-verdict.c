/* SPDX-License-Identifier: MIT
 *
 * What must hold of merged memory when everybody is quiet and the dead have been reaped.
 */
#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "merge-actors.h"
#include "private_own.h"

static char sentence[512];

#define SAY(...) (snprintf(sentence, sizeof sentence, __VA_ARGS__), sentence)

/* ---------------------------------------------------------------- the index */

static uint64_t state_of(const struct merge_index *index, uint32_t chunk)
{
    return atomic_load(&index->file->chunks[chunk].state);
}

static uint32_t number_of(uint64_t state)
{
    return (uint32_t)(state >> CHUNK_FILE_SHIFT & SHEET_FILE_MASK);
}

static bool lives(uint32_t row, const uint32_t *living, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        if (living[i] == row)
            return true;
    return false;
}

static const char *look_at_row(const struct merge_index *index, uint32_t row, const uint32_t *living,
                               unsigned count, uint32_t chunk, unsigned *holders)
{
    const uint32_t held = merge_index_held(index, row, chunk);
    *holders += held >= HELD_SHARED;
    if (held != HELD_NOTHING && !lives(row, living, count))
        return SAY("row %u has no process and still has chunk %u (%u)", row, chunk, held);
    return NULL;
}

static const char *look_at_chunk(const struct merge_index *index, uint32_t chunk, const uint32_t *living,
                                 unsigned count)
{
    const uint64_t word = state_of(index, chunk);
    const enum chunk_state state = (enum chunk_state)(word & CHUNK_STATE_MASK);
    unsigned holders = 0;
    for (uint32_t row = 0; row < process_rows_used(&index->segment->view); row++) {
        const char *wrong = look_at_row(index, row, living, count, chunk, &holders);
        if (wrong != NULL)
            return wrong;
    }
    if (state != CHUNK_READY && state != CHUNK_EMPTY)
        return SAY("chunk %u stays in state %d", chunk, (int)state);
    if (state == CHUNK_READY && holders == 0)
        return SAY("the copy of chunk %u stays though nobody holds it", chunk);
    /* one that dies while it renews a copy leaves those who have the old one, which nobody can join any more
     */
    if (state == CHUNK_EMPTY && holders != 0 && index->file->chunks[chunk].renewals == 0)
        return SAY("chunk %u has %u holders and no copy", chunk, holders);
    return NULL;
}

static const char *look_at_rows(const struct view *view, const uint32_t *living, unsigned count)
{
    for (uint32_t row = 0; row < process_rows_used(view); row++)
        if (process_state(view, row) != ROW_FREE && !lives(row, living, count))
            return SAY("row %u of process %d is left in state %d", row, view->rows[row].pid,
                       (int)process_state(view, row));
    return NULL;
}

/* ---------------------------------------------------------------- files */

/* The file of a sheet: is there a chunk that needs it? */
static bool is_needed(const struct merge_index *index, uint32_t sheet, uint32_t number)
{
    for (uint32_t i = 0; i < SHEET_CHUNKS; i++) {
        const uint64_t word = state_of(index, sheet * SHEET_CHUNKS + i);
        if ((word & CHUNK_STATE_MASK) == CHUNK_READY && number_of(word) == number)
            return true;
    }
    return false;
}

static const char *look_at_file(const struct merge_index *index, const char *name, unsigned *sheets)
{
    char *dot, nonce[32];
    snprintf(nonce, sizeof nonce, ".%lx.", (unsigned long)index->file->header.nonce);
    const char *rest = strstr(name, nonce);
    if (strncmp(name, "shmcore-merge.", 14) != 0)
        return strncmp(name, "shmcore.", 8) == 0 ? NULL : SAY("there is %s", name);
    if (rest == NULL)
        return SAY("%s belongs to a segment that is not there", name);
    rest += strlen(nonce);
    if (strcmp(rest, "index") == 0)
        return NULL;
    const unsigned long sheet = strtoul(rest, &dot, 16), number = strtoul(dot + (*dot == '.'), NULL, 16);
    ++*sheets;
    return is_needed(index, (uint32_t)sheet, (uint32_t)number)
               ? NULL
               : SAY("%s is there though nobody needs it", name);
}

static const char *look_at_files(const struct merge_index *index)
{
    unsigned there = 0, needed = 0;
    const char *wrong = NULL;
    DIR *directory = opendir(actor_directory);
    for (struct dirent *entry; wrong == NULL && (entry = readdir(directory)) != NULL;)
        if (entry->d_name[0] != '.')
            wrong = look_at_file(index, entry->d_name, &there);
    closedir(directory);
    const uint32_t grains = atomic_load(&index->file->header.grains);
    for (uint32_t sheet = 0; sheet < grains * (GRAIN_CHUNKS / SHEET_CHUNKS); sheet++)
        for (uint32_t number = 1; number < 32; number++)
            needed += is_needed(index, sheet, number);
    return wrong == NULL && there != needed ? SAY("%u files are there and %u are needed", there, needed)
                                            : wrong;
}

const char *index_verdict(const uint32_t *living, unsigned count)
{
    const struct private_space *space = private_space_for(actor_segment);
    const char *wrong = look_at_rows(&actor_segment->file.view, living, count);
    for (uint32_t chunk = 0; wrong == NULL && space != NULL && chunk < private_chunks_end(space); chunk++)
        wrong = look_at_chunk(&space->index, chunk, living, count);
    if (wrong == NULL)
        wrong = mapping_verdict();
    return wrong == NULL && space != NULL ? look_at_files(&space->index) : wrong;
}

/* ---------------------------------------------------------------- what one process maps */

/* A copy may be renewed, or be about to: then this process takes the new one when it merges the next time. */
static bool is_renewed(const struct merge_index *index, uint32_t chunk)
{
    return index->file->chunks[chunk].renewals != 0;
}

static uint32_t held_file[MERGE_CHUNKS]; /* 0: held nothing */

void holding_note(void)
{
    const struct private_space *space = actor_segment != NULL ? private_space_for(actor_segment) : NULL;
    memset(held_file, 0, sizeof held_file);
    for (uint32_t chunk = 0; space != NULL && chunk < private_chunks_end(space); chunk++)
        if (space->chunks[chunk].holds)
            held_file[chunk] = space->chunks[chunk].file;
}

/* Nobody takes away a copy that is held, not even to make the same anew. */
const char *holding_verdict(void)
{
    const struct private_space *space = actor_segment != NULL ? private_space_for(actor_segment) : NULL;
    for (uint32_t chunk = 0; space != NULL && chunk < private_chunks_end(space); chunk++) {
        const uint32_t file = space->chunks[chunk].file;
        if (held_file[chunk] != 0 && space->chunks[chunk].holds && file != held_file[chunk] &&
            !is_renewed(&space->index, chunk))
            return SAY("chunk %u was held in file %u, and is now in file %u", chunk, held_file[chunk], file);
    }
    return NULL;
}

const char *mapping_verdict(void)
{
    const struct private_space *space = private_space_for(actor_segment);
    for (uint32_t chunk = 0; space != NULL && chunk < private_chunks_end(space); chunk++) {
        const struct merge_local *local = &space->chunks[chunk];
        const uint32_t number = number_of(state_of(&space->index, chunk));
        if (local->holds && local->shared != 0 && local->file != number && !is_renewed(&space->index, chunk))
            return SAY("chunk %u is mapped from file %u and its copy is in file %u", chunk, local->file,
                       number);
    }
    return NULL;
}

const char *directory_verdict(void)
{
    const char *wrong = NULL;
    DIR *directory = opendir(actor_directory);
    for (struct dirent *entry; wrong == NULL && (entry = readdir(directory)) != NULL;)
        if (entry->d_name[0] != '.')
            wrong = SAY("%s is left when all have gone", entry->d_name);
    closedir(directory);
    return wrong;
}

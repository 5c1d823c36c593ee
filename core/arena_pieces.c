/* SPDX-License-Identifier: MIT */
#include "arena_pieces.h"

#include <errno.h>
#include <string.h>

#define SPAN_GRAINS_MOST 4u /* of a span that no single block wants larger */

/* Where the piece is that the page lies in, or would be put. */
static uint32_t find(const struct arena *arena, uint32_t page)
{
    uint32_t low = 0, high = arena->piece_count;
    while (low < high) {
        const uint32_t middle = (low + high) / 2;
        if (arena->pieces[middle].page + arena->pieces[middle].pages <= page)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

struct arena_piece *arena_piece_at(const struct arena *arena, uint32_t page)
{
    const uint32_t index = find(arena, page);
    if (index == arena->piece_count || arena->pieces[index].page > page)
        return NULL;
    return &arena->pieces[index];
}

static bool make_room(struct arena *arena, uint32_t more)
{
    if (arena->piece_count + more <= arena->piece_room)
        return true;
    const uint32_t room = arena->piece_room != 0 ? arena->piece_room * 2 : 32;
    struct arena_piece *pieces = arena->ground->memory(arena->ground, room * sizeof *pieces);
    if (pieces == NULL)
        return false;
    if (arena->piece_count != 0)
        memcpy(pieces, arena->pieces, arena->piece_count * sizeof *pieces);
    arena->pieces = pieces;
    arena->piece_room = room;
    return true;
}

static void insert(struct arena *arena, uint32_t index, struct arena_piece piece)
{
    memmove(&arena->pieces[index + 1], &arena->pieces[index], (arena->piece_count - index) * sizeof piece);
    arena->pieces[index] = piece;
    arena->piece_count++;
}

static void erase(struct arena *arena, uint32_t index)
{
    arena->piece_count--;
    memmove(&arena->pieces[index], &arena->pieces[index + 1],
            (arena->piece_count - index) * sizeof arena->pieces[0]);
}

/* Joins a free or spent piece with its neighbours of the same kind. */
static void join(struct arena *arena, uint32_t index)
{
    for (int side = 0; side < 2; side++) {
        const uint32_t left = side == 0 ? index : index - 1;
        if ((side == 1 && index == 0) || left + 1 >= arena->piece_count)
            continue;
        struct arena_piece *first = &arena->pieces[left], *second = first + 1;
        if (first->kind != second->kind || first->page + first->pages != second->page)
            continue;
        first->pages += second->pages;
        erase(arena, left + 1);
    }
}

uint32_t arena_piece_alignment(uint32_t pages)
{
    if (pages >= PAGES_OF(MERGE_SHEET))
        return PAGES_OF(MERGE_SHEET);
    return pages >= CHUNK_PAGES ? CHUNK_PAGES : 1;
}

static uint32_t start_in(const struct arena_piece *piece, uint32_t alignment)
{
    return (uint32_t)align_up(piece->page, alignment);
}

static bool fits(const struct arena_piece *piece, uint32_t pages, uint32_t alignment)
{
    const uint32_t start = start_in(piece, alignment);
    return piece->kind == PIECE_FREE && start - piece->page < piece->pages &&
           piece->pages - (start - piece->page) >= pages;
}

static int extend(struct arena *arena, uint32_t pages, uint32_t alignment)
{
    const uint64_t wanted = (uint64_t)pages + (alignment > GRAIN_PAGES ? alignment : 0);
    const uint32_t usual = (uint32_t)least(1u << least(arena->spans, 8), SPAN_GRAINS_MOST);
    const uint64_t grains = most(divide_up(wanted, GRAIN_PAGES), usual);
    uint32_t first;
    if (grains > MERGE_GRAINS || !make_room(arena, 1))
        return -ENOMEM;
    if (arena->refused != 0 && grains >= arena->refused)
        return -ENOSPC;
    const int error = arena->ground->extend(arena->ground, arena, arena->spans, (uint32_t)grains, &first);
    if (error == -ENOSPC)
        arena->refused = (uint32_t)grains;
    if (error != 0)
        return error;
    arena->spans++;
    arena->grains += (uint32_t)grains;
    const struct arena_piece piece = {
        .page = first * GRAIN_PAGES, .pages = (uint32_t)grains * GRAIN_PAGES, .kind = PIECE_FREE};
    const uint32_t index = find(arena, piece.page);
    insert(arena, index, piece);
    join(arena, index);
    return 0;
}

struct arena_piece *arena_take(struct arena *arena, uint32_t pages, uint32_t wanted, uint32_t alignment,
                               int *error)
{
    uint32_t index = 0;
    *error = -ENOMEM;
    if (!make_room(arena, 2))
        return NULL;
    for (int tries = 0; tries < 2; tries++) {
        for (index = 0; index < arena->piece_count; index++)
            if (fits(&arena->pieces[index], pages, alignment))
                break;
        if (index < arena->piece_count || (*error = extend(arena, pages, alignment)) != 0)
            break;
    }
    if (index == arena->piece_count || !make_room(arena, 2))
        return NULL;
    struct arena_piece piece = arena->pieces[index];
    const uint32_t start = start_in(&piece, alignment);
    const uint32_t before = start - piece.page, after = piece.pages - before - pages;
    *error = arena->ground->use(arena->ground, start, wanted);
    if (*error != 0)
        return NULL;
    arena->pieces[index] = (struct arena_piece){.page = start, .pages = pages, .kind = PIECE_BLOCK};
    if (after != 0)
        insert(arena, index + 1,
               (struct arena_piece){.page = start + pages, .pages = after, .kind = PIECE_FREE});
    if (before != 0) {
        piece.pages = before;
        insert(arena, index, piece);
        index++;
    }
    return &arena->pieces[index];
}

static void drop(struct arena *arena, struct dirty_range range)
{
    if (range.pages != 0)
        arena->ground->drop(arena->ground, arena, range.page, range.pages);
}

static void tell_what_stays(struct arena *arena)
{
    const uint32_t staying = dirty_pages(&arena->dirty);
    if (staying != arena->staying)
        atomic_fetch_add_explicit(&arena->ground->staying, staying - arena->staying, memory_order_relaxed);
    arena->staying = staying;
}

uint32_t arena_use_again(struct arena *arena, uint32_t page, uint32_t pages, bool clear)
{
    struct dirty_range found, rest;
    uint32_t dirty = 0;
    while ((found = dirty_take(&arena->dirty, (struct dirty_range){page, pages}, &rest)).pages != 0) {
        dirty = clear ? 0 : (uint32_t)most(dirty, found.page + found.pages - page);
        if (clear)
            memset(arena_address(arena, found.page), 0, found.pages * PAGE_BYTES);
        drop(arena, rest);
    }
    tell_what_stays(arena);
    return dirty;
}

/* Else what is dropped of it later has to tell of all its chunks. */
static bool in_one_chunk(struct dirty_range range)
{
    return range.page / CHUNK_PAGES == (range.page + range.pages - 1) / CHUNK_PAGES;
}

void arena_give_back(struct arena *arena, struct arena_piece *piece, uint32_t used, bool again)
{
    struct arena_ground *ground = arena->ground;
    const struct dirty_range range = {piece->page, piece->pages};
    piece->kind = again ? PIECE_FREE : PIECE_SPENT;
    piece->slab = NULL;
    join(arena, (uint32_t)(piece - arena->pieces));
    const bool stays = again && ground->may_stay != NULL && ground->may_stay(ground, range.page, range.pages);
    const struct dirty_range written = {range.page, in_one_chunk(range) ? used : range.pages};
    drop(arena, stays ? dirty_keep(&arena->dirty, written) : range);
    tell_what_stays(arena);
}

/* How many pages are free behind the block; *ends: and there the arena ends, or a span of it. */
static uint32_t free_behind(const struct arena *arena, uint32_t page, bool *ends)
{
    const struct arena_piece *piece = arena_piece_at(arena, page);
    const uint32_t end = piece->page + piece->pages;
    const struct arena_piece *next = arena_piece_at(arena, end);
    const uint32_t free = next != NULL && next->kind == PIECE_FREE ? next->pages : 0;
    *ends = arena_piece_at(arena, end + free) == NULL;
    return free;
}

bool arena_lengthen(struct arena *arena, uint32_t page, uint32_t more)
{
    bool ends;
    uint32_t free = free_behind(arena, page, &ends);
    if (free < more && ends && extend(arena, more - free, 1) == 0)
        free = free_behind(arena, page, &ends); /* if that lies there */
    if (free < more)
        return false;
    struct arena_piece *piece = arena_piece_at(arena, page);
    arena_use_again(arena, piece[1].page, more, false);
    piece->pages += more;
    piece[1].page += more;
    piece[1].pages -= more;
    if (piece[1].pages == 0)
        erase(arena, (uint32_t)(piece + 1 - arena->pieces));
    return true;
}

void arena_clear(struct arena *arena)
{
    struct dirty_range rest;
    const struct dirty_range all = {0, UINT32_MAX};
    for (struct dirty_range found; (found = dirty_take(&arena->dirty, all, &rest)).pages != 0;)
        drop(arena, found);
    tell_what_stays(arena);
}

bool arena_lives_in(const struct arena *arena, uint32_t page, uint32_t pages)
{
    for (uint32_t index = find(arena, page);
         index < arena->piece_count && arena->pieces[index].page < page + pages; index++)
        if (arena->pieces[index].kind == PIECE_BLOCK || arena->pieces[index].kind == PIECE_SLAB)
            return true;
    return dirty_touches(&arena->dirty, (struct dirty_range){page, pages});
}

/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include <errno.h>
#include <string.h>

#define SPAN_GRAINS_MOST 4u /* of a span that no single block wants larger */
#define PAGES_OF(bytes)  ((uint32_t)((bytes) / PAGE_BYTES))

/* ---------------------------------------------------------------- pieces */

/* The piece that the page lies in, or where it would be put. */
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

static struct arena_piece *piece_at(const struct arena *arena, uint32_t page)
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

/* How blocks of so many pages lie: the larger ones have chunks, the largest sheets, to themselves. */
static uint32_t piece_alignment(uint32_t pages)
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

/* Cuts a piece of `pages` out of the first free one that holds it, of which `wanted` are going to be used.
 * NULL: *error. */
static struct arena_piece *take(struct arena *arena, uint32_t pages, uint32_t wanted, uint32_t alignment,
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

static unsigned char *address_of(const struct arena *arena, uint32_t page)
{
    return arena->ground->base + page * PAGE_BYTES;
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

/* Of pages that are used again: is there anything in them? Not when they are to be cleared. */
static bool is_dirty(struct arena *arena, uint32_t page, uint32_t pages, bool clear)
{
    struct dirty_range found, rest;
    bool dirty = false;
    while ((found = dirty_take(&arena->dirty, (struct dirty_range){page, pages}, &rest)).pages != 0) {
        dirty = !clear;
        if (clear)
            memset(address_of(arena, found.page), 0, found.pages * PAGE_BYTES);
        drop(arena, rest);
    }
    tell_what_stays(arena);
    return dirty;
}

static void give_back(struct arena *arena, struct arena_piece *piece, bool again)
{
    struct arena_ground *ground = arena->ground;
    const struct dirty_range range = {piece->page, piece->pages};
    piece->kind = again ? PIECE_FREE : PIECE_SPENT;
    piece->slab = NULL;
    join(arena, (uint32_t)(piece - arena->pieces));
    const bool stays = again && ground->may_stay != NULL && ground->may_stay(ground, range.page, range.pages);
    drop(arena, stays ? dirty_keep(&arena->dirty, range) : range);
    tell_what_stays(arena);
}

/* ---------------------------------------------------------------- slabs */

static uint32_t words_of(const struct arena_slab *slab)
{
    return (uint32_t)divide_up(slab->slots, 64);
}

static uint64_t *spent_bits(struct arena_slab *slab)
{
    return slab->bits + words_of(slab);
}

static bool bit_of(const uint64_t *bits, uint32_t slot)
{
    return (bits[slot / 64] >> slot % 64 & 1) != 0;
}

/* A table without a slab, for the next one of its class: memory for tables is never given back. */
static void put_aside(struct arena *arena, unsigned class, struct arena_slab *slab)
{
    slab->next = arena->idle[class];
    arena->idle[class] = slab;
}

static struct arena_slab *table_for(struct arena *arena, unsigned class, size_t bytes)
{
    struct arena_slab *slab = arena->idle[class];
    if (slab == NULL)
        return arena->ground->memory(arena->ground, bytes);
    arena->idle[class] = slab->next;
    return slab;
}

static struct arena_slab *new_slab(struct arena *arena, unsigned class, int *error)
{
    const uint32_t slot_bytes = arena_class_bytes(class), slots = (uint32_t)(ARENA_SLAB / slot_bytes);
    const size_t bits = 2 * divide_up(slots, 64) * sizeof(uint64_t);
    struct arena_slab *slab = table_for(arena, class, sizeof *slab + bits);
    if (slab == NULL)
        return NULL;
    struct arena_piece *piece = take(arena, PAGES_OF(ARENA_SLAB), PAGES_OF(ARENA_SLAB), 1, error);
    if (piece == NULL) {
        put_aside(arena, class, slab);
        return NULL;
    }
    *slab = (struct arena_slab){.page = piece->page, .slot_bytes = slot_bytes, .slots = slots};
    memset(slab->bits, 0, bits);
    piece->kind = PIECE_SLAB;
    piece->slab = slab;
    if (is_dirty(arena, piece->page, piece->pages, false))
        slab->fresh = slots;
    struct arena_slab **end = &arena->slabs[class];
    while (*end != NULL)
        end = &(*end)->next;
    *end = slab;
    return slab;
}

/* The lowest free slot of a slab that has one. */
static uint32_t free_slot(struct arena_slab *slab)
{
    while (~slab->bits[slab->lowest] == 0)
        slab->lowest++;
    return slab->lowest * 64 + (uint32_t)__builtin_ctzll(~slab->bits[slab->lowest]);
}

static void *allocate_slot(struct arena *arena, unsigned class, bool zero, int *error)
{
    struct arena_slab *slab = arena->slabs[class];
    /* full ones leave the list: see below */
    while (slab != NULL && slab->live + slab->spent == slab->slots)
        slab = arena->slabs[class] = slab->next;
    if (slab == NULL && (slab = new_slab(arena, class, error)) == NULL)
        return NULL;
    const uint32_t slot = free_slot(slab);
    slab->bits[slot / 64] |= UINT64_C(1) << slot % 64;
    slab->live++;
    unsigned char *pointer = address_of(arena, slab->page) + (size_t)slot * slab->slot_bytes;
    if (slot >= slab->fresh)
        slab->fresh = slot + 1;
    else if (zero)
        memset(pointer, 0, slab->slot_bytes);
    return pointer;
}

static void unlist(struct arena *arena, const struct arena_slab *slab)
{
    struct arena_slab **link = &arena->slabs[arena_class_of(slab->slot_bytes)];
    while (*link != NULL && *link != slab)
        link = &(*link)->next;
    if (*link == slab)
        *link = slab->next;
}

/* A slab that was full is in no list; it comes back to the front, as the owner's calls have it. */
static void relist(struct arena *arena, struct arena_slab *slab)
{
    struct arena_slab **list = &arena->slabs[arena_class_of(slab->slot_bytes)];
    for (const struct arena_slab *other = *list; other != NULL; other = other->next)
        if (other == slab)
            return;
    slab->next = *list;
    *list = slab;
}

static void free_slot_of(struct arena *arena, struct arena_piece *piece, uint32_t slot, bool by_owner)
{
    struct arena_slab *slab = piece->slab;
    const bool was_full = slab->live + slab->spent == slab->slots;
    slab->live--;
    if (by_owner) {
        slab->bits[slot / 64] &= ~(UINT64_C(1) << slot % 64);
        slab->lowest = (uint32_t)least(slab->lowest, slot / 64);
    } else {
        spent_bits(slab)[slot / 64] |= UINT64_C(1) << slot % 64;
        slab->spent++;
    }
    if (slab->live == 0 && (slab->spent == 0 || slab->spent == slab->slots)) {
        unlist(arena, slab);
        give_back(arena, piece, slab->spent == 0);
        put_aside(arena, arena_class_of(slab->slot_bytes), slab);
    } else if (was_full && by_owner) {
        relist(arena, slab);
    }
}

/* ---------------------------------------------------------------- blocks */

/* The pages of a block, where they begin at multiples of `own`. */
static uint32_t pages_for(uint32_t wanted, uint32_t own)
{
    return own == CHUNK_PAGES ? wanted : (uint32_t)align_up(wanted, own);
}

void *arena_allocate(struct arena *arena, size_t bytes, size_t alignment, bool zero, int *error)
{
    alignment = (size_t)most(alignment, 16);
    const unsigned class = arena_class_for(bytes, alignment);
    *error = -ENOMEM;
    if (class < ARENA_CLASSES)
        return allocate_slot(arena, class, zero, error);
    if (bytes > MERGE_SPACE || alignment > MERGE_SPACE)
        return NULL;
    const uint32_t wanted = (uint32_t)most(divide_up(bytes, PAGE_BYTES), 1);
    const uint32_t own = piece_alignment(wanted);
    const uint32_t pages = pages_for(wanted, own);
    struct arena_piece *piece = take(arena, pages, wanted, (uint32_t)most(own, PAGES_OF(alignment)), error);
    if (piece == NULL)
        return NULL;
    piece->bytes = bytes;
    is_dirty(arena, piece->page, piece->pages, zero);
    return address_of(arena, piece->page);
}

static uint32_t page_of(const struct arena *arena, const void *pointer)
{
    return (uint32_t)((uint64_t)((const unsigned char *)pointer - arena->ground->base) / PAGE_BYTES);
}

static bool slot_is_live(struct arena_slab *slab, uint32_t slot)
{
    return slot < slab->slots && bit_of(slab->bits, slot) && !bit_of(spent_bits(slab), slot);
}

/* The live block that a pointer lies in. */
struct place {
    struct arena_piece *piece; /* NULL: there is none */
    uint32_t slot;             /* of a slab */
    size_t bytes, inside;      /* how long it is, and how far from its beginning the pointer is */
};

static struct place place_of(const struct arena *arena, const void *pointer)
{
    const struct place none = {.piece = NULL};
    struct arena_piece *piece = piece_at(arena, page_of(arena, pointer));
    if (piece == NULL || (piece->kind != PIECE_BLOCK && piece->kind != PIECE_SLAB))
        return none;
    const size_t offset = (size_t)((const unsigned char *)pointer - address_of(arena, piece->page));
    if (piece->kind == PIECE_BLOCK)
        return (struct place){piece, 0, piece->pages * PAGE_BYTES, offset};
    const uint32_t slot_bytes = piece->slab->slot_bytes, slot = (uint32_t)offset / slot_bytes;
    return slot_is_live(piece->slab, slot)
               ? (struct place){piece, slot, slot_bytes, offset - slot * slot_bytes}
               : none;
}

size_t arena_left(const struct arena *arena, const void *pointer)
{
    const struct place place = place_of(arena, pointer);
    return place.piece != NULL ? place.bytes - place.inside : 0;
}

size_t arena_usable(const struct arena *arena, const void *pointer)
{
    const struct place place = place_of(arena, pointer);
    return place.piece != NULL && place.inside == 0 ? place.bytes : 0;
}

/* How many pages are free behind the block; *ends: and there the arena ends, or a span of it. */
static uint32_t free_behind(const struct arena *arena, uint32_t page, bool *ends)
{
    const struct arena_piece *piece = piece_at(arena, page);
    const uint32_t end = piece->page + piece->pages;
    const struct arena_piece *next = piece_at(arena, end);
    const uint32_t free = next != NULL && next->kind == PIECE_FREE ? next->pages : 0;
    *ends = piece_at(arena, end + free) == NULL;
    return free;
}

static bool lengthen(struct arena *arena, uint32_t page, uint32_t more)
{
    bool ends;
    uint32_t free = free_behind(arena, page, &ends);
    if (free < more && ends && extend(arena, more - free, 1) == 0)
        free = free_behind(arena, page, &ends); /* if that lies there */
    if (free < more)
        return false;
    struct arena_piece *piece = piece_at(arena, page);
    is_dirty(arena, piece[1].page, more, false);
    piece->pages += more;
    piece[1].page += more;
    piece[1].pages -= more;
    if (piece[1].pages == 0)
        erase(arena, (uint32_t)(piece + 1 - arena->pieces));
    return true;
}

/* Memory is wanted of pages that the block has. */
static bool use_more(struct arena *arena, struct arena_piece *piece, size_t bytes)
{
    const uint32_t used = PAGES_OF(align_up(piece->bytes, PAGE_BYTES));
    const uint32_t wanted = PAGES_OF(align_up(bytes, PAGE_BYTES));
    if (wanted > used && arena->ground->use(arena->ground, piece->page + used, wanted - used) != 0)
        return false;
    piece->bytes = most(piece->bytes, bytes); /* what was used stays so until it is freed */
    return true;
}

bool arena_resize(struct arena *arena, const void *pointer, size_t bytes, bool by_owner)
{
    const size_t usable = arena_usable(arena, pointer);
    if (usable == 0 || bytes < usable / 2 || bytes > MERGE_SPACE)
        return false;
    const uint32_t page = page_of(arena, pointer), wanted = PAGES_OF(align_up(bytes, PAGE_BYTES));
    const struct arena_piece *piece = piece_at(arena, page);
    const uint32_t own = piece_alignment(wanted);
    if (piece->kind == PIECE_SLAB)
        return bytes <= usable;
    if (bytes > usable &&
        (!by_owner || page % own != 0 || !lengthen(arena, page, pages_for(wanted, own) - piece->pages)))
        return false;
    return use_more(arena, piece_at(arena, page), bytes);
}

bool arena_free(struct arena *arena, void *pointer, bool by_owner)
{
    const struct place place = place_of(arena, pointer);
    if (place.piece == NULL || place.inside != 0)
        return false;
    if (place.piece->kind == PIECE_BLOCK)
        give_back(arena, place.piece, by_owner);
    else
        free_slot_of(arena, place.piece, place.slot, by_owner);
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

uint64_t arena_live_bytes(const struct arena *arena)
{
    uint64_t bytes = 0;
    for (uint32_t index = 0; index < arena->piece_count; index++) {
        const struct arena_piece *piece = &arena->pieces[index];
        if (piece->kind == PIECE_BLOCK)
            bytes += piece->bytes;
        else if (piece->kind == PIECE_SLAB)
            bytes += (uint64_t)piece->slab->live * piece->slab->slot_bytes;
    }
    return bytes;
}

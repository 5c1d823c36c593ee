/* SPDX-License-Identifier: MIT */
#include "arena.h"

#include <errno.h>
#include <string.h>

#include "arena_pieces.h"

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
    struct arena_piece *piece = arena_take(arena, PAGES_OF(ARENA_SLAB), PAGES_OF(ARENA_SLAB), 1, error);
    if (piece == NULL) {
        put_aside(arena, class, slab);
        return NULL;
    }
    *slab = (struct arena_slab){.page = piece->page, .slot_bytes = slot_bytes, .slots = slots};
    memset(slab->bits, 0, bits);
    piece->kind = PIECE_SLAB;
    piece->slab = slab;
    const uint32_t dirty = arena_use_again(arena, piece->page, piece->pages, false);
    slab->fresh = (uint32_t)least(divide_up(dirty * PAGE_BYTES, slot_bytes), slots);
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
    unsigned char *pointer = arena_address(arena, slab->page) + (size_t)slot * slab->slot_bytes;
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

/* How many, from the first one on. Behind the last slot there may be what was there before the slab. */
static uint32_t pages_written(const struct arena_slab *slab)
{
    return slab->fresh < slab->slots ? PAGES_OF(align_up(slab->fresh * slab->slot_bytes, PAGE_BYTES))
                                     : PAGES_OF(ARENA_SLAB);
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
        arena_give_back(arena, piece, pages_written(slab), slab->spent == 0);
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
    const uint32_t own = arena_piece_alignment(wanted);
    const uint32_t pages = pages_for(wanted, own);
    struct arena_piece *piece =
        arena_take(arena, pages, wanted, (uint32_t)most(own, PAGES_OF(alignment)), error);
    if (piece == NULL)
        return NULL;
    piece->bytes = bytes;
    arena_use_again(arena, piece->page, piece->pages, zero);
    return arena_address(arena, piece->page);
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
    struct arena_piece *piece = arena_piece_at(arena, page_of(arena, pointer));
    if (piece == NULL || (piece->kind != PIECE_BLOCK && piece->kind != PIECE_SLAB))
        return none;
    const size_t offset = (size_t)((const unsigned char *)pointer - arena_address(arena, piece->page));
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
    const struct place place = place_of(arena, pointer);
    const struct arena_piece *piece = place.piece;
    if (piece == NULL || place.inside != 0 || bytes < place.bytes / 2 || bytes > MERGE_SPACE)
        return false;
    if (piece->kind == PIECE_SLAB)
        return bytes <= place.bytes;
    const uint32_t page = piece->page, wanted = PAGES_OF(align_up(bytes, PAGE_BYTES));
    const uint32_t own = arena_piece_alignment(wanted);
    if (bytes > place.bytes &&
        (!by_owner || page % own != 0 || !arena_lengthen(arena, page, pages_for(wanted, own) - piece->pages)))
        return false;
    return use_more(arena, arena_piece_at(arena, page), bytes); /* which may lie elsewhere in the table now */
}

bool arena_free(struct arena *arena, void *pointer, bool by_owner)
{
    const struct place place = place_of(arena, pointer);
    if (place.piece == NULL || place.inside != 0)
        return false;
    if (place.piece->kind == PIECE_BLOCK)
        arena_give_back(arena, place.piece, place.piece->pages, by_owner);
    else
        free_slot_of(arena, place.piece, place.slot, by_owner);
    return true;
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

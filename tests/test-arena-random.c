/* SPDX-License-Identifier: MIT
 *
 * core/arena: thousands of random calls, in two arenas at once that must agree, and against a model that
 * knows each page and slot.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plain.h"
#include "test-arena.h"

/* ---------------------------------------------------------------- the same calls */

struct twin {
    unsigned char *pointer[2];
    bool late; /* freed by another thread, in one of the processes later */
};

static size_t some_bytes(struct dice *dice)
{
    switch (dice_roll(dice, 20)) {
    default:
        return dice_roll(dice, 200);
    case 10:
    case 11:
    case 12:
    case 13:
        return dice_roll(dice, ARENA_SLOT_MOST + 1);
    case 14:
    case 15:
    case 16:
        return dice_roll(dice, 200000);
    case 17:
    case 18:
        return dice_roll(dice, 3 * MERGE_CHUNK);
    case 19:
        return dice_roll(dice, 20) == 0 ? dice_roll(dice, 2 * MERGE_SHEET) : MERGE_CHUNK;
    }
}

/* Zero where that was asked for; full of something else from then on. */
static void check_and_soil(unsigned char *block, size_t bytes, bool zero)
{
    for (size_t i = 0; zero && i < bytes; i++)
        assert_int_equal(block[i], 0);
    memset(block, 0x5a, bytes);
}

/* Other threads free when they like: in one process at once, in the other later, which also keeps freed
 * pages. */
static void the_same_calls_give_the_same_addresses(void **state)
{
    (void)state;
    enum { LIVE = 200 };
    static struct twin twins[LIVE];
    struct dice dice = {20240301};
    unsigned longer = 0;
    uint32_t most_staying = 0;
    memset(twins, 0, sizeof twins);
    fields[1].lazy = true;
    for (unsigned step = 0; step < 20000; step++) {
        struct twin *twin = &twins[dice_roll(&dice, LIVE)];
        assert_int_equal(fields[0].ground.staying, 0);
        assert_int_equal(fields[1].ground.staying, dirty_pages(&fields[1].arena.dirty));
        most_staying = (uint32_t)most(most_staying, fields[1].ground.staying);
        if (twin->late) {
            if (dice_roll(&dice, 2) != 0)
                continue;
            assert_true(arena_free(&fields[1].arena, twin->pointer[1], false));
            *twin = (struct twin){.late = false};
        } else if (twin->pointer[0] == NULL) {
            const size_t bytes = some_bytes(&dice), alignment = (size_t)16 << dice_roll(&dice, 10);
            const bool zero = dice_roll(&dice, 2) != 0;
            int error[2] = {0, 0};
            for (unsigned i = 0; i < 2; i++)
                twin->pointer[i] = arena_allocate(&fields[i].arena, bytes, alignment, zero, &error[i]);
            assert_int_equal(error[0], error[1]);
            assert_int_equal(twin->pointer[0] != NULL, twin->pointer[1] != NULL);
            if (twin->pointer[0] == NULL)
                continue;
            assert_int_equal(offset_of(&fields[0], twin->pointer[0]),
                             offset_of(&fields[1], twin->pointer[1]));
            if (bytes <= 64 * PAGE_BYTES)
                check_and_soil(twin->pointer[1], bytes, zero);
        } else if (dice_roll(&dice, 3) == 0) { /* others change nothing: so those of one process may, too */
            const size_t usable = arena_usable(&fields[0].arena, twin->pointer[0]);
            const size_t bytes = usable / 2 + dice_roll(&dice, (uint32_t)(2 * usable));
            const bool resized = arena_resize(&fields[0].arena, twin->pointer[0], bytes, true);
            if (bytes > usable)
                assert_false(arena_resize(&fields[1].arena, twin->pointer[1], bytes, false));
            assert_int_equal(arena_resize(&fields[1].arena, twin->pointer[1], bytes, true), resized);
            longer += resized && bytes > usable;
        } else {
            const bool by_owner = dice_roll(&dice, 8) != 0;
            assert_true(arena_free(&fields[0].arena, twin->pointer[0], by_owner));
            twin->late = !by_owner;
            if (by_owner) {
                assert_true(arena_free(&fields[1].arena, twin->pointer[1], true));
                *twin = (struct twin){.late = false};
            }
        }
    }
    assert_true(fields[0].spans > 3);
    assert_true(longer > 100);
    assert_true(most_staying > 0);
    arena_clear(&fields[1].arena);
    assert_int_equal(fields[1].ground.staying, 0);
}

/* ---------------------------------------------------------------- the model */

struct model_slab {
    uint32_t page, slot_bytes, live, spent;
    unsigned char slot[ARENA_SLAB / 16]; /* UNUSED, USED, GONE */
};

struct model_block {
    unsigned char *pointer;
    size_t bytes, usable;
    struct model_slab *slab;
    unsigned char value;
};

#define MODEL_SLABS 4096u
static struct model_slab slabs[MODEL_SLABS];
static unsigned char model[PAGES];
static unsigned longer;

/* Spans that have been added meanwhile. */
static void know_new_pages(void)
{
    for (uint32_t page = 0; page < fields[0].grains * GRAIN_PAGES; page++)
        if (model[page] == OUTSIDE && fields[0].page[page] != OUTSIDE)
            model[page] = UNUSED;
}

/* PAGES: it fits nowhere. */
static uint32_t first_fit(uint32_t pages, uint32_t alignment)
{
    const uint32_t end = fields[0].grains * GRAIN_PAGES;
    for (uint32_t start = 0; start + pages <= end;) {
        uint32_t fits = 0;
        while (fits < pages && model[start + fits] == UNUSED)
            fits++;
        if (fits == pages)
            return start;
        start = (uint32_t)align_up(start + fits + 1, alignment);
    }
    return PAGES;
}

static void mark(uint32_t page, uint32_t pages, enum page value)
{
    memset(model + page, (int)value, pages);
}

static struct model_slab *model_slab_at(uint32_t page)
{
    for (unsigned i = 0; i < MODEL_SLABS; i++)
        if (slabs[i].live + slabs[i].spent != 0 && page - slabs[i].page < ARENA_SLAB / PAGE_BYTES)
            return &slabs[i];
    return NULL;
}

static struct model_slab *new_slab(uint32_t page, uint32_t slot_bytes)
{
    unsigned i = 0;
    while (i < MODEL_SLABS && slabs[i].live + slabs[i].spent != 0)
        i++;
    assert_true(i < MODEL_SLABS);
    slabs[i] = (struct model_slab){.page = page, .slot_bytes = slot_bytes};
    memset(slabs[i].slot, UNUSED, sizeof slabs[i].slot);
    return &slabs[i];
}

/* Where a block of so many pages was found, and where the model says. */
static void expect_place(uint32_t page, uint32_t pages, uint32_t alignment, uint32_t before, uint32_t spans)
{
    know_new_pages();
    assert_int_equal(page, before != PAGES ? before : first_fit(pages, alignment));
    assert_int_equal(fields[0].spans, spans + (before == PAGES));
    mark(page, pages, USED);
}

static uint32_t pages_for(size_t bytes, uint32_t *alignment)
{
    uint32_t pages = (uint32_t)most(divide_up(bytes, PAGE_BYTES), 1);
    *alignment = pages < CHUNK_PAGES ? 1 : CHUNK_PAGES;
    if (pages >= SHEET_CHUNKS * CHUNK_PAGES)
        pages = (uint32_t)align_up(pages, *alignment = SHEET_CHUNKS * CHUNK_PAGES);
    return pages;
}

static void expect_block(struct model_block *block, uint32_t before, uint32_t spans)
{
    uint32_t alignment;
    const uint32_t pages = pages_for(block->bytes, &alignment);
    const uint32_t page = (uint32_t)(offset_of(&fields[0], block->pointer) / PAGE_BYTES);
    expect_place(page, pages, alignment, before, spans);
    assert_int_equal(block->usable, pages * PAGE_BYTES);
    block->slab = NULL;
}

static void expect_slot(struct model_block *block, uint32_t before, uint32_t spans)
{
    const uint64_t offset = offset_of(&fields[0], block->pointer);
    const uint32_t page = (uint32_t)(offset / PAGE_BYTES);
    struct model_slab *slab = model_slab_at(page);
    if (slab == NULL) {
        expect_place(page, ARENA_SLAB / PAGE_BYTES, 1, before, spans);
        slab = new_slab(page, (uint32_t)block->usable);
    }
    const uint64_t inside = offset - slab->page * PAGE_BYTES, slot = inside / slab->slot_bytes;
    assert_int_equal(slab->slot_bytes, block->usable);
    assert_int_equal(inside % slab->slot_bytes, 0);
    for (uint32_t i = 0; i < slot; i++) /* it is the lowest */
        assert_int_not_equal(slab->slot[i], UNUSED);
    assert_int_equal(slab->slot[slot], UNUSED);
    slab->slot[slot] = USED;
    slab->live++;
    block->slab = slab;
}

static void check_bytes(const struct model_block *block, unsigned char value)
{
    const size_t part = least(block->bytes, 64);
    for (size_t i = 0; i < part; i++) {
        assert_int_equal(block->pointer[i], value);
        assert_int_equal(block->pointer[block->bytes - 1 - i], value);
    }
}

static void check_prefix(const struct model_block *block, size_t bytes)
{
    for (size_t i = 0; i < least(bytes, 64); i++)
        assert_int_equal(block->pointer[i], block->value);
}

static void model_take(struct model_block *block, struct dice *dice)
{
    uint32_t alignment;
    int error = 0;
    const bool zero = dice_roll(dice, 2) != 0;
    const uint32_t spans = fields[0].spans;
    block->bytes = some_bytes(dice);
    block->value = (unsigned char)(1 + dice_roll(dice, 255));
    const uint32_t pages = pages_for(block->bytes, &alignment);
    const bool small = block->bytes <= ARENA_SLOT_MOST;
    const uint32_t before = small ? first_fit(ARENA_SLAB / PAGE_BYTES, 1) : first_fit(pages, alignment);
    block->pointer = arena_allocate(arena, block->bytes, 0, zero, &error);
    if (block->pointer == NULL) {
        assert_int_equal(error, -ENOSPC);
        assert_int_equal(before, PAGES);
        return;
    }
    block->usable = arena_usable(arena, block->pointer);
    assert_true(block->usable >= block->bytes);
    if (small)
        expect_slot(block, before, spans);
    else
        expect_block(block, before, spans);
    if (zero)
        check_bytes(block, 0);
    memset(block->pointer, block->value, least(block->bytes, 64));
    if (block->bytes > 64)
        memset(block->pointer + block->bytes - 64, block->value, 64);
}

static void model_free(struct model_block *block, bool by_owner)
{
    struct model_slab *slab = block->slab;
    const uint32_t page = (uint32_t)(offset_of(&fields[0], block->pointer) / PAGE_BYTES);
    check_bytes(block, block->value);
    assert_true(arena_free(arena, block->pointer, by_owner));
    assert_false(arena_free(arena, block->pointer, by_owner));
    if (slab == NULL) {
        mark(page, (uint32_t)(block->usable / PAGE_BYTES), by_owner ? UNUSED : GONE);
    } else {
        const uint64_t inside = offset_of(&fields[0], block->pointer) - slab->page * PAGE_BYTES;
        slab->slot[inside / slab->slot_bytes] = by_owner ? UNUSED : GONE;
        slab->live--;
        slab->spent += !by_owner;
        if (slab->live == 0 && (slab->spent == 0 || slab->spent == ARENA_SLAB / slab->slot_bytes)) {
            mark(slab->page, ARENA_SLAB / PAGE_BYTES, slab->spent == 0 ? UNUSED : GONE);
            slab->live = slab->spent = 0;
        }
    }
    block->pointer = NULL;
}

/* A block stays where a new one of its size could lie, if there is room behind it: free pages now, or those
 * of a span that begins there. */
static void model_resize(struct model_block *block, struct dice *dice)
{
    uint32_t alignment, free = 0;
    const uint32_t page = (uint32_t)(offset_of(&fields[0], block->pointer) / PAGE_BYTES);
    const size_t bytes = dice_roll(dice, (uint32_t)(3 * block->usable));
    const uint32_t pages = pages_for(bytes, &alignment), now = (uint32_t)(block->usable / PAGE_BYTES);
    const uint32_t spans = fields[0].spans;
    const bool by_owner = dice_roll(dice, 8) != 0,
               resized = arena_resize(arena, block->pointer, bytes, by_owner);
    know_new_pages();
    if (bytes < block->usable / 2) {
        assert_false(resized);
    } else if (bytes <= block->usable) {
        assert_true(resized);
    } else if (block->slab != NULL || !by_owner || page % alignment != 0) {
        assert_false(resized);
        assert_int_equal(fields[0].spans, spans);
    } else {
        while (page + now + free < PAGES && model[page + now + free] == UNUSED && now + free < pages)
            free++;
        assert_int_equal(resized, now + free >= pages);
        longer += resized;
    }
    if (!resized)
        return;
    if (block->slab == NULL && bytes > block->usable) {
        mark(page + now, pages - now, USED);
        block->usable = pages * PAGE_BYTES;
    }
    check_prefix(block, least(bytes, block->bytes));
    block->bytes = bytes;
    memset(block->pointer, block->value, least(bytes, 64));
    if (bytes > 64)
        memset(block->pointer + bytes - 64, block->value, 64);
    assert_int_equal(arena_usable(arena, block->pointer), block->usable);
}

/* The pieces are in order, without gaps or overlaps in the spans, and say what the model says. */
static void check_pieces(void)
{
    uint32_t end = 0, covered = 0;
    for (uint32_t i = 0; i < arena->piece_count; i++) {
        const struct arena_piece *piece = &arena->pieces[i];
        const enum page expected = piece->kind == PIECE_FREE    ? UNUSED
                                   : piece->kind == PIECE_SPENT ? GONE
                                                                : USED;
        assert_true(piece->page >= end && piece->pages != 0);
        if (i > 0 && piece->page == end && piece->kind == piece[-1].kind)
            assert_true(expected == USED);
        for (uint32_t page = piece->page; page < piece->page + piece->pages; page++) {
            assert_int_equal(model[page], expected);
            assert_true(fields[0].page[page] != USED || expected == USED);
        }
        end = piece->page + piece->pages;
        covered += piece->pages;
    }
    assert_int_equal(covered, arena->grains * GRAIN_PAGES);
}

static void random_steps(void **state)
{
    (void)state;
    enum { LIVE = 400 };
    static struct model_block blocks[LIVE];
    memset(blocks, 0, sizeof blocks);
    memset(slabs, 0, sizeof slabs);
    memset(model, OUTSIDE, sizeof model);
    struct dice dice = {20240302};
    fields[0].most = 20;
    for (unsigned step = 0; step < 20000; step++) {
        struct model_block *block = &blocks[dice_roll(&dice, LIVE)];
        fields[0].skip = dice_roll(&dice, 4) == 0;
        if (block->pointer == NULL)
            model_take(block, &dice);
        else if (dice_roll(&dice, 3) == 0)
            model_resize(block, &dice);
        else
            model_free(block, dice_roll(&dice, 20) != 0);
        if (step % 512 == 0)
            check_pieces();
    }
    for (unsigned i = 0; i < LIVE; i++)
        if (blocks[i].pointer != NULL)
            model_free(&blocks[i], true);
    check_pieces();
    assert_true(longer > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(the_same_calls_give_the_same_addresses),
        FRESH(random_steps),
    };
    return cmocka_run_group_tests_name("arena-random", tests, make_fields, NULL);
}

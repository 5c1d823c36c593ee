/* SPDX-License-Identifier: MIT
 *
 * core/arena: where blocks lie, who may have their addresses again, what a pointer says, on a plain buffer.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test-arena.h"

static void *take_aligned(size_t bytes, size_t alignment)
{
    int error = 0;
    void *pointer = arena_allocate(arena, bytes, alignment, false, &error);
    assert_non_null(pointer);
    assert_int_equal((uintptr_t)pointer % alignment, 0);
    return pointer;
}

/* ---------------------------------------------------------------- sizes and alignments */

static void a_slot_wastes_a_fifth_at_the_most(void **state)
{
    (void)state;
    for (size_t bytes = 0; bytes <= ARENA_SLOT_MOST; bytes += bytes < 600 ? 1 : 509) {
        void *pointer = take(bytes);
        const size_t usable = arena_usable(arena, pointer);
        assert_true(usable >= bytes && usable >= 16);
        assert_int_equal(usable % 16, 0);
        assert_true(usable <= 16 * divide_up(bytes, 16) + (bytes == 0 ? 16 : 0) ||
                    usable - bytes <= usable / 5);
        assert_true(arena_free(arena, pointer, true));
    }
    assert_int_equal(arena_usable(arena, take(ARENA_SLOT_MOST)), ARENA_SLOT_MOST);
}

static void slots_of_a_class_lie_side_by_side_from_the_lowest(void **state)
{
    (void)state;
    unsigned char *first = take(100); /* of 112 bytes */
    assert_int_equal((uintptr_t)first % PAGE_BYTES, 0);
    for (unsigned i = 1; i < ARENA_SLAB / 112; i++)
        assert_ptr_equal(take(97 + i % 16), first + i * 112);
    assert_ptr_equal(take(112), first + ARENA_SLAB); /* what is left of the slab is too little */
    assert_int_equal(arena_left(arena, first + ARENA_SLAB / 112 * 112), 0);
    assert_ptr_equal(take(113), first + 2 * ARENA_SLAB);
}

static void every_alignment_is_kept(void **state)
{
    (void)state;
    const size_t sizes[] = {0,     1,     24,    100,         4000,     9000,
                            16384, 16385, 70000, MERGE_CHUNK, 3 * MEBI, MERGE_SHEET};
    for (size_t alignment = 16; alignment <= 2 * MERGE_GRAIN; alignment *= 2)
        for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
            void *pointer;
            if (alignment > MERGE_GRAIN) { /* of the addresses within the space: the base has less */
                int error;
                pointer = arena_allocate(arena, sizes[i], alignment, false, &error);
                assert_non_null(pointer);
                assert_int_equal(offset_of(&fields[0], pointer) % alignment, 0);
            } else {
                pointer = take_aligned(sizes[i], alignment);
            }
            assert_true(arena_usable(arena, pointer) >= sizes[i]);
            assert_true(arena_free(arena, pointer, true));
        }
}

static void blocks_of_a_chunk_or_a_sheet_have_it_to_themselves(void **state)
{
    (void)state;
    unsigned char *small = take(20000);
    unsigned char *chunk = take(MERGE_CHUNK);
    unsigned char *more = take(MERGE_CHUNK + 1);
    unsigned char *after = take(20000);
    unsigned char *sheet = take(MERGE_SHEET + 1);
    assert_int_equal((uintptr_t)chunk % MERGE_CHUNK, 0);
    assert_int_equal((uintptr_t)more % MERGE_CHUNK, 0);
    assert_ptr_equal(chunk, small + MERGE_CHUNK);
    assert_ptr_equal(more, chunk + MERGE_CHUNK);
    assert_ptr_equal(after, small + 5 * PAGE_BYTES); /* first fit: between the two */
    assert_int_equal(arena_usable(arena, more), MERGE_CHUNK + PAGE_BYTES);
    assert_int_equal((uintptr_t)sheet % MERGE_SHEET, 0);
    assert_int_equal(arena_usable(arena, sheet), 2 * MERGE_SHEET);
    const uint32_t first = (uint32_t)(offset_of(&fields[0], sheet) / PAGE_BYTES),
                   pages = 2 * SHEET_CHUNKS * CHUNK_PAGES;
    assert_int_equal(fields[0].page[first + pages / 2], USED);
    assert_int_equal(fields[0].page[first + pages / 2 + 1], UNUSED); /* its own, but without memory */
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    int error = 0;
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 4096, MERGE_SPACE + 1, MERGE_SPACE, (size_t)1 << 44};
    for (unsigned i = 0; i < COUNT_OF(sizes); i++) {
        assert_null(arena_allocate(arena, sizes[i], 16, false, &error));
        assert_true(error == -ENOMEM || error == -ENOSPC);
    }
    assert_null(arena_allocate(arena, 1, (size_t)1 << 45, false, &error));
    assert_int_equal(error, -ENOMEM);
    assert_int_equal(fields[0].uses, 0);
    assert_int_equal(offset_of(&fields[0], take(1)), 0);
}

/* ---------------------------------------------------------------- pieces */

static void first_fit_by_address(void **state)
{
    (void)state;
    unsigned char *block[6];
    for (unsigned i = 0; i < 6; i++)
        block[i] = take((i == 1 ? 20 : 10) * PAGE_BYTES);
    assert_true(arena_free(arena, block[3], true));
    assert_true(arena_free(arena, block[1], true));
    assert_ptr_equal(take(10 * PAGE_BYTES), block[1]); /* the lower one, though the other fits better */
    assert_ptr_equal(take(10 * PAGE_BYTES), block[1] + 10 * PAGE_BYTES);
    assert_ptr_equal(take(10 * PAGE_BYTES), block[3]);
    assert_ptr_equal(take(5 * PAGE_BYTES), block[5] + 10 * PAGE_BYTES);
}

static void free_neighbours_become_one(void **state)
{
    (void)state;
    unsigned char *a = take(10 * PAGE_BYTES), *b = take(10 * PAGE_BYTES), *c = take(10 * PAGE_BYTES);
    take(10 * PAGE_BYTES);
    const uint32_t before = arena->piece_count;
    assert_true(arena_free(arena, a, true)); /* left, right, then between both */
    assert_true(arena_free(arena, c, true));
    assert_int_equal(arena->piece_count, before);
    assert_true(arena_free(arena, b, true));
    assert_int_equal(arena->piece_count, before - 2);
    assert_ptr_equal(take(30 * PAGE_BYTES), a);
}

static void spans_side_by_side_are_one(void **state)
{
    (void)state;
    unsigned char *first = take(MERGE_GRAIN / 2);
    unsigned char *second = take(MERGE_GRAIN); /* half of it in a span of its own */
    assert_ptr_equal(second, first + MERGE_GRAIN / 2);
    assert_int_equal(fields[0].spans, 2);
    assert_int_equal(arena->spans, 2);
    assert_int_equal(arena->grains, fields[0].grains);
}

static void spans_apart_are_not(void **state)
{
    (void)state;
    fields[0].skip = 1;
    unsigned char *first = take(MERGE_GRAIN / 2);
    unsigned char *second = take(MERGE_GRAIN);
    assert_ptr_equal(second, first + 2 * MERGE_GRAIN);
    assert_ptr_equal(take(MERGE_GRAIN / 2), first + MERGE_GRAIN / 2);
    assert_int_equal(arena_left(arena, first + MERGE_GRAIN), 0);
    assert_int_equal(arena_left(arena, first - 1), 0);
}

static void a_block_that_is_freed_gives_its_pages_back(void **state)
{
    (void)state;
    unsigned char *block = take(100 * PAGE_BYTES);
    memset(block, 1, 100 * PAGE_BYTES);
    assert_true(arena_lives_in(arena, 50, 1));
    assert_false(arena_lives_in(arena, 100, 412));
    assert_int_equal(arena_live_bytes(arena), 100 * PAGE_BYTES);
    assert_true(arena_free(arena, block, true));
    assert_int_equal(fields[0].drops, 1);
    assert_false(arena_lives_in(arena, 0, GRAIN_PAGES));
    assert_int_equal(arena_live_bytes(arena), 0);
    assert_true(fields[0].page[0] == UNUSED && fields[0].page[99] == UNUSED);
}

static void a_slab_goes_with_its_last_slot(void **state)
{
    (void)state;
    void *a = take(1000), *b = take(1000);
    assert_int_equal(arena_live_bytes(arena), 2 * 1024);
    assert_true(arena_free(arena, a, true));
    assert_int_equal(fields[0].drops, 0);
    assert_true(arena_free(arena, b, true));
    assert_int_equal(fields[0].drops, 1);
    assert_false(arena_lives_in(arena, 0, PAGES));
    assert_ptr_equal(take(20000), a); /* the pages are free for others */
}

/* Freed pages may stay as they are: whoever gets them next finds zeros where zeros are promised. */
static void pages_that_stay_are_cleared_when_they_are_used_again(void **state)
{
    (void)state;
    int error;
    fields[0].lazy = true;
    unsigned char *block = take(20000);
    memset(block, 1, 20000);
    assert_true(arena_free(arena, block, true));
    assert_int_equal(fields[0].drops, 0);
    unsigned char *again = arena_allocate(arena, 40000, 0, true, &error);
    assert_ptr_equal(again, block);
    for (unsigned i = 0; i < 40000; i++)
        assert_int_equal(again[i], 0);
    memset(again, 1, 40000);
    assert_true(arena_free(arena, again, true));
    unsigned char *slot = arena_allocate(arena, 1000, 0, true, &error);
    assert_ptr_equal(slot, block);
    for (unsigned i = 0; i < 1000; i++)
        assert_int_equal(slot[i], 0);
    assert_true(arena_free(arena, slot, false));
    arena_clear(arena);
    assert_int_equal(fields[0].drops, 0); /* all of it is the slab's */
    assert_true(arena_free(arena, take(20000), true));
    arena_clear(arena);
    assert_int_equal(fields[0].drops, 1);
}

/* A slab of which a page was used keeps no more than that from being zero. */
static void what_was_never_used_does_not_stay(void **state)
{
    (void)state;
    int error;
    fields[0].lazy = true;
    unsigned char *slot = take(1000);
    memset(slot, 1, 1000);
    assert_true(arena_free(arena, slot, true));
    assert_int_equal(fields[0].ground.staying, 1);
    assert_ptr_equal(take(3000), slot);
    assert_int_equal(fields[0].ground.staying, 0);
    assert_true(arena_free(arena, slot, true));
    assert_int_equal(fields[0].ground.staying, 2); /* two slots begin where it may not be zero */
    slot = arena_allocate(arena, 10240, 0, true, &error);
    for (unsigned i = 0; i < 10240; i++)
        assert_int_equal(slot[i], 0);
    assert_true(arena_free(arena, slot, true));
    assert_int_equal(fields[0].ground.staying, 3);
    arena_clear(arena);
    assert_int_equal(fields[0].drops, 1);
    assert_int_equal(fields[0].ground.staying, 0);
}

/* What is dropped then tells of both, or one of them would count as used for good. */
static void a_slab_in_two_chunks_stays_as_a_whole(void **state)
{
    (void)state;
    fields[0].lazy = true;
    assert_non_null(take((CHUNK_PAGES - 8) * PAGE_BYTES));
    void *slot = take(1000);
    assert_int_equal(offset_of(&fields[0], slot) / PAGE_BYTES, CHUNK_PAGES - 8);
    assert_true(arena_free(arena, slot, true));
    assert_int_equal(fields[0].ground.staying, ARENA_SLAB / PAGE_BYTES);
    arena_clear(arena);
    for (uint32_t page = CHUNK_PAGES - 8; page < CHUNK_PAGES + 8; page++)
        assert_int_equal(fields[0].page[page], UNUSED);
}

static void a_full_slab_is_used_again_when_a_slot_is_freed(void **state)
{
    (void)state;
    enum { EACH = ARENA_SLAB / 16384 };
    void *slot[3 * EACH];
    for (unsigned i = 0; i < 3 * EACH; i++)
        slot[i] = take(16384);
    assert_true(arena_free(arena, slot[1], true));
    assert_true(arena_free(arena, slot[EACH], true));
    assert_true(arena_free(arena, slot[EACH + 3], true));
    /* the slab that came back last serves first, its lowest slot first */
    assert_ptr_equal(take(16384), slot[EACH]);
    assert_ptr_equal(take(16384), slot[EACH + 3]);
    assert_ptr_equal(take(16384), slot[1]);
    assert_int_equal(fields[0].uses, 3);
}

static void the_lowest_free_slot_serves_first(void **state)
{
    (void)state;
    void *slot[200];
    for (unsigned i = 0; i < COUNT_OF(slot); i++)
        slot[i] = take(16);
    assert_true(arena_free(arena, slot[150], true));
    assert_true(arena_free(arena, slot[70], true));
    assert_true(arena_free(arena, slot[3], true));
    assert_true(arena_free(arena, slot[199], true));
    assert_ptr_equal(take(16), slot[3]);
    assert_ptr_equal(take(16), slot[70]);
    assert_true(arena_free(arena, slot[5], true));
    assert_ptr_equal(take(16), slot[5]);
    assert_ptr_equal(take(16), slot[150]);
    assert_ptr_equal(take(16), slot[199]);
    assert_ptr_equal(take(16), (unsigned char *)slot[199] + 16);
}

/* ---------------------------------------------------------------- who frees */

static void what_the_owner_frees_is_used_again(void **state)
{
    (void)state;
    void *slot = take(48), *kept = take(48), *block = take(40000);
    assert_true(arena_free(arena, slot, true));
    assert_true(arena_free(arena, block, true));
    assert_ptr_equal(take(48), slot);
    assert_ptr_equal(take(40000), block);
    assert_true(arena_free(arena, kept, true));
}

static void what_others_free_is_spent(void **state)
{
    (void)state;
    unsigned char *slot = take(48), *next = slot + 48, *block = take(40000);
    assert_true(arena_free(arena, slot, false));
    assert_true(arena_free(arena, block, false));
    assert_int_equal(arena_usable(arena, slot), 0);
    assert_int_equal(arena_usable(arena, block), 0);
    assert_int_equal(fields[0].drops, 1); /* its memory goes */
    assert_ptr_equal(take(48), next);
    assert_ptr_equal(take(40000), block + 10 * PAGE_BYTES);
}

static void a_slab_that_others_have_freed_gives_its_memory_back(void **state)
{
    (void)state;
    enum { EACH = ARENA_SLAB / 16384 };
    void *slot[EACH];
    for (unsigned i = 0; i < EACH; i++)
        slot[i] = take(16384);
    for (unsigned i = 0; i < EACH; i++) {
        assert_int_equal(fields[0].drops, 0);
        assert_true(arena_free(arena, slot[i], false));
    }
    assert_int_equal(fields[0].drops, 1);
    assert_ptr_equal(take(16384), (unsigned char *)slot[0] + ARENA_SLAB);
}

static void spent_neighbours_become_one(void **state)
{
    (void)state;
    void *block[8];
    for (unsigned i = 0; i < 8; i++)
        block[i] = take(20000);
    const uint32_t before = arena->piece_count;
    for (unsigned i = 0; i < 8; i++)
        assert_true(arena_free(arena, block[i ^ 1], false));
    assert_int_equal(arena->piece_count, before - 7);
}

/* ---------------------------------------------------------------- pointers */

static void only_the_start_of_a_live_block_is_one(void **state)
{
    (void)state;
    unsigned char *slot = take(1000), *block = take(3 * PAGE_BYTES + ARENA_SLOT_MOST);
    unsigned char *wrong[] = {slot + 1,
                              slot + 16,
                              slot + 1023,
                              slot + 1024,
                              slot + ARENA_SLAB - 1,
                              block + 16,
                              block + PAGE_BYTES,
                              block - 1,
                              block + 7 * PAGE_BYTES,
                              slot - 1,
                              slot + MERGE_GRAIN,
                              slot + SPACE};
    for (unsigned i = 0; i < COUNT_OF(wrong); i++) {
        assert_int_equal(arena_usable(arena, wrong[i]), 0);
        assert_false(arena_free(arena, wrong[i], true));
        assert_false(arena_free(arena, wrong[i], false));
    }
    assert_int_equal(arena_usable(arena, slot), 1024);
    assert_int_equal(arena_usable(arena, block), 7 * PAGE_BYTES);
}

static void inner_pointers_know_what_is_left(void **state)
{
    (void)state;
    unsigned char *slot = take(1000), *block = take(7 * PAGE_BYTES);
    for (unsigned i = 0; i < 1024; i++)
        assert_int_equal(arena_left(arena, slot + i), 1024 - i);
    assert_int_equal(arena_left(arena, slot + 1024), 0);
    assert_int_equal(arena_left(arena, block + 1), 7 * PAGE_BYTES - 1);
    assert_int_equal(arena_left(arena, block + 7 * PAGE_BYTES - 1), 1);
    assert_int_equal(arena_left(arena, block + 7 * PAGE_BYTES), 0);
}

static void a_second_free_is_refused(void **state)
{
    (void)state;
    for (int by_owner = 0; by_owner < 2; by_owner++) {
        void *slot = take(48), *other = take(48), *block = take(100000);
        assert_true(arena_free(arena, slot, by_owner));
        assert_false(arena_free(arena, slot, true));
        assert_false(arena_free(arena, slot, false));
        assert_true(arena_free(arena, block, by_owner));
        assert_false(arena_free(arena, block, true));
        assert_false(arena_free(arena, block, false));
        assert_true(arena_free(arena, other, true));
    }
}

/* ---------------------------------------------------------------- zeros */

static void calloc_gets_zeros(void **state)
{
    (void)state;
    static const unsigned char zeros[100000];
    const size_t sizes[] = {1, 48, 1000, 16384, 100000};
    for (unsigned i = 0; i < COUNT_OF(sizes); i++)
        for (int used = 0; used < 3; used++) {
            int error;
            void *other = take(sizes[i]); /* so that the slab stays */
            unsigned char *pointer = arena_allocate(arena, sizes[i], 0, true, &error);
            assert_non_null(pointer);
            const size_t usable = arena_usable(arena, pointer);
            assert_memory_equal(pointer, zeros, least(usable, sizeof zeros));
            memset(pointer, 0xaa, usable);
            memset(other, 0xaa, sizes[i]);
            assert_true(arena_free(arena, pointer, true));
            if (used == 1) /* and when it goes, with all in it */
                assert_true(arena_free(arena, other, true));
        }
}

/* ---------------------------------------------------------------- shortage */

static void without_memory_nothing_changes(void **state)
{
    (void)state;
    int error = 0;
    void *kept = take(20000);
    fields[0].poor = true;
    assert_null(arena_allocate(arena, 20000, 0, false, &error));
    assert_int_equal(error, -ENOMEM);
    assert_null(arena_allocate(arena, 100, 0, false, &error));
    assert_int_equal(error, -ENOMEM);
    fields[0].poor = false;
    assert_ptr_equal(take(20000), (unsigned char *)kept + 5 * PAGE_BYTES);
    assert_true(arena_free(arena, kept, true));
    assert_ptr_equal(take(20000), kept);
}

static void without_addresses_it_goes_on_inside(void **state)
{
    (void)state;
    int error = 0;
    fields[0].most = 1;
    void *block = take(MERGE_GRAIN - PAGE_BYTES);
    assert_null(arena_allocate(arena, 20000, 0, false, &error));
    assert_int_equal(error, -ENOSPC);
    assert_null(arena_allocate(arena, 100, 0, false, &error));
    assert_int_equal(error, -ENOSPC);
    assert_true(arena_free(arena, block, true));
    assert_ptr_equal(take(20000), block);
}

/* A program calls malloc millions of times after that. */
static void what_is_refused_takes_no_memory(void **state)
{
    (void)state;
    int error = 0;
    fields[0].most = 1;
    take(MERGE_GRAIN);
    const size_t before = fields[0].tables_used;
    for (unsigned i = 0; i < 100000; i++) {
        assert_null(arena_allocate(arena, 16, 0, false, &error));
        assert_null(arena_allocate(arena, 1000, 0, false, &error));
        assert_null(arena_allocate(arena, 20000, 0, false, &error));
    }
    assert_true(fields[0].tables_used - before <= 2 * PAGE_BYTES);
}

static void made_and_freed_again_and_again_it_takes_no_memory(void **state)
{
    (void)state;
    const size_t sizes[] = {16, 1000, 20000};
    for (unsigned i = 0; i < 3; i++)
        assert_true(arena_free(arena, take(sizes[i]), true));
    const size_t before = fields[0].tables_used;
    for (unsigned step = 0; step < 3000; step++) {
        int error;
        unsigned char *pointer = arena_allocate(arena, sizes[step % 3], 0, true, &error);
        assert_int_equal(offset_of(&fields[0], pointer), 0);
        assert_int_equal(pointer[8], 0);
        memset(pointer, 1, 16);
        assert_true(arena_free(arena, pointer, true));
    }
    assert_int_equal(fields[0].tables_used, before);
}

static void without_memory_for_tables_it_is_refused(void **state)
{
    (void)state;
    int error = 0;
    take(16); /* the first table of pieces */
    const size_t used = fields[0].tables_used;
    fields[0].tables_used = TABLES;
    const uint32_t live = arena->piece_count;
    for (unsigned i = 0; i < 10; i++) {
        assert_null(arena_allocate(arena, 1000, 0, false, &error));
        assert_int_equal(error, -ENOMEM);
    }
    for (unsigned i = 0; i < 200 && arena_allocate(arena, 20000, 0, false, &error) != NULL; i++)
        continue;
    assert_int_equal(error, -ENOMEM);
    assert_true(arena->piece_count > live && arena->piece_count <= arena->piece_room);
    fields[0].tables_used = used;
    take(1000);
    take(20000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(a_slot_wastes_a_fifth_at_the_most),
        FRESH(slots_of_a_class_lie_side_by_side_from_the_lowest),
        FRESH(the_lowest_free_slot_serves_first),
        FRESH(every_alignment_is_kept),
        FRESH(blocks_of_a_chunk_or_a_sheet_have_it_to_themselves),
        FRESH(what_cannot_be_is_refused),
        FRESH(first_fit_by_address),
        FRESH(free_neighbours_become_one),
        FRESH(spans_side_by_side_are_one),
        FRESH(spans_apart_are_not),
        FRESH(a_block_that_is_freed_gives_its_pages_back),
        FRESH(a_slab_goes_with_its_last_slot),
        FRESH(pages_that_stay_are_cleared_when_they_are_used_again),
        FRESH(what_was_never_used_does_not_stay),
        FRESH(a_slab_in_two_chunks_stays_as_a_whole),
        FRESH(a_full_slab_is_used_again_when_a_slot_is_freed),
        FRESH(what_the_owner_frees_is_used_again),
        FRESH(what_others_free_is_spent),
        FRESH(a_slab_that_others_have_freed_gives_its_memory_back),
        FRESH(spent_neighbours_become_one),
        FRESH(only_the_start_of_a_live_block_is_one),
        FRESH(inner_pointers_know_what_is_left),
        FRESH(a_second_free_is_refused),
        FRESH(calloc_gets_zeros),
        FRESH(without_memory_nothing_changes),
        FRESH(without_addresses_it_goes_on_inside),
        FRESH(what_is_refused_takes_no_memory),
        FRESH(made_and_freed_again_and_again_it_takes_no_memory),
        FRESH(without_memory_for_tables_it_is_refused),
    };
    return cmocka_run_group_tests_name("arena", tests, make_fields, NULL);
}

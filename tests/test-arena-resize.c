/* SPDX-License-Identifier: MIT
 *
 * core/arena: blocks that become longer and shorter where they are.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test-arena.h"

#define SHEET_PAGES (MERGE_SHEET / PAGE_BYTES)

static void resized(void *pointer, size_t bytes, size_t usable)
{
    assert_true(arena_resize(arena, pointer, bytes, true));
    assert_int_equal(arena_usable(arena, pointer), usable);
}

static void a_block_becomes_longer_where_it_is(void **state)
{
    (void)state;
    unsigned char *block = take(20000), *next = take(20000);
    assert_false(arena_resize(arena, block, 5 * PAGE_BYTES + 1, true)); /* the next one is there */
    assert_true(arena_free(arena, next, true));
    assert_false(arena_resize(arena, block, 5 * PAGE_BYTES + 1, false)); /* for others it does not */
    resized(block, 5 * PAGE_BYTES + 1, 6 * PAGE_BYTES);
    memset(block, 1, 6 * PAGE_BYTES);
    resized(block, 10 * PAGE_BYTES, 10 * PAGE_BYTES);
    assert_ptr_equal(take(20000), block + 10 * PAGE_BYTES);
    assert_false(arena_resize(arena, block, 5 * PAGE_BYTES - 1, true)); /* much less: it had better move */
    resized(block, 5 * PAGE_BYTES, 10 * PAGE_BYTES);
    resized(block, 10 * PAGE_BYTES, 10 * PAGE_BYTES);
    assert_int_equal(arena_live_bytes(arena), 10 * PAGE_BYTES + 20000);
    void *slot = take(1000);
    const size_t usable = arena_usable(arena, slot);
    assert_true(arena_resize(arena, slot, usable, false));
    assert_false(arena_resize(arena, slot, usable + 1, true));
    assert_false(arena_resize(arena, block + PAGE_BYTES, 10, true));
    assert_false(arena_resize(arena, block, SIZE_MAX, true));
}

/* From a chunk on they lie at chunks, from a sheet on at sheets, and have them to themselves. */
static void not_where_it_would_not_lie(void **state)
{
    (void)state;
    unsigned char *block = take(20000), *second = take(MERGE_CHUNK / 2);
    assert_false(arena_resize(arena, second, MERGE_CHUNK, true));
    resized(second, MERGE_CHUNK - PAGE_BYTES, MERGE_CHUNK - PAGE_BYTES);
    assert_true(arena_free(arena, second, true));
    resized(block, MERGE_CHUNK, MERGE_CHUNK);
    resized(block, MERGE_SHEET - PAGE_BYTES, MERGE_SHEET - PAGE_BYTES);
    resized(block, MERGE_SHEET + 1, 2 * MERGE_SHEET);
    assert_int_equal(fields[0].page[SHEET_PAGES], USED);
    assert_int_equal(fields[0].page[SHEET_PAGES + 1], UNUSED); /* the rest is promised to nobody yet */
    resized(block, MERGE_SHEET + 2 * PAGE_BYTES, 2 * MERGE_SHEET);
    assert_int_equal(fields[0].page[SHEET_PAGES + 1], USED);
}

/* Where the arena ends it asks for more, and that may begin there or not. */
static void into_a_new_span(void **state)
{
    (void)state;
    unsigned char *block = take(MERGE_GRAIN);
    assert_int_equal(fields[0].spans, 1);
    resized(block, MERGE_GRAIN + 1, MERGE_GRAIN + MERGE_SHEET);
    assert_int_equal(fields[0].spans, 2);
    resized(block, 3 * MERGE_GRAIN, 3 * MERGE_GRAIN);
    const uint32_t spans = fields[0].spans;
    assert_int_equal(spans, 2);
    fields[0].skip = 1;
    assert_false(arena_resize(arena, block, 5 * MERGE_GRAIN, true));
    assert_int_equal(arena_usable(arena, block), 3 * MERGE_GRAIN);
    assert_true(arena_free(arena, block, true));
}

static void longer_without_memory(void **state)
{
    (void)state;
    unsigned char *block = take(20000);
    fields[0].poor = true;
    assert_false(arena_resize(arena, block, 40000, true));
    fields[0].poor = false;
    assert_true(arena_resize(arena, block, 40000, true));
    memset(block, 1, 40000);
    assert_true(arena_free(arena, block, true));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        FRESH(a_block_becomes_longer_where_it_is),
        FRESH(not_where_it_would_not_lie),
        FRESH(into_a_new_span),
        FRESH(longer_without_memory),
    };
    return cmocka_run_group_tests_name("arena-resize", tests, make_fields, NULL);
}

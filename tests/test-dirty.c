/* SPDX-License-Identifier: MIT
 *
 * core/dirty: which pages are kept, which come back, and what has to go for them.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "dirty.h"

static void is(struct dirty_range found, uint32_t page, uint32_t pages)
{
    assert_int_equal(found.pages, pages);
    if (pages != 0)
        assert_int_equal(found.page, page);
}

static struct dirty_range range(uint32_t page, uint32_t pages)
{
    return (struct dirty_range){page, pages};
}

static void what_is_large_is_not_kept(void **state)
{
    (void)state;
    struct dirty dirty = {0};
    is(dirty_keep(&dirty, range(10, DIRTY_PAGES + 1)), 10, DIRTY_PAGES + 1);
    is(dirty_keep(&dirty, range(10, DIRTY_PAGES)), 0, 0);
    assert_int_equal(dirty.count, 1);
}

static void the_oldest_goes_first(void **state)
{
    (void)state;
    struct dirty dirty = {0};
    for (uint32_t i = 0; i < DIRTY_RANGES; i++)
        is(dirty_keep(&dirty, range(100 * i, 4)), 0, 0);
    is(dirty_keep(&dirty, range(5000, 4)), 0, 4);
    is(dirty_keep(&dirty, range(6000, 4)), 100, 4);
    assert_int_equal(dirty.count, DIRTY_RANGES);
}

static void what_is_used_again_leaves_the_rest(void **state)
{
    (void)state;
    struct dirty dirty = {0};
    struct dirty_range rest;
    dirty_keep(&dirty, range(10, 20));
    is(dirty_take(&dirty, range(0, 10), &rest), 0, 0);
    is(dirty_take(&dirty, range(30, 10), &rest), 0, 0);
    is(dirty_take(&dirty, range(15, 5), &rest), 15, 5);
    is(rest, 0, 0);
    is(dirty_take(&dirty, range(15, 5), &rest), 0, 0);
    is(dirty_take(&dirty, range(0, 100), &rest), 10, 5);
    is(dirty_take(&dirty, range(0, 100), &rest), 20, 10);
    assert_int_equal(dirty.count, 0);
}

/* Neighbours are one range, on whichever side they come, as long as it does not become too large. */
static void neighbours_are_one(void **state)
{
    (void)state;
    struct dirty dirty = {0};
    struct dirty_range rest;
    dirty_keep(&dirty, range(100, 10));
    dirty_keep(&dirty, range(110, 10));
    dirty_keep(&dirty, range(90, 10));
    dirty_keep(&dirty, range(140, 10));
    assert_int_equal(dirty.count, 2);
    dirty_keep(&dirty, range(120, 20)); /* between two */
    assert_int_equal(dirty.count, 1);
    assert_int_equal(dirty_pages(&dirty), 60);
    assert_false(dirty_touches(&dirty, range(0, 90)));
    assert_true(dirty_touches(&dirty, range(0, 91)));
    assert_true(dirty_touches(&dirty, range(149, 1)));
    assert_false(dirty_touches(&dirty, range(150, 1)));
    is(dirty_take(&dirty, range(90, 60), &rest), 90, 60);
    assert_int_equal(dirty_pages(&dirty), 0);
    dirty_keep(&dirty, range(0, DIRTY_PAGES - 1));
    is(dirty_keep(&dirty, range(DIRTY_PAGES - 1, 2)), 0, 0);
    assert_int_equal(dirty.count, 2);
    assert_int_equal(dirty_pages(&dirty), DIRTY_PAGES + 1);
}

static void where_there_is_no_room_the_rest_goes(void **state)
{
    (void)state;
    struct dirty dirty = {0};
    struct dirty_range rest;
    for (uint32_t i = 0; i < DIRTY_RANGES; i++)
        dirty_keep(&dirty, range(100 * i, 10));
    is(dirty_take(&dirty, range(104, 2), &rest), 104, 2);
    is(rest, 106, 4);
    assert_int_equal(dirty.count, DIRTY_RANGES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_large_is_not_kept),
        cmocka_unit_test(the_oldest_goes_first),
        cmocka_unit_test(what_is_used_again_leaves_the_rest),
        cmocka_unit_test(neighbours_are_one),
        cmocka_unit_test(where_there_is_no_room_the_rest_goes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

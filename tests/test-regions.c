/* SPDX-License-Identifier: MIT
 *
 * core/regions: whether it is worth another look when there was no room; regions that are asked for by their
 * number. In a segment of which this process has taken all.
 */
#include "test-api.h"

#include <pthread.h>

#include "handle.h"
#include "pool.h"

static shmcore_segment *segment;
static struct region_run all[1024];
static unsigned runs;

static int take_all(void **state)
{
    (void)state;
    if (make_test_directory("regions") != 0)
        return -1;
    const shmcore_traits traits = traits_here(64 * MIB);
    segment = shmcore_open(NODE, &traits);
    if (segment == NULL)
        return -1;
    while (runs < COUNT_OF(all) && (all[runs] = regions_take(segment, 1, 1)).count != 0)
        runs++;
    return runs > 8 && runs < COUNT_OF(all) ? 0 : -1;
}

static int give_all(void **state)
{
    (void)state;
    while (runs > 0)
        regions_return(segment, all[--runs]);
    return shmcore_close(segment);
}

static void nothing_comes(void **state)
{
    (void)state;
    assert_int_equal(segment->file.view.pool->free_regions, 0);
    assert_false(regions_await(segment));
}

/* Somebody gave one back after the caller had found none, and before it asked. */
static void one_has_come(void **state)
{
    (void)state;
    regions_return(segment, all[--runs]);
    assert_true(regions_await(segment));
    all[runs] = regions_take(segment, 1, 1);
    assert_int_equal(all[runs].count, 1);
    runs++;
    assert_false(regions_await(segment));
}

static void *await(void *answer)
{
    *(bool *)answer = regions_await(segment);
    return NULL;
}

/* It is on its way, and is waited for. */
static void one_comes(void **state)
{
    (void)state;
    const struct view *view = &segment->file.view;
    bool answer = false;
    pthread_t thread;
    const struct region_run run = all[--runs];
    pool_hand(view, run, OWNER_RETURNING + segment->row);
    assert_int_equal(pthread_create(&thread, NULL, await, &answer), 0);
    regions_return(segment, run);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_true(answer);
    all[runs] = regions_take(segment, 1, 1);
    runs++;
}

/* Of a process that is gone nothing comes: whoever reaps it does that. */
static void the_dead_are_not_waited_for(void **state)
{
    (void)state;
    const struct view *view = &segment->file.view;
    const struct region_run run = all[runs - 1];
    uint32_t row = 0;
    while (row == segment->row || atomic_load(&view->rows[row].state) != ROW_FREE)
        row++;
    view->rows[row].pid = 1 << 30; /* nobody's */
    atomic_store(&view->rows[row].state, ROW_ALIVE);
    pool_hand(view, run, OWNER_RETURNING + row);
    assert_false(regions_await(segment));
    pool_hand(view, run, OWNER_PROCESS + segment->row);
    atomic_store(&view->rows[row].state, ROW_FREE);
}

/* All of a run, or none of it. */
static void these_and_no_others(void **state)
{
    (void)state;
    const struct region_run second = all[--runs], first = all[--runs];
    const struct region_run both = {(uint32_t)least(first.first, second.first), 2};
    assert_int_equal(most(first.first, second.first), both.first + 1);
    assert_false(regions_take_these(segment, both));
    regions_return(segment, first);
    assert_false(regions_take_these(segment, both));
    assert_int_equal(segment->file.view.pool->free_regions, 1);
    assert_true(regions_take_these(segment, first));
    assert_false(regions_take_these(segment, first));
    regions_return(segment, first);
    regions_return(segment, second);
    assert_true(regions_take_these(segment, both));
    assert_int_equal(segment->file.view.pool->free_regions, 0);
    for (uint32_t region = both.first; region < both.first + 2; region++)
        assert_int_equal(segment->file.view.region_owner[region], OWNER_PROCESS + segment->row);
    assert_false(regions_take_these(segment, (struct region_run){0, 1}));
    assert_false(regions_take_these(segment, (struct region_run){segment->file.view.region_count, 1}));
    assert_false(regions_take_these(segment, (struct region_run){UINT32_MAX - 1, 1}));
    assert_false(regions_take_these(segment, (struct region_run){both.first, UINT32_MAX}));
    all[runs++] = first;
    all[runs++] = second;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_comes),       cmocka_unit_test(one_has_come),
        cmocka_unit_test(one_comes),           cmocka_unit_test(the_dead_are_not_waited_for),
        cmocka_unit_test(these_and_no_others),
    };
    return cmocka_run_group_tests_name("regions", tests, take_all, give_all);
}

/* SPDX-License-Identifier: MIT
 *
 * core/reference: many rows add and drop references to many blocks; the sums agree after every step.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plain.h"
#include "reference.h"

#define RECORDS 24u
#define ROWS    90u
#define SHARD   2u /* not the first, so that `held` is indexed in earnest */

static struct plain plain;
static struct dice dice;
static struct record *record[RECORDS];
static uint32_t model[RECORDS][ROWS];

static struct shard *shard(void)
{
    return &plain.view.shards[SHARD];
}

static int make(void **state)
{
    (void)state;
    dice = (struct dice){11};
    memset(model, 0, sizeof model);
    if (!plain_make(&plain, 33 * MEBI) || plain.view.shard_count <= SHARD || plain.view.row_count < ROWS ||
        !plain_feed(&plain, SHARD, 64))
        return -1;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, SHARD, &transaction);
    for (uint32_t i = 0; i < RECORDS; i++)
        record[i] = slab_slot_record(&plain.view, plain_slot(&heap, shard(), 0));
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    plain_unmake(&plain);
    return 0;
}

static uint32_t held(uint32_t shard_number, uint32_t row)
{
    return plain.view.held[(size_t)shard_number * plain.view.row_count + row];
}

static uint32_t sum_of(uint32_t number)
{
    uint32_t sum = 0;
    for (uint32_t row = 0; row < ROWS; row++)
        sum += model[number][row];
    return sum;
}

static void check_record(uint32_t number)
{
    const uint32_t holder = reference_holder(&plain.view, record[number], SHARD);
    assert_int_equal(record[number]->refs, sum_of(number));
    assert_true(reference_is_sound(&plain.view, record[number], SHARD));
    for (uint32_t row = 0; row < ROWS; row++)
        assert_int_equal(reference_count(&plain.view, record[number], SHARD, row), model[number][row]);
    if (sum_of(number) == 0)
        assert_int_equal(holder, UINT32_MAX);
    else
        assert_true(holder < ROWS && model[number][holder] > 0);
}

static void check_held(uint32_t row)
{
    uint32_t sum = 0;
    for (uint32_t i = 0; i < RECORDS; i++)
        sum += model[i][row];
    assert_int_equal(held(SHARD, row), sum);
    for (uint32_t s = 0; s < plain.view.shard_count; s++)
        if (s != SHARD)
            assert_int_equal(held(s, row), 0);
}

/* The slab for row slots is made beforehand, as in an allocation. */
static void make_room(const struct heap *heap, uint32_t number, uint32_t row)
{
    if (!reference_wants_slot(&plain.view, record[number], SHARD, row, 1) ||
        shard()->partial[SLAB_ROW_SLOTS] != 0)
        return;
    assert_false(reference_add(heap, shard(), SHARD, record[number], row, 1));
    check_record(number);
    const uint32_t quantum = plain_carve(heap);
    assert_int_not_equal(quantum, 0);
    slab_begin(heap, shard(), quantum, SLAB_ROW_SLOTS);
}

static void add(const struct heap *heap, uint32_t number, uint32_t row)
{
    make_room(heap, number, row);
    assert_true(reference_add(heap, shard(), SHARD, record[number], row, 1));
    model[number][row]++;
}

static void drop(const struct heap *heap, uint32_t number, uint32_t row, bool all)
{
    struct slab *empty = NULL;
    const bool dropped = reference_drop(heap, shard(), SHARD, record[number], row, all, &empty);
    assert_int_equal(dropped, model[number][row] > 0);
    if (dropped)
        model[number][row] = all ? 0 : model[number][row] - 1;
    if (empty != NULL)
        slab_remove(heap, shard(), empty);
}

static uint32_t slots_in_use(void)
{
    uint32_t used = 0;
    for (uint32_t q = SLAB_QUANTA; q < view_quantum_count(&plain.view); q += SLAB_QUANTA) {
        const struct slab *slab = slab_at(&plain.view, q, OWNER_SHARD + SHARD);
        used += slab != NULL && slab->slab_class == SLAB_ROW_SLOTS ? slab->used : 0;
    }
    return used;
}

static void random_steps(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, SHARD, &transaction);
    for (unsigned i = 0; i < 40000; i++) {
        const uint32_t number = dice_roll(&dice, RECORDS), row = dice_roll(&dice, ROWS);
        if (dice_roll(&dice, 100) < 52)
            add(&heap, number, row);
        else
            drop(&heap, number, row, dice_roll(&dice, 10) == 0);
        check_record(number);
        check_held(row);
    }
    for (uint32_t number = 0; number < RECORDS; number++)
        for (uint32_t row = 0; row < ROWS; row++)
            drop(&heap, number, row, true);
    for (uint32_t number = 0; number < RECORDS; number++)
        check_record(number);
    for (uint32_t row = 0; row < ROWS; row++)
        check_held(row);
    assert_int_equal(slots_in_use(), 0);
    assert_true(heap_is_sound(&heap));
}

/* The first row's count has 16 bits; what does not fit goes to a slot, and both are counted and dropped. */
static void more_than_the_first_can_count(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, SHARD, &transaction);
    for (unsigned i = 0; i < 70000; i++)
        add(&heap, 0, 5);
    add(&heap, 0, 6);
    check_record(0);
    check_held(5);
    assert_int_equal(slots_in_use(), 2);
    for (unsigned i = 0; i < 69000; i++)
        drop(&heap, 0, 5, false);
    check_record(0);
    for (unsigned i = 0; i < 69000; i++)
        add(&heap, 0, 5);
    check_record(0);
    drop(&heap, 0, 5, true);
    check_record(0);
    check_held(5);
    assert_int_equal(slots_in_use(), 1);
}

static void cannot_be_counted(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, SHARD, &transaction);
    add(&heap, 0, 1);
    record[0]->refs = UINT32_MAX;
    assert_false(reference_add(&heap, shard(), SHARD, record[0], 1, 1));
    record[0]->refs = 1;
    plain.view.held[(size_t)SHARD * plain.view.row_count + 1] = UINT32_MAX;
    assert_false(reference_add(&heap, shard(), SHARD, record[0], 1, 1));
    plain.view.held[(size_t)SHARD * plain.view.row_count + 1] = 1;
    check_record(0);
    check_held(1);
}

static void abandoned_steps(void **state)
{
    (void)state;
    const struct guarded guarded = plain_shard(&plain, SHARD);
    struct transaction plainly = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, SHARD, &plainly);
    uint32_t kept[RECORDS][ROWS];
    add(&heap, 0, 0);
    add(&heap, 0, 1);
    for (unsigned i = 0; i < 3000; i++) {
        const uint32_t number = dice_roll(&dice, RECORDS), row = dice_roll(&dice, ROWS);
        add(&heap, number, row);
        memcpy(kept, model, sizeof kept);
        struct transaction transaction = transaction_begin(&guarded);
        const struct heap logged = plain_heap(&plain, SHARD, &transaction);
        add(&logged, number, dice_roll(&dice, ROWS));
        drop(&logged, number, row, true);
        drop(&logged, dice_roll(&dice, RECORDS), dice_roll(&dice, ROWS), false);
        transaction_abandon(&guarded, &transaction);
        memcpy(model, kept, sizeof kept);
        check_record(number);
        check_held(row);
    }
    for (uint32_t number = 0; number < RECORDS; number++)
        check_record(number);
}

static void damage_is_noticed(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, SHARD, &transaction);
    for (uint32_t row = 0; row < 5; row++)
        add(&heap, 0, row);
    struct row_slot *slot = view_at(&plain.view, (uint64_t)record[0]->rows * RECORD_UNIT);
    const struct row_slot kept = *slot;
    const uint32_t rows = record[0]->rows;
    check_record(0);
    slot->count = 0;
    assert_false(reference_is_sound(&plain.view, record[0], SHARD));
    *slot = kept;
    slot->process = plain.view.row_count;
    assert_false(reference_is_sound(&plain.view, record[0], SHARD));
    *slot = kept;
    slot->next = rows; /* a list without an end */
    assert_false(reference_is_sound(&plain.view, record[0], SHARD));
    assert_int_equal(reference_count(&plain.view, record[0], SHARD, ROWS), 0);
    *slot = kept;
    record[0]->rows = UINT32_MAX;
    assert_false(reference_is_sound(&plain.view, record[0], SHARD));
    assert_int_equal(reference_count(&plain.view, record[0], SHARD, 3), 0);
    record[0]->rows = rows;
    record[0]->refs++;
    assert_false(reference_is_sound(&plain.view, record[0], SHARD));
    record[0]->refs--;
    check_record(0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(random_steps),      TEST(more_than_the_first_can_count),
        TEST(cannot_be_counted), TEST(abandoned_steps),
        TEST(damage_is_noticed),
    };
    return cmocka_run_group_tests_name("reference", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * core/pool: regions taken and given at random against a model; first fit; the part of large segments that is
 * kept for records; a run too long for the undo log.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "plain.h"

#define CAPACITY      (24 * MEBI)
#define MODEL_REGIONS 384u

static struct plain plain;
static uint32_t model[MODEL_REGIONS]; /* the owner of each region, OWNER_POOL: free */
static bool leftover[MODEL_REGIONS];  /* free, but an owner is still written there */
static unsigned found_free;
static struct dice dice;

static int make(void **state)
{
    (void)state;
    if (!plain_make(&plain, CAPACITY) || plain.view.region_count != MODEL_REGIONS)
        return -1;
    dice = (struct dice){7};
    memset(leftover, false, sizeof leftover);
    for (uint32_t r = 0; r < MODEL_REGIONS; r++)
        model[r] = r < plain.view.table_regions ? OWNER_TABLES : OWNER_POOL;
    return 0;
}

static int unmake(void **state)
{
    (void)state;
    plain_unmake(&plain);
    return 0;
}

static void own(struct region_run run, uint32_t owner)
{
    for (uint32_t r = run.first; r < run.first + run.count; r++) {
        model[r] = owner;
        leftover[r] = false;
    }
}

static uint32_t length_of(uint32_t region, uint32_t owner)
{
    uint32_t length = 0;
    while (region + length < MODEL_REGIONS && model[region + length] == owner)
        length++;
    return length;
}

/* The lowest run that fits, or the highest, as the model sees it. */
static struct region_run fit(uint32_t count, uint32_t alignment, bool low, bool any)
{
    struct region_run found = {0, 0};
    for (uint32_t r = 0; r < MODEL_REGIONS && (!low || found.count == 0); r += alignment) {
        bool fits = length_of(r, OWNER_POOL) >= count;
        for (uint32_t i = 0; fits && !any && i < count; i++)
            fits = !leftover[r + i];
        if (fits)
            found = (struct region_run){r, count};
    }
    return found;
}

static void check(void)
{
    uint32_t longest = 0, free_regions = 0;
    for (uint32_t r = 0; r < MODEL_REGIONS; r++) {
        const uint32_t length = length_of(r, OWNER_POOL);
        longest = length > longest ? length : longest;
        free_regions += length > 0;
        if (model[r] != OWNER_POOL)
            assert_int_equal(plain.view.region_owner[r], model[r]);
    }
    assert_int_equal(plain.view.pool->free_regions, free_regions);
    assert_int_equal(pool_longest(&plain.view), longest);
    assert_true(pool_is_sound(&plain.view));
}

static uint32_t some_owner(void)
{
    return dice_roll(&dice, 2) == 0 ? OWNER_SHARD : OWNER_PROCESS + dice_roll(&dice, 5);
}

static void take(void)
{
    const uint32_t count = 1 + dice_roll(&dice, dice_roll(&dice, 5) == 0 ? 150 : 6);
    const uint32_t alignment = 1u << dice_roll(&dice, 4), owner = some_owner();
    const bool low = dice_roll(&dice, 2) == 0;
    struct region_run wanted = fit(count, alignment, low, false);
    if (wanted.count == 0) /* rather those than none */
        wanted = fit(count, alignment, low, true);
    const struct region_run run = pool_find(&plain.view, count, alignment, low);
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    assert_int_equal(run.count, wanted.count);
    assert_int_equal(run.first, wanted.first);
    if (run.count == 0)
        return;
    pool_take(&plain.view, &transaction, run, owner);
    own(run, owner);
}

/* A random part of a run of one owner. */
static struct region_run some_run(void)
{
    for (uint32_t tries = 0; tries < 50; tries++) {
        const uint32_t region =
            plain.view.table_regions + dice_roll(&dice, MODEL_REGIONS - plain.view.table_regions);
        if (model[region] != OWNER_POOL)
            return (struct region_run){region, 1 + dice_roll(&dice, length_of(region, model[region]))};
    }
    return (struct region_run){0, 0};
}

/* A random run, which may reach beyond both ends: all of it is free, and nobody's leftover. */
static void has(void)
{
    const struct region_run run = {dice_roll(&dice, MODEL_REGIONS + 2), 1 + dice_roll(&dice, 5)};
    bool free = true;
    for (uint32_t region = run.first; region < run.first + run.count; region++)
        free = free && region >= plain.view.table_regions && region < MODEL_REGIONS &&
               model[region] == OWNER_POOL && !leftover[region];
    assert_int_equal(pool_has(&plain.view, run), free);
    found_free += free;
}

static void give(void)
{
    const struct region_run run = some_run();
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    if (run.count == 0)
        return;
    pool_give(&plain.view, &transaction, run);
    own(run, OWNER_POOL);
    const bool dies = dice_roll(&dice, 4) == 0; /* here, and leaves owners behind that mean nothing */
    if (!dies)
        pool_forget(&plain.view, run);
    memset(leftover + run.first, dies, run.count);
}

static void walk(void)
{
    const uint32_t owner = some_owner(), enough = 1 + dice_roll(&dice, 40);
    struct region_run run = {0, 0};
    uint32_t seen = 0, wanted = 0;
    for (uint32_t r = 0; r < MODEL_REGIONS; r++)
        wanted += model[r] == owner;
    while ((run = pool_next_of(&plain.view, owner, run.first + run.count, enough)).count != 0) {
        assert_true(run.count <= enough);
        assert_true(length_of(run.first, owner) >= run.count);
        seen += run.count;
    }
    assert_int_equal(seen, wanted);
}

static void random_steps(void **state)
{
    (void)state;
    check();
    for (unsigned i = 0; i < 20000; i++) {
        const uint32_t kind = dice_roll(&dice, 20);
        if (kind < 11)
            take();
        else if (kind < 19)
            give();
        else
            walk();
        has();
        check();
    }
    assert_in_range(found_free, 200, 19800);
}

/* Runs that begin and end anywhere in the words of the bitmap. */
static void across_words(void **state)
{
    (void)state;
    static const uint32_t counts[] = {1, 2, 62, 63, 64, 65, 127, 128, 129};
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    for (size_t c = 0; c < COUNT_OF(counts); c++)
        for (uint32_t first = plain.view.table_regions; first + counts[c] <= MODEL_REGIONS; first++) {
            const struct region_run run = {first, counts[c]};
            pool_take(&plain.view, &transaction, run, OWNER_SHARD);
            for (uint32_t r = plain.view.table_regions; r < MODEL_REGIONS; r++) {
                const bool is_free = (plain.view.region_free[r / 64] >> r % 64 & 1) != 0;
                assert_int_equal(is_free, r < first || r >= first + counts[c]);
            }
            pool_give(&plain.view, &transaction, run);
            pool_forget(&plain.view, run);
            assert_int_equal(pool_longest(&plain.view), MODEL_REGIONS - plain.view.table_regions);
        }
    check();
}

static void exhausted(void **state)
{
    (void)state;
    const uint32_t all = plain.view.pool->free_regions;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    assert_int_equal(all, MODEL_REGIONS - plain.view.table_regions);
    assert_int_equal(pool_find(&plain.view, 0, 1, false).count, 0);
    assert_int_equal(pool_find(&plain.view, all + 1, 1, false).count, 0);
    assert_int_equal(pool_find(&plain.view, UINT32_MAX, 1, false).count, 0);
    const struct region_run run = pool_find(&plain.view, all, 1, true);
    assert_int_equal(run.count, all);
    pool_take(&plain.view, &transaction, run, OWNER_SHARD);
    assert_int_equal(pool_find(&plain.view, 1, 1, false).count, 0);
    assert_int_equal(pool_longest(&plain.view), 0);
    assert_true(pool_is_sound(&plain.view));
    pool_give(&plain.view, &transaction, run);
    pool_forget(&plain.view, run);
    check();
}

struct picture {
    uint64_t free[MODEL_REGIONS / 64];
    uint32_t free_regions, hint;
};

static struct picture draw(void)
{
    struct picture picture = {.free_regions = plain.view.pool->free_regions, .hint = plain.view.pool->hint};
    memcpy(picture.free, plain.view.region_free, sizeof picture.free);
    return picture;
}

static void abandoned_steps(void **state)
{
    (void)state;
    const struct guarded guarded = plain_pool(&plain);
    for (unsigned i = 0; i < 2000; i++) {
        take();
        give();
        const struct region_run taken = pool_find(&plain.view, 1 + dice_roll(&dice, 90), 1, false);
        const struct region_run given = some_run();
        const struct picture before = draw();
        struct transaction transaction = transaction_begin(&guarded);
        if (taken.count != 0)
            pool_take(&plain.view, &transaction, taken, OWNER_SHARD);
        if (given.count != 0)
            pool_give(&plain.view, &transaction, given);
        transaction_abandon(&guarded, &transaction);
        const struct picture after = draw();
        assert_memory_equal(&before, &after, sizeof before);
        memset(leftover + taken.first, true, taken.count); /* owners are not logged */
        check();
    }
}

/* What a stray write has made look free is somebody's still, as its owner tells. */
static void whose_bit_is_wrong_is_not_taken(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct region_run run = pool_find(&plain.view, 3, 1, false);
    pool_take(&plain.view, &transaction, run, OWNER_PROCESS + 1);
    plain.view.region_free[run.first / 64] |= (uint64_t)1 << run.first % 64;
    for (unsigned low = 0; low < 2; low++) {
        const struct region_run found = pool_find(&plain.view, 3, 1, low != 0);
        assert_int_equal(found.count, 3);
        assert_true(found.first + found.count <= run.first || found.first > run.first);
    }
}

static void damage_is_noticed(void **state)
{
    (void)state;
    const struct region_run run = pool_find(&plain.view, 5, 1, false);
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    pool_take(&plain.view, &transaction, run, OWNER_SHARD);
    own(run, OWNER_SHARD);
    check();
    plain.view.region_owner[run.first + 2] = OWNER_POOL; /* taken by nobody */
    assert_false(pool_is_sound(&plain.view));
    plain.view.region_owner[run.first + 2] = OWNER_PROCESS + plain.view.row_count;
    assert_false(pool_is_sound(&plain.view));
    plain.view.region_owner[run.first + 2] = OWNER_SHARD + plain.view.shard_count;
    assert_false(pool_is_sound(&plain.view));
    plain.view.region_owner[run.first + 2] = OWNER_SHARD;
    check();
    plain.view.pool->free_regions++;
    assert_false(pool_is_sound(&plain.view));
    plain.view.pool->free_regions--;
    plain.view.region_free[0] |= 1; /* the tables are nobody's to take */
    assert_false(pool_is_sound(&plain.view));
    plain.view.region_free[0] &= ~(uint64_t)1;
    plain.view.pool->hint = MODEL_REGIONS;
    assert_false(pool_is_sound(&plain.view));
}

/* ---------------------------------------------------------------- a segment larger than records reach */

static struct plain large;

static bool make_large(void)
{
    return plain_make(&large, 64 * GIBI);
}

static void low_and_high(void **state)
{
    (void)state;
    if (!make_large())
        SKIP("no 64 GiB of address space");
    const uint32_t low_end = (uint32_t)(RECORD_LIMIT >> large.view.region_shift);
    struct transaction transaction = PLAIN_TRANSACTION(&large);
    struct region_run run = pool_find(&large.view, 3, 1, true);
    assert_true(run.first + run.count <= low_end);
    run = pool_find(&large.view, 3, 1, false); /* large extents leave the low part to records */
    assert_int_equal(run.first, large.view.region_count - 3);
    run = pool_find(&large.view, large.view.region_count - low_end, 1, false);
    pool_take(&large.view, &transaction, run, OWNER_SHARD);
    run = pool_find(&large.view, 3, 1, false); /* nothing else is left */
    assert_int_equal(run.first, low_end - 3);
    run = (struct region_run){large.view.table_regions, low_end - 2 - large.view.table_regions};
    pool_take(&large.view, &transaction, run, OWNER_SHARD);
    pool_give(&large.view, &transaction, (struct region_run){low_end, 2});
    assert_int_equal(pool_longest(&large.view), 4); /* two below the limit, and two above it */
    assert_int_equal(pool_find(&large.view, 3, 1, true).count, 0);
    assert_int_equal(pool_find(&large.view, 2, 1, true).first, low_end - 2);
    pool_give(&large.view, &transaction, run);
    pool_take(&large.view, &transaction, (struct region_run){low_end, 2}, OWNER_SHARD);
    run = pool_find(&large.view, low_end - large.view.table_regions, 1, true);
    assert_int_equal(run.count, low_end - large.view.table_regions);
    pool_take(&large.view, &transaction, run, OWNER_SHARD + 1);
    assert_int_equal(pool_find(&large.view, 1, 1, true).count, 0);
    assert_true(pool_is_sound(&large.view));
    plain_unmake(&large);
}

/* The whole of a segment goes into one transaction: regions are never too many for the undo log. */
static void long_runs(void **state)
{
    (void)state;
    if (!make_large())
        SKIP("no 64 GiB of address space");
    const struct guarded guarded = plain_pool(&large);
    const struct region_run run = {large.view.table_regions, pool_longest(&large.view)};
    assert_int_equal(run.first + run.count, large.view.region_count);
    struct transaction transaction = transaction_begin(&guarded);
    pool_take(&large.view, &transaction, run, OWNER_SHARD);
    assert_true(transaction_end(&guarded, &transaction));
    assert_true(pool_is_sound(&large.view));
    assert_int_equal(large.view.pool->free_regions, 0);
    transaction = transaction_begin(&guarded);
    pool_give(&large.view, &transaction, run);
    assert_true(transaction_end(&guarded, &transaction));
    pool_forget(&large.view, run);
    assert_true(pool_is_sound(&large.view));
}

/* A log with too little room left: refused, and nothing has happened. */
static void too_long_for_the_log(void **state)
{
    (void)state;
    if (!make_large())
        SKIP("no 64 GiB of address space");
    const struct guarded guarded = plain_pool(&large);
    const struct region_run run = {large.view.table_regions, pool_longest(&large.view)};
    struct transaction transaction = transaction_begin(&guarded);
    for (unsigned i = 0; i < UNDO_ENTRIES - 5; i++)
        undo_note(&transaction, &large.view.pool->hint);
    pool_take(&large.view, &transaction, run, OWNER_SHARD);
    assert_false(transaction_end(&guarded, &transaction));
    assert_int_equal(pool_longest(&large.view), run.count);
    assert_int_equal(large.view.pool->free_regions, run.count);
    assert_true(pool_is_sound(&large.view));
}

static int unmake_large(void **state)
{
    (void)state;
    plain_unmake(&large);
    return 0;
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(random_steps),
        TEST(across_words),
        TEST(exhausted),
        TEST(abandoned_steps),
        TEST(whose_bit_is_wrong_is_not_taken),
        TEST(damage_is_noticed),
        cmocka_unit_test_teardown(low_and_high, unmake_large),
        cmocka_unit_test_teardown(long_runs, unmake_large),
        cmocka_unit_test_teardown(too_long_for_the_log, unmake_large),
    };
    return cmocka_run_group_tests_name("pool", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * core/undo: wherever a transaction stops, taking back what the log holds restores every byte.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "lock.h"
#include "plain.h"

#define WORDS  256u
#define STORES 200u

static struct {
    struct undo log;
    struct undo_entry beyond; /* one that would be believed, were it read */
} place;
static _Alignas(64) unsigned char before[WORDS * 8], memory[WORDS * 8];

static struct transaction begin(void)
{
    return (struct transaction){.base = memory, .log = &place.log};
}

static void refresh(uint64_t seed)
{
    struct dice dice = {seed};
    for (size_t i = 0; i < sizeof before; i++)
        before[i] = (unsigned char)dice_roll(&dice, 256);
    memcpy(memory, before, sizeof memory);
    place.log.count = 0;
}

/* One store of 16, 32 or 64 bits; few words, so that many are stored to again and again. */
static void store(struct transaction *transaction, struct dice *dice)
{
    unsigned char *word = memory + dice_roll(dice, WORDS / 4) * 8;
    const uint32_t value = dice_roll(dice, UINT32_MAX);
    switch (dice_roll(dice, 4)) {
    case 0:
        UNDO_SET(transaction, (uint16_t *)(void *)(word + 2 * dice_roll(dice, 4)), (uint16_t)value);
        break;
    case 1:
        UNDO_SET(transaction, (uint32_t *)(void *)(word + 4 * dice_roll(dice, 2)), value);
        break;
    case 2:
        UNDO_PUBLISH(transaction, (_Atomic uint32_t *)(void *)word, value);
        break;
    default:
        UNDO_SET(transaction, (uint64_t *)(void *)word, (uint64_t)value << 32 | ~value);
        break;
    }
}

static void store_many(uint64_t seed, unsigned count)
{
    struct dice dice = {seed};
    struct transaction transaction = begin();
    for (unsigned i = 0; i < count; i++)
        store(&transaction, &dice);
    assert_false(transaction.overflowed);
    assert_int_equal(place.log.count, count);
}

static bool roll_back(void)
{
    return undo_roll_back(&place.log, memory, sizeof memory);
}

static void every_prefix(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= 20; seed++)
        for (unsigned count = 0; count <= STORES; count++) {
            refresh(seed);
            store_many(seed, count);
            assert_int_equal(memcmp(memory, before, sizeof memory) != 0, count > 0);
            assert_true(roll_back());
            assert_memory_equal(memory, before, sizeof memory);
            assert_int_equal(place.log.count, 0);
        }
}

/* Death between the steps of one store: the entry is written; then the count; then the word. */
static void every_step(void **state)
{
    (void)state;
    for (unsigned count = 0; count < STORES; count++) {
        const struct undo_entry garbage = {UINT64_MAX, 4711};
        refresh(count);
        store_many(7, count);
        place.log.entry[count] = garbage; /* half an entry, not counted */
        assert_true(roll_back());
        assert_memory_equal(memory, before, sizeof memory);

        refresh(count);
        store_many(7, count);
        struct transaction transaction = begin();
        assert_true(undo_note(&transaction, memory + 8)); /* counted, not yet stored */
        assert_true(roll_back());
        assert_memory_equal(memory, before, sizeof memory);
    }
}

/* Whoever rolls back can die himself at any entry, and the next one begins again. */
static void interrupted_recovery(void **state)
{
    (void)state;
    for (unsigned stop = 0; stop <= STORES; stop++) {
        refresh(stop);
        store_many(11, STORES);
        for (unsigned i = STORES; i > stop; i--)
            memcpy(memory + place.log.entry[i - 1].offset, &place.log.entry[i - 1].old, 8);
        assert_true(roll_back());
        assert_memory_equal(memory, before, sizeof memory);
    }
}

static void commit_keeps(void **state)
{
    (void)state;
    unsigned char after[sizeof memory];
    refresh(3);
    store_many(3, STORES);
    memcpy(after, memory, sizeof after);
    struct transaction transaction = begin();
    assert_true(undo_commit(&transaction));
    assert_int_equal(place.log.count, 0);
    assert_true(roll_back());
    assert_memory_equal(memory, after, sizeof memory);
}

static void full_log(void **state)
{
    (void)state;
    _Atomic uint32_t sequence = 0, poisoned = 0;
    const struct guarded guarded = {.undo = &place.log,
                                    .sequence = &sequence,
                                    .poisoned = &poisoned,
                                    .base = memory,
                                    .capacity = sizeof memory};
    uint64_t *first = (uint64_t *)(void *)memory, *second = first + 1;
    refresh(5);
    const uint64_t kept = *second;
    struct transaction transaction = transaction_begin(&guarded);
    assert_int_equal(sequence, 1);
    for (unsigned i = 0; i < UNDO_ENTRIES; i++)
        UNDO_SET(&transaction, first, *first + 1);
    assert_false(transaction.overflowed);
    UNDO_SET(&transaction, second, ~*second);
    assert_true(transaction.overflowed);
    assert_int_equal(*second, kept); /* what cannot be noted is not stored */
    assert_int_equal(place.log.count, UNDO_ENTRIES);
    assert_false(transaction_end(&guarded, &transaction));
    assert_memory_equal(memory, before, sizeof memory);
    assert_int_equal(place.log.count, 0);
    assert_int_equal(sequence, 2);

    transaction = transaction_begin(&guarded); /* the next one is not hurt by it */
    UNDO_SET(&transaction, first, 42);
    assert_int_equal(sequence, 3);
    assert_true(transaction_end(&guarded, &transaction));
    assert_int_equal(*first, 42);
    assert_int_equal(sequence, 4);
}

static void abandoned(void **state)
{
    (void)state;
    _Atomic uint32_t sequence = 8, poisoned = 0;
    const struct guarded guarded = {.undo = &place.log,
                                    .sequence = &sequence,
                                    .poisoned = &poisoned,
                                    .base = memory,
                                    .capacity = sizeof memory};
    struct dice dice = {99};
    refresh(6);
    struct transaction transaction = transaction_begin(&guarded);
    for (unsigned i = 0; i < STORES; i++)
        store(&transaction, &dice);
    transaction_abandon(&guarded, &transaction);
    assert_memory_equal(memory, before, sizeof memory);
    assert_int_equal(sequence, 10);
}

/* A log that makes no sense is refused whole: nothing is written, nothing is forgotten. */
static void damaged_log(void **state)
{
    (void)state;
    unsigned char after[sizeof memory];
    static const struct {
        unsigned entry;
        uint64_t offset;
    } damages[] = {{0, 4}, {STORES - 1, sizeof memory}, {STORES / 2, UINT64_MAX - 7}, {3, 1}};
    for (size_t i = 0; i < COUNT_OF(damages); i++) {
        refresh(i);
        store_many(i, STORES);
        memcpy(after, memory, sizeof after);
        place.log.entry[damages[i].entry].offset = damages[i].offset;
        assert_false(roll_back());
        assert_memory_equal(memory, after, sizeof memory);
        assert_int_equal(place.log.count, STORES);
    }
    refresh(0);
    store_many(0, STORES); /* sound entries, also beyond the end */
    memcpy(after, memory, sizeof after);
    place.log.count = UNDO_ENTRIES + 1;
    assert_false(roll_back());
    place.log.count = UINT64_MAX;
    assert_false(roll_back());
    assert_memory_equal(memory, after, sizeof memory);
}

static void without_a_log(void **state)
{
    (void)state;
    refresh(1);
    struct transaction transaction = {.base = memory};
    uint64_t *word = (uint64_t *)(void *)memory;
    for (unsigned i = 0; i < 2 * UNDO_ENTRIES; i++)
        UNDO_SET(&transaction, word, i);
    assert_int_equal(*word, 2 * UNDO_ENTRIES - 1);
    assert_true(undo_commit(&transaction));
    assert_int_equal(place.log.count, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_prefix),
        cmocka_unit_test(every_step),
        cmocka_unit_test(interrupted_recovery),
        cmocka_unit_test(commit_keeps),
        cmocka_unit_test(full_log),
        cmocka_unit_test(abandoned),
        cmocka_unit_test(damaged_log),
        cmocka_unit_test(without_a_log),
    };
    return cmocka_run_group_tests_name("undo", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * What the tests of core/directory have in common: a shard on plain memory, and names that are put in, found
 * and taken out as the library does it.
 */
#ifndef TEST_DIRECTORY_H
#define TEST_DIRECTORY_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "directory.h"
#include "plain.h"

#define NAMES 100000u

static struct plain plain;
static struct record *records[NAMES]; /* by the number of the name */
static unsigned most_entries;         /* of the log, in one insertion */

static int make(void **state)
{
    (void)state;
    most_entries = 0;
    memset(records, 0, sizeof records);
    return plain_make(&plain, 128 * MEBI) && plain_feed(&plain, 0, 300) ? 0 : -1;
}

static int unmake(void **state)
{
    (void)state;
    plain_unmake(&plain);
    return 0;
}

static struct shard *shard(void)
{
    return &plain.view.shards[0];
}

/* Name `number`: every seventh is long, and every length up to 255 comes up; every eleventh has a salt. */
static struct name_key key_of(uint32_t number, char text[256])
{
    int length = snprintf(text, 256, "name/%u", number);
    if (number % 7 == 0)
        for (; length < (int)(number / 7 % 256); length++)
            text[length] = (char)('a' + (number + (unsigned)length) % 26);
    return directory_key(text, (size_t)length, number % 11 == 0 ? number + 1 : 0);
}

static uint32_t find(const struct name_key *key)
{
    bool damaged = false;
    const uint32_t reference = directory_find(&plain.view, shard(), OWNER_SHARD, key, &damaged);
    assert_false(damaged);
    return reference;
}

/* A bucket table grows by a piece before the insertion that needs it. */
static void extend(const struct heap *heap)
{
    const uint32_t quanta = directory_wants(shard());
    if (quanta == 0)
        return;
    const uint32_t first = heap_take(heap, quanta, 1, QUANTUM_TABLE);
    assert_int_not_equal(first, 0);
    memset(view_at(&plain.view, (uint64_t)first << QUANTUM_SHIFT), 0, (size_t)quanta << QUANTUM_SHIFT);
    directory_extend(heap, shard(), first);
    assert_int_equal(directory_wants(shard()), 0);
}

static void write_name(const struct heap *heap, struct record *record, const struct name_key *key)
{
    uint32_t flags = 0;
    if (directory_name_is_long(key)) {
        const uint32_t slab_class = slab_name_class(sizeof(struct long_name) + key->length);
        const struct slot slot = plain_slot(heap, shard(), slab_class);
        assert_non_null(slot.slab);
        struct long_name *name = slab_slot_bytes(&plain.view, slot);
        name->salt = key->salt;
        memcpy(name->text, key->text, key->length);
        const uint32_t reference = view_reference(&plain.view, name);
        memcpy(record->name, &reference, sizeof reference);
        flags = RECORD_LONG_NAME;
    } else {
        memcpy(record->name, key->text, key->length);
    }
    atomic_store(&record->status, key->length << 8 | flags | RECORD_READY);
}

static struct record *new_record(const struct heap *heap, const struct name_key *key)
{
    const struct slot slot = plain_slot(heap, shard(), 0);
    assert_non_null(slot.slab);
    struct record *record = slab_slot_record(&plain.view, slot);
    memset((void *)record, 0, sizeof *record);
    write_name(heap, record, key);
    return record;
}

/* A bucket that is full goes on in a slot, which is there before the insertion that needs it. */
static void make_room(const struct heap *heap, const struct name_key *key)
{
    extend(heap);
    if (directory_wants_bucket(&plain.view, shard(), OWNER_SHARD, key))
        assert_true(plain_ensure_slab(heap, shard(), SLAB_BUCKETS));
}

static struct record *insert(const struct name_key *key)
{
    const struct guarded guarded = plain_shard(&plain, 0);
    struct transaction plainly = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &plainly);
    make_room(&heap, key);
    struct record *record = new_record(&heap, key);
    struct transaction transaction = transaction_begin(&guarded);
    const struct heap logged = plain_heap(&plain, 0, &transaction);
    directory_insert(&logged, shard(), key, record);
    most_entries = (unsigned)most(most_entries, guarded.undo->count);
    assert_true(transaction_end(&guarded, &transaction));
    return record;
}

static void insert_all(uint32_t count)
{
    char text[256];
    for (uint32_t i = 0; i < count; i++) {
        const struct name_key key = key_of(i, text);
        records[i] = insert(&key);
    }
}

static void remove_slab(const struct heap *heap, struct slab *empty)
{
    if (empty != NULL)
        slab_remove(heap, shard(), empty);
}

static void shrink(const struct heap *heap)
{
    struct slab *empty = NULL;
    struct extent freed;
    directory_shrink(heap, shard(), &freed, &empty);
    remove_slab(heap, empty);
}

static void remove_without_shrinking(uint32_t number)
{
    struct slab *empty = NULL, *empty_line = NULL;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    const struct slot slot =
        slab_slot_of_record(&plain.view, view_reference(&plain.view, records[number]), OWNER_SHARD);
    assert_true(directory_remove(&heap, shard(), records[number], &empty_line));
    remove_slab(&heap, empty_line);
    assert_false(directory_remove(&heap, shard(), records[number], &empty_line));
    slab_give(&heap, shard(), slot, &empty);
    remove_slab(&heap, empty);
    records[number] = NULL;
}

static void remove_one(uint32_t number)
{
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    remove_without_shrinking(number);
    shrink(&heap);
}

static void check_names(uint32_t count)
{
    char text[256], out[256];
    uint32_t entries = 0;
    for (uint32_t i = 0; i < count; i++) {
        const struct name_key key = key_of(i, text);
        const uint32_t found = find(&key);
        assert_int_equal(found, records[i] != NULL ? view_reference(&plain.view, records[i]) : 0);
        if (records[i] == NULL)
            continue;
        uint64_t salt = 1;
        entries++;
        assert_int_equal(directory_name(&plain.view, records[i], OWNER_SHARD, out, &salt), key.length);
        assert_memory_equal(out, text, key.length);
        assert_int_equal(out[key.length], '\0');
        assert_int_equal(salt, key.salt);
    }
    assert_int_equal(shard()->directory.entries, entries);
    assert_true(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
}

static uint32_t further_lines(void)
{
    return plain_slots_in_use(&plain, 0, SLAB_BUCKETS);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

#endif

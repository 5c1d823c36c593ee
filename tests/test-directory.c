/* SPDX-License-Identifier: MIT
 *
 * core/directory: 100 000 names of all lengths, with and without a salt, put in, found and taken out; the
 * lists stay short; damage is noticed.
 */
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

static struct record *insert(const struct name_key *key)
{
    const struct guarded guarded = plain_shard(&plain, 0);
    struct transaction plainly = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &plainly);
    extend(&heap);
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

static void remove_one(uint32_t number)
{
    struct slab *empty = NULL;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    const struct slot slot =
        slab_slot_of_record(&plain.view, view_reference(&plain.view, records[number]), OWNER_SHARD);
    assert_true(directory_remove(&heap, shard(), records[number]));
    assert_false(directory_remove(&heap, shard(), records[number]));
    slab_give(&heap, shard(), slot, &empty);
    if (empty != NULL)
        slab_remove(&heap, shard(), empty);
    records[number] = NULL;
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

/* How many records a search looks at: on average, when each name is looked for once, and at the most. */
static void check_lists(void)
{
    const struct directory *directory = &shard()->directory;
    uint64_t steps = 0, longest = 0;
    for (uint32_t b = 0; b < directory->buckets; b++) {
        uint64_t length = 0;
        uint32_t reference = directory_bucket(&plain.view, shard(), OWNER_SHARD, b);
        for (; reference != 0; length++)
            reference = directory_record(&plain.view, OWNER_SHARD, reference)->next;
        steps += length * (length + 1) / 2;
        longest = most(longest, length);
    }
    print_message("%u names in %u buckets: %.2f steps on average, %lu at the most\n", directory->entries,
                  directory->buckets, (double)steps / directory->entries, (unsigned long)longest);
    assert_true(directory->buckets >= directory->entries);
    assert_true(steps <= 2 * (uint64_t)directory->entries);
    assert_true(longest <= 16);
}

static void many_names(void **state)
{
    (void)state;
    insert_all(NAMES);
    check_names(NAMES);
    check_lists();
    assert_true(most_entries < UNDO_ENTRIES / 2);
    for (uint32_t i = 0; i < NAMES; i++)
        if (i % 3 != 0)
            remove_one(i);
    check_names(NAMES);
    for (uint32_t i = 0; i < NAMES; i++) {
        char text[256];
        const struct name_key key = key_of(i, text);
        if (records[i] == NULL)
            records[i] = insert(&key);
    }
    check_names(NAMES);
    for (uint32_t i = 0; i < NAMES; i++)
        remove_one(i);
    check_names(1000);
}

/* One text with three salts: three names; any of them answers to "any salt". */
static void salts(void **state)
{
    (void)state;
    static const char *const texts[] = {"short", "a name longer than its record", ""};
    for (size_t t = 0; t < COUNT_OF(texts); t++) {
        uint32_t found[3];
        struct name_key key[3];
        for (uint64_t salt = 0; salt < 3; salt++) {
            key[salt] = directory_key(texts[t], strlen(texts[t]), salt * 4711);
            assert_int_equal(find(&key[salt]), 0);
            found[salt] = view_reference(&plain.view, insert(&key[salt]));
        }
        for (uint64_t salt = 0; salt < 3; salt++)
            assert_int_equal(find(&key[salt]), found[salt]);
        struct name_key any = directory_key(texts[t], strlen(texts[t]), 0);
        any.any_salt = true;
        const uint32_t one = find(&any);
        assert_true(one == found[0] || one == found[1] || one == found[2]);
        const struct name_key other = directory_key(texts[t], strlen(texts[t]), 815);
        assert_int_equal(find(&other), 0);
    }
    struct name_key any = directory_key("another", 7, 0);
    any.any_salt = true;
    assert_int_equal(find(&any), 0);
}

/* Names are bytes: one the beginning of the other, or with a zero in it, are different. */
static void similar_names(void **state)
{
    (void)state;
    static const char text[] = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\0aaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    uint32_t found[sizeof text];
    for (size_t length = 0; length < sizeof text; length++) {
        const struct name_key key = directory_key(text, length, 0);
        assert_int_equal(find(&key), 0);
        found[length] = view_reference(&plain.view, insert(&key));
    }
    for (size_t length = 0; length < sizeof text; length++) {
        const struct name_key key = directory_key(text, length, 0);
        assert_int_equal(find(&key), found[length]);
    }
}

static void empty(void **state)
{
    (void)state;
    char text[256];
    const struct name_key key = key_of(1, text);
    struct record record = {.hash = 0};
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    assert_int_equal(find(&key), 0);
    assert_false(directory_remove(&heap, shard(), &record));
    assert_true(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    assert_true(directory_wants(shard()) > 0);
}

/* Insertions that split a bucket, and removals, taken back: as if they had never been. */
static void abandoned_steps(void **state)
{
    (void)state;
    const struct guarded guarded = plain_shard(&plain, 0);
    struct transaction plainly = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &plainly);
    char text[256];
    insert_all(5000); /* more than the first piece of the table has buckets: splits are under way */
    for (uint32_t i = 0; i < 2000; i++) {
        const struct directory before = shard()->directory;
        const struct name_key key = key_of(5000 + i, text);
        extend(&heap);
        struct record *record = new_record(&heap, &key);
        struct transaction transaction = transaction_begin(&guarded);
        const struct heap logged = plain_heap(&plain, 0, &transaction);
        directory_insert(&logged, shard(), &key, record);
        assert_true(directory_remove(&logged, shard(), records[i]));
        assert_int_equal(shard()->directory.buckets, before.buckets + 1);
        transaction_abandon(&guarded, &transaction);
        assert_memory_equal(&shard()->directory, &before, sizeof before);
        assert_int_equal(find(&key), 0);
        directory_insert(&heap, shard(), &key,
                         record); /* now in earnest: the next one splits the next bucket */
        records[5000 + i] = record;
    }
    check_names(7000);
}

/* A table that cannot grow: lists get longer, and nothing is lost. */
static void no_room_for_the_table(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    char text[256];
    insert_all(4096);
    for (uint32_t i = 4096; i < 12000; i++) {
        const struct name_key key = key_of(i, text);
        records[i] = new_record(&heap, &key);
        directory_insert(&heap, shard(), &key, records[i]);
    }
    assert_false(transaction.overflowed);
    assert_int_equal(shard()->directory.buckets, DIRECTORY_FIRST_BUCKETS);
    check_names(12000);
    for (uint32_t i = 12000; i < 30000; i++) { /* when there is room again it catches up */
        const struct name_key key = key_of(i, text);
        records[i] = insert(&key);
    }
    check_names(30000);
    assert_true(shard()->directory.buckets > 20000);
}

static bool search_notices(const struct name_key *key)
{
    bool damaged = false;
    const uint32_t reference = directory_find(&plain.view, shard(), OWNER_SHARD, key, &damaged);
    return damaged && reference == 0;
}

static void damage_is_noticed(void **state)
{
    (void)state;
    char text[256];
    insert_all(3000);
    const struct name_key key = key_of(1, text);
    struct directory *directory = &shard()->directory;
    uint32_t *const bucket = view_at(&plain.view, directory->piece[0]);
    const struct directory kept = *directory;
    static const uint64_t pieces[] = {0, 128 * MEBI, UINT64_MAX - 8192, 2, 64};
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        directory->piece[0] = pieces[i];
        assert_true(search_notices(&key));
        assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
        *directory = kept;
    }
    directory->entries++;
    assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    *directory = kept;
    static const uint32_t nexts[] = {1, UINT32_MAX, 12345};
    for (size_t i = 0; i < COUNT_OF(nexts); i++) {
        for (uint32_t b = 0; b < directory->buckets; b++)
            bucket[b] = nexts[i];
        assert_true(search_notices(&key));
        assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    }
    records[2]->next = view_reference(&plain.view, records[2]); /* a list without an end */
    for (uint32_t b = 0; b < directory->buckets; b++)
        bucket[b] = view_reference(&plain.view, records[2]);
    assert_true(search_notices(&key));
    assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
}

/* A long name whose place makes no sense: the record answers to no name, and has the empty one. */
static void damaged_long_name(void **state)
{
    (void)state;
    char text[256], out[256];
    insert_all(100);
    static const uint32_t references[] = {0, UINT32_MAX, 1};
    const struct name_key key = key_of(77, text); /* it has a salt */
    for (size_t i = 0; i < COUNT_OF(references); i++) {
        memcpy(records[77]->name, &references[i], sizeof references[i]);
        assert_int_equal(find(&key), 0);
        assert_int_equal(directory_name(&plain.view, records[77], OWNER_SHARD, out, NULL), 0);
        assert_string_equal(out, "");
    }
}

static void shards_share_the_names(void **state)
{
    (void)state;
    unsigned count[SHARDS_MOST] = {0};
    char text[256];
    for (uint32_t i = 0; i < NAMES; i++) {
        const struct name_key key = key_of(i, text);
        const uint32_t number = directory_shard(&plain.view, &key);
        assert_true(number < plain.view.shard_count);
        count[number]++;
    }
    for (uint32_t s = 0; s < plain.view.shard_count; s++)
        assert_true(count[s] > NAMES / plain.view.shard_count / 2);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_names),
        TEST(salts),
        TEST(similar_names),
        TEST(empty),
        TEST(abandoned_steps),
        TEST(no_room_for_the_table),
        TEST(damage_is_noticed),
        TEST(damaged_long_name),
        TEST(shards_share_the_names),
    };
    return cmocka_run_group_tests_name("directory", tests, NULL, NULL);
}

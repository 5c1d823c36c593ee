/* SPDX-License-Identifier: MIT
 *
 * core/directory: its table grows and shrinks a bucket at a time, each step can be taken back, and none is
 * needed.
 */
#include "test-directory.h"

/* Insertions, of which every sixth splits a bucket, and removals, taken back: as if they had never been. */
static void abandoned_steps(void **state)
{
    (void)state;
    const struct guarded guarded = plain_shard(&plain, 0);
    struct transaction plainly = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &plainly);
    char text[256];
    struct slab *none;
    unsigned splits = 0;
    insert_all(5000); /* more than the first piece of the table is for: splits are under way */
    for (uint32_t i = 0; i < 2000; i++) {
        const struct directory before = shard()->directory;
        const uint32_t lines = further_lines();
        const struct name_key key = key_of(5000 + i, text);
        make_room(&heap, &key);
        const struct directory extended = shard()->directory;
        struct record *record = new_record(&heap, &key);
        struct transaction transaction = transaction_begin(&guarded);
        const struct heap logged = plain_heap(&plain, 0, &transaction);
        directory_insert(&logged, shard(), &key, record);
        assert_true(directory_remove(&logged, shard(), records[i], &none));
        splits += shard()->directory.buckets == before.buckets + 1;
        transaction_abandon(&guarded, &transaction);
        assert_memory_equal(&shard()->directory, &extended, sizeof extended);
        assert_int_equal(further_lines(), lines);
        assert_int_equal(find(&key), 0);
        directory_insert(&heap, shard(), &key, record); /* now in earnest */
        records[5000 + i] = record;
        if (i % 100 == 0)
            assert_true(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    }
    assert_true(splits > 300);
    check_names(7000);
}

/* Names of the first bucket, those that move when it is split or those that stay. */
static struct name_key key_in_first_bucket(uint32_t number, bool moves, char text[256])
{
    for (unsigned i = 0;; i++) {
        const int length = snprintf(text, 256, "first bucket/%u", i);
        const struct name_key key = directory_key(text, (size_t)length, 0);
        if ((key.hash >> 16) % (2 * DIRECTORY_PIECE_LEAST) == moves * DIRECTORY_PIECE_LEAST && number-- == 0)
            return key;
    }
}

/* A table that got smaller, taken back at each step: as if it had never been. */
static void abandoned_shrinking(void **state)
{
    (void)state;
    const struct guarded guarded = plain_shard(&plain, 0);
    struct extent freed;
    struct slab *empty;
    unsigned steps = 0;
    insert_all(6000);
    for (uint32_t i = 0; i < 6000; i++) {
        struct transaction transaction = transaction_begin(&guarded);
        const struct heap logged = plain_heap(&plain, 0, &transaction);
        const struct directory before = shard()->directory;
        const uint32_t lines = further_lines();
        if (directory_shrink(&logged, shard(), &freed, &empty)) {
            assert_int_equal(shard()->directory.buckets, before.buckets - 1);
            steps++;
            most_entries = (unsigned)most(most_entries, guarded.undo->count);
            transaction_abandon(&guarded, &transaction);
            assert_memory_equal(&shard()->directory, &before, sizeof before);
            assert_int_equal(further_lines(), lines);
            if (steps % 50 == 0)
                assert_true(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
        } else {
            transaction_abandon(&guarded, &transaction);
        }
        remove_without_shrinking(i);
        if (i % 2 != 0) { /* in earnest, one for each two that go */
            struct transaction transaction2 = PLAIN_TRANSACTION(&plain);
            const struct heap heap = plain_heap(&plain, 0, &transaction2);
            shrink(&heap);
        }
    }
    assert_true(steps > 500);
    assert_true(most_entries < UNDO_ENTRIES / 2);
    assert_int_equal(shard()->directory.buckets, DIRECTORY_PIECE_LEAST);
    check_names(6000);
}

/* The last bucket and its partner have more between them than lines: nothing happens, until one name goes. */
static void no_line_for_the_names_of_both(void **state)
{
    (void)state;
    const uint32_t apart = DIRECTORY_PIECE_LEAST * DIRECTORY_ENTRIES_BUCKETS + 1;
    char text[256];
    uint32_t number = 0;
    for (; number < BUCKET_ENTRIES + 1; number++) { /* two of the first bucket will be in the last one */
        const struct name_key key = key_in_first_bucket(number, number < 2, text);
        records[number] = insert(&key);
    }
    for (; number < apart; number++) {
        const struct name_key key = key_of(number, text);
        if ((key.hash >> 16) % DIRECTORY_PIECE_LEAST != 0)
            records[number] = insert(&key);
    }
    for (; shard()->directory.buckets == DIRECTORY_PIECE_LEAST; number++) {
        const struct name_key key = key_of(number, text);
        if ((key.hash >> 16) % DIRECTORY_PIECE_LEAST != 0)
            records[number] = insert(&key);
    }
    assert_int_equal(shard()->directory.buckets, DIRECTORY_PIECE_LEAST + 1);
    while (number-- > BUCKET_ENTRIES + 1)
        if (records[number] != NULL)
            remove_one(number);
    assert_int_equal(shard()->directory.entries, BUCKET_ENTRIES + 1);
    assert_int_equal(shard()->directory.buckets, DIRECTORY_PIECE_LEAST + 1);
    assert_true(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    remove_one(5);
    assert_int_equal(shard()->directory.buckets, DIRECTORY_PIECE_LEAST);
    assert_true(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    for (uint32_t i = 0; i < BUCKET_ENTRIES + 1; i++) {
        const struct name_key key = key_in_first_bucket(i, i < 2, text);
        assert_int_equal(find(&key), i != 5 ? view_reference(&plain.view, records[i]) : 0);
    }
}

/* A table that cannot grow: buckets get longer, and nothing is lost. */
static void no_room_for_the_table(void **state)
{
    (void)state;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    char text[256];
    insert_all(DIRECTORY_PIECE_LEAST * DIRECTORY_ENTRIES_BUCKETS);
    for (uint32_t i = shard()->directory.entries; i < 12000; i++) {
        const struct name_key key = key_of(i, text);
        if (directory_wants_bucket(&plain.view, shard(), OWNER_SHARD, &key))
            assert_true(plain_ensure_slab(&heap, shard(), SLAB_BUCKETS));
        records[i] = new_record(&heap, &key);
        directory_insert(&heap, shard(), &key, records[i]);
    }
    assert_false(transaction.overflowed);
    assert_int_equal(shard()->directory.buckets, DIRECTORY_PIECE_LEAST);
    check_names(12000);
    const uint32_t most_lines = further_lines();
    for (uint32_t i = 12000; i < 30000; i++) { /* when there is room again it catches up */
        const struct name_key key = key_of(i, text);
        records[i] = insert(&key);
    }
    check_names(30000);
    assert_true(shard()->directory.buckets >= 30000 / DIRECTORY_ENTRIES_BUCKETS - 1);
    assert_true(further_lines() < most_lines / 2);
    assert_true(most_entries < UNDO_ENTRIES);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(abandoned_steps),
        TEST(abandoned_shrinking),
        TEST(no_line_for_the_names_of_both),
        TEST(no_room_for_the_table),
    };
    return cmocka_run_group_tests_name("directory-size", tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * core/directory: 100 000 names of all lengths, with and without a salt, put in, found and taken out; the
 * buckets stay short, and what they have too much goes back; damage is noticed.
 */
#include "test-directory.h"

/* Bytes of all pieces of the table. */
static uint64_t tables(void)
{
    uint64_t bytes = 0;
    for (uint32_t q = 0; q < view_quantum_count(&plain.view); q++)
        if (heap_begins(&plain.view, q, OWNER_SHARD, QUANTUM_TABLE))
            bytes += (uint64_t)plain.view.quanta[q].count << QUANTUM_SHIFT;
    return bytes;
}

/* How many lines a search for a name that is not there looks at, and how many bytes there are for each name.
 */
static void check_buckets(void)
{
    const struct directory *directory = &shard()->directory;
    uint64_t longest = 0, entries = 0;
    for (uint32_t b = 0; b < directory->buckets; b++) {
        struct bucket_walk walk = directory_walk(&plain.view, shard(), OWNER_SHARD, b);
        while (bucket_walk_on(&plain.view, OWNER_SHARD, &walk) != 0)
            entries++;
        longest = most(longest, walk.lines + 1);
    }
    const uint32_t further = further_lines();
    print_message("%u names in %u buckets with %u lines more: %.2f bytes for each, %lu lines at the most\n",
                  directory->entries, directory->buckets, further,
                  64.0 * (directory->buckets + further) / directory->entries, (unsigned long)longest);
    assert_int_equal(entries, directory->entries);
    assert_true(directory->buckets >= directory->entries / DIRECTORY_ENTRIES_BUCKETS);
    assert_true(further < directory->buckets / 5);
    assert_true(longest <= 3);
}

static void many_names(void **state)
{
    (void)state;
    insert_all(NAMES);
    check_names(NAMES);
    check_buckets();
    assert_true(most_entries < UNDO_ENTRIES / 2);
    for (uint32_t i = 0; i < NAMES; i++)
        if (i % 3 != 0)
            remove_one(i);
    check_names(NAMES);
    const uint32_t buckets = shard()->directory.buckets; /* a third is enough for them all */
    for (uint32_t i = 0; i < NAMES; i++)
        if (i % 27 != 0 && records[i] != NULL)
            remove_one(i);
    check_names(NAMES);
    assert_true(shard()->directory.buckets < buckets / 2);
    assert_true(shard()->directory.entries + 1 >= DIRECTORY_ENTRIES_LEAST * shard()->directory.buckets);
    for (uint32_t i = 0; i < NAMES; i++) {
        char text[256];
        const struct name_key key = key_of(i, text);
        if (records[i] == NULL)
            records[i] = insert(&key);
    }
    check_names(NAMES);
    check_buckets();
    for (uint32_t i = 0; i < NAMES; i++)
        remove_one(i);
    check_names(1000);
    assert_int_equal(further_lines(), 0);
    assert_int_equal(shard()->directory.buckets, DIRECTORY_PIECE_LEAST);
    assert_int_equal(tables(), DIRECTORY_PIECE_LEAST * sizeof(struct bucket));
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
    struct record record = {.refs = 0};
    struct slab *none;
    struct transaction transaction = PLAIN_TRANSACTION(&plain);
    const struct heap heap = plain_heap(&plain, 0, &transaction);
    assert_int_equal(find(&key), 0);
    assert_false(directory_remove(&heap, shard(), &record, &none));
    assert_true(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    assert_true(directory_wants(shard()) > 0);
}

static bool search_notices(const struct name_key *key)
{
    bool damaged = false;
    const uint32_t reference = directory_find(&plain.view, shard(), OWNER_SHARD, key, &damaged);
    return damaged && reference == 0;
}

static void fill_first_lines(const struct bucket *line)
{
    struct bucket *bucket = view_at(&plain.view, (uint64_t)shard()->directory.piece[0] << QUANTUM_SHIFT);
    for (uint32_t b = 0; b < DIRECTORY_PIECE_LEAST; b++)
        bucket[b] = *line;
}

static void damage_is_noticed(void **state)
{
    (void)state;
    char text[256];
    insert_all(1000);
    const struct name_key key = key_of(1, text);
    struct directory *directory = &shard()->directory;
    const struct directory kept = *directory;
    static const uint32_t pieces[] = {0, 128 * MEBI >> QUANTUM_SHIFT, UINT32_MAX, 1, 3};
    for (size_t i = 0; i < COUNT_OF(pieces); i++) {
        directory->piece[0] = pieces[i];
        assert_true(search_notices(&key));
        assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
        *directory = kept;
    }
    directory->entries++;
    assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    *directory = kept;
    directory->buckets++;
    assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    *directory = kept;
    static const uint32_t nowhere[] = {1, UINT32_MAX, 12345};
    for (size_t i = 0; i < COUNT_OF(nowhere); i++) {
        struct bucket line = {.next = nowhere[i]};
        fill_first_lines(&line);
        assert_true(search_notices(&key));
        assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
        line = (struct bucket){.tag = {(uint16_t)(key.hash >> 24)}, .record = {nowhere[i]}};
        fill_first_lines(&line);
        assert_true(search_notices(&key));
        assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    }
    const uint64_t first = (uint64_t)directory->piece[0] << QUANTUM_SHIFT;
    const struct bucket circle = {.next = (uint32_t)(first / RECORD_UNIT)};
    fill_first_lines(&circle);
    assert_true(search_notices(&key));
    assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
}

/* A tag of another name, a record in another bucket or there twice: not sound. */
static void misplaced_entries(void **state)
{
    (void)state;
    char text[256];
    insert_all(200);
    const struct name_key key = key_of(1, text);
    struct bucket *bucket = view_at(&plain.view, (uint64_t)shard()->directory.piece[0] << QUANTUM_SHIFT);
    struct bucket *line = &bucket[(key.hash >> 16) % DIRECTORY_PIECE_LEAST];
    const struct bucket kept = *line;
    assert_true(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    line->tag[0] ^= 0x100;
    assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    *line = kept;
    line->record[BUCKET_ENTRIES - 1] = line->record[0];
    line->tag[BUCKET_ENTRIES - 1] = line->tag[0];
    assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    *line = kept;
    line->record[0] = 0;
    assert_false(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    bucket[(key.hash >> 16) % DIRECTORY_PIECE_LEAST ^ 1].record[BUCKET_ENTRIES - 1] = kept.record[0];
    bucket[(key.hash >> 16) % DIRECTORY_PIECE_LEAST ^ 1].tag[BUCKET_ENTRIES - 1] = kept.tag[0];
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

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_names),        TEST(salts),
        TEST(similar_names),     TEST(empty),
        TEST(damage_is_noticed), TEST(misplaced_entries),
        TEST(damaged_long_name), TEST(shards_share_the_names),
    };
    return cmocka_run_group_tests_name("directory", tests, NULL, NULL);
}

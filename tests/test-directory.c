/* SPDX-License-Identifier: MIT
 *
 * core/directory: 100 000 names of all lengths, with and without a salt, put in, found and taken out; the
 * buckets stay short, and what they have too much goes back; damage is noticed.
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

/* A bucket that is full goes on in a slot, which is there before the insertion that needs it. */
static void make_room(const struct heap *heap, const struct name_key *key)
{
    extend(heap);
    if (directory_wants_bucket(&plain.view, shard(), OWNER_SHARD, key) &&
        shard()->partial[SLAB_BUCKETS] == 0) {
        const struct slot slot = plain_slot(heap, shard(), SLAB_BUCKETS);
        struct slab *empty;
        assert_non_null(slot.slab);
        slab_give(heap, shard(), slot, &empty);
    }
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

/* Further lines of buckets, as the slabs say. */
static uint32_t further_lines(void)
{
    uint32_t lines = 0;
    for (uint32_t q = 0; q < view_quantum_count(&plain.view); q++) {
        const struct slab *slab = slab_at(&plain.view, q, OWNER_SHARD);
        lines += slab != NULL && slab->slab_class == SLAB_BUCKETS ? slab->used : 0;
    }
    return lines;
}

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

/* Names whose hashes put them into bucket `bucket` of 256. */
static struct name_key key_in_bucket(uint32_t bucket, uint32_t number, char text[256])
{
    for (unsigned i = 0;; i++) {
        const int length = snprintf(text, 256, "one bucket/%u", i);
        const struct name_key key = directory_key(text, (size_t)length, 0);
        if ((key.hash >> 16) % 256 == bucket && number-- == 0)
            return key;
    }
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

/* A bucket of three lines: what is in the middle one goes, and what is in the last one, and with it the line.
 */
static void further_lines_come_and_go(void **state)
{
    (void)state;
    char text[256];
    const uint32_t count = 2 * BUCKET_ENTRIES + 3;
    for (uint32_t i = 0; i < count; i++) {
        const struct name_key key = key_in_bucket(77, i, text);
        records[i] = insert(&key);
        assert_int_equal(further_lines(), i / BUCKET_ENTRIES);
    }
    for (uint32_t i = 0; i < count; i++) {
        const struct name_key key = key_in_bucket(77, i, text);
        assert_int_equal(find(&key), view_reference(&plain.view, records[i]));
    }
    for (uint32_t i = BUCKET_ENTRIES; i < 2 * BUCKET_ENTRIES; i++)
        remove_one(i);
    assert_int_equal(further_lines(), 1);
    assert_true(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
    const struct name_key last = key_in_bucket(77, count - 1, text);
    assert_int_equal(find(&last), view_reference(&plain.view, records[count - 1]));
    remove_one(3); /* the first free entry is that one again */
    const struct name_key fourth = key_in_bucket(77, 3, text);
    records[3] = insert(&fourth);
    assert_int_equal(further_lines(), 1);
    for (uint32_t i = count; i-- > 2 * BUCKET_ENTRIES;)
        remove_one(i);
    assert_int_equal(further_lines(), 0);
    assert_true(directory_is_sound(&plain.view, shard(), OWNER_SHARD));
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

/* A walk goes on after what it has led to has been removed, with the line that it was in. */
static void walk_and_remove(void **state)
{
    (void)state;
    char text[256];
    const uint32_t count = 3 * BUCKET_ENTRIES + 1;
    for (uint32_t i = 0; i < count; i++) {
        const struct name_key key = key_in_bucket(5, i, text);
        records[i] = insert(&key);
    }
    struct bucket_walk walk = directory_walk(&plain.view, shard(), OWNER_SHARD, 5);
    uint32_t met = 0;
    for (uint32_t reference; (reference = bucket_walk_on(&plain.view, OWNER_SHARD, &walk)) != 0; met++)
        for (uint32_t i = 0; i < count; i++)
            if (records[i] != NULL && view_reference(&plain.view, records[i]) == reference) {
                remove_one(i);
                break;
            }
    assert_int_equal(met, count);
    assert_int_equal(shard()->directory.entries, 0);
    assert_int_equal(further_lines(), 0);
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
        while (directory_wants_bucket(&plain.view, shard(), OWNER_SHARD, &key) &&
               shard()->partial[SLAB_BUCKETS] == 0) {
            struct slab *empty;
            slab_give(&heap, shard(), plain_slot(&heap, shard(), SLAB_BUCKETS), &empty);
        }
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

#define TEST(name) cmocka_unit_test_setup_teardown(name, make, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(many_names),
        TEST(salts),
        TEST(similar_names),
        TEST(empty),
        TEST(abandoned_steps),
        TEST(further_lines_come_and_go),
        TEST(walk_and_remove),
        TEST(abandoned_shrinking),
        TEST(no_line_for_the_names_of_both),
        TEST(no_room_for_the_table),
        TEST(damage_is_noticed),
        TEST(misplaced_entries),
        TEST(damaged_long_name),
        TEST(shards_share_the_names),
    };
    return cmocka_run_group_tests_name("directory", tests, NULL, NULL);
}

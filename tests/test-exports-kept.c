/* SPDX-License-Identifier: MIT
 *
 * core/export: empty slabs that stay in use, and how many. Each source here makes a block now and then, as
 * the call sites of large programs do.
 */
#include <errno.h>

#include "test-exports.h"

enum { SOURCES = 3 * EXPORT_KEPT, BYTES = 64, ROUNDS = 60000 };

static struct export_kept kept;
static struct export_source source[SOURCES];
static void *block[SOURCES];

static uint32_t slabs_there(void)
{
    return extents_there(QUANTUM_EXPORT_SLAB);
}

static void *next_of(unsigned i, size_t bytes)
{
    static uint64_t sequence;
    return make(&source[i], sequence++, bytes);
}

static void make_in(unsigned i, size_t bytes)
{
    block[i] = next_of(i, bytes);
    memset(block[i], (int)i, bytes);
}

static void give_back(unsigned i, size_t bytes)
{
    assert_true(is_filled(block[i], bytes, (unsigned char)i));
    assert_int_equal(release(block[i]), EXPORT_DONE);
    block[i] = NULL;
}

static void once_in(unsigned i, size_t bytes)
{
    make_in(i, bytes);
    give_back(i, bytes);
}

static int make_sources(void **state)
{
    (void)state;
    memset(&kept, 0, sizeof kept);
    for (unsigned i = 0; i < SOURCES; i++) {
        source[i] = source_of("kept");
        source[i].kept = &kept;
    }
    return 0;
}

static int retire_sources(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SOURCES; i++)
        export_retire(segment, &source[i]);
    assert_int_equal(slabs_there(), 0);
    for (unsigned i = 0; i < EXPORT_KEPT; i++)
        assert_null(kept.book[i]);
    return 0;
}

static void so_many_stay(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SOURCES; i++) {
        once_in(i, BYTES);
        assert_int_equal(slabs_there(), i < EXPORT_KEPT ? i + 1 : EXPORT_KEPT);
    }
    const struct slab_book *book = kept.book[0];
    for (unsigned i = SOURCES - EXPORT_KEPT; i < SOURCES; i++)
        once_in(i, BYTES); /* these are there */
    assert_ptr_equal(kept.book[0], book);
}

/* The thread's, all in all, whatever their sizes are. */
static void of_all_sizes(void **state)
{
    static const size_t sizes[] = {16, 100, 1000, 10000};
    (void)state;
    for (unsigned i = 0; i < SOURCES; i++)
        for (unsigned k = 0; k < COUNT_OF(sizes); k++)
            once_in(i, sizes[k]);
    assert_int_equal(slabs_there(), EXPORT_KEPT);
}

static void what_is_not_empty_any_more_stays(void **state)
{
    (void)state;
    once_in(0, BYTES);
    make_in(0, BYTES);
    const void *first = block[0];
    for (unsigned i = 1; i < SOURCES; i++)
        once_in(i, BYTES);
    assert_int_equal(slabs_there(), EXPORT_KEPT + 1);
    give_back(0, BYTES);
    assert_int_equal(slabs_there(), EXPORT_KEPT);
    make_in(0, BYTES); /* it has just become a kept one again */
    assert_ptr_equal(block[0], first);
    give_back(0, BYTES);
}

/* A kept one that becomes full is looked for elsewhere, and is kept no more. */
static void what_is_left_is_not_kept(void **state)
{
    static void *many[4000];
    (void)state;
    once_in(0, BYTES);
    for (unsigned i = 0; i < COUNT_OF(many); i++)
        many[i] = next_of(0, BYTES);
    for (unsigned i = 0; i < COUNT_OF(many); i++)
        assert_int_equal(release(many[i]), EXPORT_DONE);
    for (unsigned i = 1; i < SOURCES; i++)
        once_in(i, BYTES);
    assert_int_equal(slabs_there(), EXPORT_KEPT);
}

/* The slab in use goes, and there is another one of the same source and class. */
static void another_one_is_in_use_then(void **state)
{
    (void)state;
    make_in(0, BYTES);
    struct slab_book *full = book_at_once(block[0]);
    for (unsigned i = 1; i < full->slots; i++)
        next_of(0, BYTES);
    assert_int_equal(release(next_of(0, BYTES)), EXPORT_DONE);
    assert_true(source[0].slab[full->slab_class] != full);
    assert_int_equal(book_use(full), SLAB_NOT_IN_USE);
    for (unsigned i = 1; i <= EXPORT_KEPT; i++)
        once_in(i, BYTES);
    assert_ptr_equal(source[0].slab[full->slab_class], full);
    assert_int_equal(book_use(full), SLAB_IN_USE);
    for (unsigned char *other = full->data; other < full->data + full->slots * full->slot_bytes;
         other += full->slot_bytes)
        assert_int_equal(release(other), EXPORT_DONE);
    block[0] = NULL;
}

static void who_retires_keeps_nothing(void **state)
{
    (void)state;
    for (unsigned i = 0; i < EXPORT_KEPT; i++)
        once_in(i, BYTES);
    for (unsigned i = 0; i < EXPORT_KEPT; i += 2) {
        export_retire(segment, &source[i]);
        source[i].label = make_label("again");
    }
    assert_int_equal(slabs_there(), EXPORT_KEPT / 2);
    for (unsigned i = 0; i < SOURCES; i++)
        once_in(i, BYTES);
    assert_int_equal(slabs_there(), EXPORT_KEPT);
}

/* Without a table all stay, as with a thread that has no memory for one. */
static void without_a_table(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SOURCES; i++)
        source[i].kept = NULL;
    for (unsigned i = 0; i < SOURCES; i++)
        once_in(i, BYTES);
    assert_int_equal(slabs_there(), SOURCES);
}

static void errno_is_kept(void **state)
{
    (void)state;
    for (unsigned i = 0; i < SOURCES; i++) {
        make_in(i, BYTES);
        errno = 4711;
        assert_int_equal(export_give(block[i]), EXPORT_GIVEN_LAST);
        export_emptied(block[i]);
        assert_int_equal(errno, 4711);
        block[i] = NULL;
    }
}

/* Some often, most now and then; and never more empty slabs than may stay. */
static void at_random(void **state)
{
    static size_t bytes[SOURCES];
    unsigned dice = 7, live = 0;
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        const unsigned i = random_number(&dice) % (round % 3 == 0 ? 20 : SOURCES);
        live += block[i] == NULL;
        live -= block[i] != NULL;
        if (block[i] != NULL)
            give_back(i, bytes[i]);
        else
            make_in(i, bytes[i] = random_number(&dice) % 3 * 300 + 10);
        if (round % 500 == 0)
            assert_in_range(slabs_there(), live, live + EXPORT_KEPT);
    }
    for (unsigned i = 0; i < SOURCES; i++)
        if (block[i] != NULL)
            give_back(i, bytes[i]);
    assert_in_range(slabs_there(), 1, EXPORT_KEPT);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, make_sources, retire_sources)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(so_many_stay),
        TEST(of_all_sizes),
        TEST(what_is_not_empty_any_more_stays),
        TEST(what_is_left_is_not_kept),
        TEST(another_one_is_in_use_then),
        TEST(who_retires_keeps_nothing),
        TEST(without_a_table),
        TEST(errno_is_kept),
        TEST(at_random),
    };
    return cmocka_run_group_tests(tests, open_segment, close_segment);
}

/* SPDX-License-Identifier: MIT
 *
 * core/export: slabs of exported blocks. One thread against a model of what is where; sequences beyond what
 * an info can hold; pointers to nothing.
 */
#include "test-exports.h"

enum { LIVE = 3000, ROUNDS = 60000 };

static void assert_listed(const char *name, const void *block, size_t bytes)
{
    const struct listing listing = list(name);
    if (!listing.found)
        fail_msg("%s is not listed", name);
    assert_ptr_equal(listing.address, block);
    assert_int_equal(listing.bytes, bytes);
}

/* The first of all here: how much memory there is has not been asked for yet, nor is it for one block. */
static void little_is_not_asked_for(void **state)
{
    struct export_source source = source_of("little");
    (void)state;
    const uint64_t before = segment->credit;
    assert_in_range(before, 1, SPACE_FIRST_CREDIT);
    void *block = make(&source, 0, 64);
    assert_in_range(segment->credit, 0, before - 1); /* each answer gives some more */
    assert_int_equal(release(block), EXPORT_DONE);
    export_retire(segment, &source);
}

static uint64_t pages_reserved(void)
{
    const struct view *view = &segment->file.view;
    uint64_t pages = 0;
    for (uint64_t offset = 0; offset < view->capacity; offset += PAGE_BYTES)
        pages += space_is_reserved(view, offset, PAGE_BYTES);
    return pages;
}

/* A slab is of 64 KiB, but a call site that makes one block has a page or two: with the bits, and the block.
 * One that makes many does not ask for each page. */
static void a_few_blocks_take_few_pages(void **state)
{
    enum { SIZES = 6, EACH = 64 };
    static const size_t sizes[SIZES] = {48 /* what there was before */, 16, 64, 200, 1000, 4000};
    struct export_source source[SIZES];
    static void *block[SIZES][EACH];
    (void)state;
    for (unsigned i = 0; i < SIZES; i++) {
        unsigned asked = 0;
        source[i] = source_of("few");
        const uint64_t before = pages_reserved();
        for (unsigned k = 0; k < EACH; k++) {
            const uint64_t now = pages_reserved();
            block[i][k] = make(&source[i], k, sizes[i]);
            memset(block[i][k], 1, sizes[i]);
            asked += pages_reserved() != now;
            if (k == 0 && i > 0)
                assert_in_range(pages_reserved() - before, 1, 2);
        }
        const uint64_t bytes = EACH * sizes[i], slabs = 1 + bytes / (48 * KIBI);
        assert_in_range(asked, 0, 5 * slabs + bytes / QUANTUM_BYTES);
    }
    for (unsigned i = 0; i < SIZES; i++) {
        for (unsigned k = 0; k < EACH; k++)
            assert_int_equal(release(block[i][k]), EXPORT_DONE);
        export_retire(segment, &source[i]);
    }
}

static bool has_info(const void *block)
{
    const struct slab_book *book = book_at_once(block);
    assert_non_null(book);
    const uint64_t offset = view_offset(&segment->file.view, &book->infos[book_slot_of(book, block)]);
    return space_is_reserved(&segment->file.view, offset, sizeof *book->infos);
}

/* Where there is no memory left that is found out when it is asked for, not when it is written to. */
static void whoever_has_a_slot_has_its_info(void **state)
{
    enum { BLOCKS = 3000 };
    static void *block[BLOCKS];
    struct export_source source = source_of("infos");
    (void)state;
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = make(&source, i, 16);
        assert_true(has_info(block[i]));
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        assert_int_equal(release(block[i]), EXPORT_DONE);
    export_retire(segment, &source);
}

/* ---------------------------------------------------------------- one thread */

/* Each block is filled with its number, and has it still when it is freed. */
static void replace_at_random(void **state)
{
    static struct {
        unsigned char *block;
        size_t bytes;
    } live[LIVE];
    struct export_source source = source_of("random");
    unsigned dice = 4711;
    uint64_t sequence = 0;
    (void)state;
    for (unsigned round = 0; round < ROUNDS; round++) {
        const unsigned i = random_number(&dice) % LIVE;
        if (live[i].block != NULL) {
            assert_true(is_filled(live[i].block, live[i].bytes, (unsigned char)i));
            assert_int_equal(release(live[i].block), EXPORT_DONE);
        }
        live[i].bytes = random_number(&dice) % (i % 8 == 0 ? 9000 : 90);
        live[i].block = make(&source, sequence++, live[i].bytes);
        assert_int_equal((uintptr_t)live[i].block % 16, 0);
        assert_true(export_usable(segment, live[i].block) >= live[i].bytes);
        memset(live[i].block, (int)i, live[i].bytes);
    }
    unsigned there = 0;
    for (unsigned i = 0; i < LIVE; i++)
        there += live[i].block != NULL;
    assert_int_equal(list(NULL).blocks, there);
    for (unsigned i = 0; i < LIVE; i++)
        if (live[i].block != NULL) {
            assert_true(is_filled(live[i].block, live[i].bytes, (unsigned char)i));
            assert_int_equal(release(live[i].block), EXPORT_DONE);
        }
    assert_int_equal(list(NULL).blocks, 0);
    export_retire(segment, &source);
}

static uint64_t used_now(void)
{
    shmcore_statistics now;
    assert_int_equal(shmcore_stat(segment, &now), 0);
    return now.free;
}

/* Slabs that are empty go, those in use when their source does. */
static void memory_comes_back(void **state)
{
    static void *block[20000];
    struct export_source source = source_of("back");
    const uint64_t free_before = used_now();
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        for (unsigned i = 0; i < COUNT_OF(block); i++)
            block[i] = make(&source, i, 64);
        for (unsigned i = 0; i < COUNT_OF(block); i++)
            assert_int_equal(release(block[(i * 7919u) % COUNT_OF(block)]), EXPORT_DONE);
    }
    assert_int_equal(list(NULL).blocks, 0);
    export_retire(segment, &source);
    struct export_source large = source_of("large"); /* only what is given back can become this */
    void *whole = export_allocate(segment, &large, 0, 20000 * 64, 0, 0);
    assert_non_null(whole);
    assert_int_equal(export_free(segment, whole), EXPORT_DONE);
    assert_true(used_now() + 4 * MIB >= free_before);
}

static uint64_t reserved_now(void)
{
    shmcore_statistics now;
    assert_int_equal(shmcore_stat(segment, &now), 0);
    return now.reserved;
}

/* Of 256 MiB: what is free is kept up to 32 MiB, and up to 64 for a while, which a block that is needed over
 * and over never is. */
static void kept_by_size_and_age(void **state)
{
    struct export_source source = source_of("kept");
    const uint64_t before = reserved_now();
    (void)state;
    void *block = make(&source, 0, 48 * MIB);
    const uint64_t with = reserved_now();
    assert_true(with >= before + 40 * MIB);
    for (unsigned i = 1; i < 4; i++) {
        assert_int_equal(release(block), EXPORT_DONE);
        assert_int_equal(reserved_now(), with);
        assert_true(segment->exports.much_since != 0);
        assert_ptr_equal(make(&source, i, 48 * MIB), block);
        assert_true(segment->exports.much_since == 0);
    }
    assert_int_equal(release(block), EXPORT_DONE);
    segment->exports.much_since = 1; /* long ago */
    assert_int_equal(release(make(&source, 4, 40000)), EXPORT_DONE);
    assert_true(reserved_now() <= before + 4 * MIB);
    assert_true(segment->exports.much_since == 0);

    block = make(&source, 5, 80 * MIB);
    assert_int_equal(release(block), EXPORT_DONE); /* too much at once */
    assert_true(reserved_now() <= before + 4 * MIB);

    block = make(&source, 6, 20 * MIB);
    const uint64_t with_less = reserved_now();
    assert_int_equal(release(block), EXPORT_DONE);
    assert_true(segment->exports.much_since == 0);
    assert_int_equal(release(make(&source, 7, 40000)), EXPORT_DONE);
    assert_int_equal(reserved_now(), with_less);
    export_retire(segment, &source);
}

/* What is old goes also when it lies apart from what is freed. */
static void what_is_old_goes(void **state)
{
    struct export_source source = source_of("old");
    void *large[3], *between[3];
    (void)state;
    for (unsigned i = 0; i < 3; i++) {
        large[i] = make(&source, i, 20 * MIB);
        between[i] = make(&source, 10 + i, 2 * MIB);
    }
    const uint64_t with = reserved_now();
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(release(large[i]), EXPORT_DONE);
    assert_int_equal(reserved_now(), with);
    segment->exports.much_since = 1;
    assert_int_equal(release(between[1]), EXPORT_DONE);
    assert_true(segment->exports.much_since == 0);
    assert_true(reserved_now() <= with - 30 * MIB);
    assert_int_equal(release(between[0]), EXPORT_DONE);
    assert_int_equal(release(between[2]), EXPORT_DONE);
    export_retire(segment, &source);
}

static void nothing_there(void **state)
{
    struct export_source source = source_of("nothing");
    unsigned char *block = make(&source, 0, 100), *other = make(&source, 1, 100);
    (void)state;
    assert_int_equal(export_give(block + 1), EXPORT_REFUSED);
    assert_int_equal(export_give(block + 16), EXPORT_REFUSED);
    assert_int_equal(export_free(segment, block + 16), EXPORT_NOT_LIVE);
    assert_int_equal(export_free(segment, (void *)((uintptr_t)block & ~(uintptr_t)0xffff)), EXPORT_NOT_LIVE);
    assert_int_equal(release(block), EXPORT_DONE);
    assert_int_equal(export_give(block), EXPORT_REFUSED);
    assert_int_equal(export_free(segment, block), EXPORT_NOT_LIVE);
    assert_int_equal(export_free(segment, other), EXPORT_DONE); /* the slow way does as well */
    assert_int_equal(export_free(segment, other), EXPORT_NOT_LIVE);
    assert_int_equal(export_give(other), EXPORT_REFUSED);
    export_retire(segment, &source);
}

/* What is had at once is of the class that the long way takes, for every size. */
static void classes(void **state)
{
    (void)state;
    struct export_source source = source_of("classes");
    for (size_t bytes = 0; bytes < SLOT_BYTES_END; bytes += bytes < 2000 ? 1 : 37) {
        uint64_t sequence = 100000 + bytes;
        void *block = make(&source, bytes, bytes), *same = export_take(&source, &sequence, bytes);
        const size_t usable = export_usable(segment, block);
        assert_in_range(bytes, 0, usable);
        assert_int_equal(sequence, 100000 + bytes + (same != NULL));
        if (same != NULL) {
            assert_int_equal(export_usable(segment, same), usable);
            assert_int_equal(release(same), EXPORT_DONE);
        }
        assert_int_equal(release(block), EXPORT_DONE);
        block = make(&source, bytes, usable + 1);
        assert_true(export_usable(segment, block) > usable);
        assert_int_equal(release(block), EXPORT_DONE);
    }
    export_retire(segment, &source);
}

/* At once it is by the thread that has the slab, and for what lies in slabs at all; the long way says the
 * same. */
static void resized_in_place(void **state)
{
    struct export_source source = source_of("resized");
    bool resized;
    (void)state;
    unsigned char *block = make(&source, 7, 100), *extent = make(&source, 8, 100000);
    assert_int_equal(export_resize_at_once(block, 128, &resized), 128);
    assert_true(resized);
    assert_listed("resized/7", block, 128);
    assert_int_equal(export_resize_at_once(block, 64, &resized), 128);
    assert_true(resized);
    assert_listed("resized/7", block, 64);
    assert_int_equal(export_resize_at_once(block, 129, &resized), 128); /* it has to move */
    assert_false(resized);
    assert_int_equal(export_resize_at_once(block, 63, &resized), 128);
    assert_false(resized);
    assert_listed("resized/7", block, 64);
    assert_true(export_resize(segment, block, 90));
    assert_listed("resized/7", block, 90);
    assert_false(export_resize(segment, block, 63));
    assert_false(export_resize(segment, block, 129));
    assert_int_equal(export_resize_at_once(block + 64, 100, &resized), 0);
    assert_false(resized);
    assert_int_equal(export_resize_at_once(extent, 100001, &resized), 0);
    assert_false(resized);
    assert_int_equal(release(block), EXPORT_DONE);
    assert_int_equal(export_resize_at_once(block, 100, &resized), 0);
    assert_false(resized);
    assert_int_equal(release(extent), EXPORT_DONE);
    export_retire(segment, &source);
}

/* Of a class of which there is no slab yet nothing is had. */
static void class_of_none(void **state)
{
    struct export_source source = source_of("none");
    uint64_t sequence = 5;
    (void)state;
    assert_null(export_take(&source, &sequence, 100));
    assert_null(export_take_further_on(&source, &sequence, 100));
    void *block = make(&source, 1, 100);
    assert_null(export_take(&source, &sequence, 1000));
    assert_int_equal(sequence, 5);
    assert_int_equal(release(block), EXPORT_DONE);
    export_retire(segment, &source);
}

/* ---------------------------------------------------------------- sequences */

/* They have 48 bits, and an info has room for fewer. */
static void far_sequences(void **state)
{
    struct export_source source = source_of("far");
    const uint64_t far = UINT64_C(1) << 40;
    (void)state;
    void *first = make(&source, 5, 100), *second = make(&source, far, 90), *third = make(&source, 6, 80);
    assert_listed("far/5", first, 100);
    assert_listed("far/1099511627776", second, 90);
    assert_listed("far/6", third, 80);
    assert_null(export_allocate(segment, &source, UINT64_C(1) << EXPORT_SEQUENCE_BITS, 100, 0, 0));
    assert_true(export_resize(segment, second, 100));
    assert_listed("far/1099511627776", second, 100);
    assert_int_equal(release(first), EXPORT_DONE);
    assert_int_equal(release(third), EXPORT_DONE);
    assert_int_equal(release(second), EXPORT_DONE);
    void *again = make(&source, far + far, 100); /* an empty slab begins anew */
    assert_listed("far/2199023255552", again, 100);
    assert_int_equal(release(again), EXPORT_DONE);
    export_retire(segment, &source);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(little_is_not_asked_for),
        cmocka_unit_test(whoever_has_a_slot_has_its_info),
        cmocka_unit_test(a_few_blocks_take_few_pages),
        cmocka_unit_test(replace_at_random),
        cmocka_unit_test(memory_comes_back),
        cmocka_unit_test(kept_by_size_and_age),
        cmocka_unit_test(what_is_old_goes),
        cmocka_unit_test(nothing_there),
        cmocka_unit_test(classes),
        cmocka_unit_test(class_of_none),
        cmocka_unit_test(resized_in_place),
        cmocka_unit_test(far_sequences),
    };
    return cmocka_run_group_tests_name("exports", tests, open_segment, close_segment);
}

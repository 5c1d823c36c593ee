/* SPDX-License-Identifier: MIT
 *
 * core/merge: two processes with the same chunk, or nearly, in each of the ways of holding writers: what is
 * shared after a merge, and that nobody ever reads anything but what he wrote.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "huge.h"
#include "test-merge-pair.h"

/* ---------------------------------------------------------------- huge pages */

/* Of the first chunk and what lies beside it. */
static uint64_t huge_bytes(void)
{
    return huge_bytes_at(page_at(0, 0));
}

static bool kernel_has_huge_pages(void)
{
    static const char name[] = "/dev/shm/probe";
    const int descriptor = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(descriptor >= 0);
    assert_int_equal(ftruncate(descriptor, MERGE_CHUNK), 0);
    const bool has = os_huge_page_of_file(descriptor, 0) == 0;
    close(descriptor);
    unlink(name);
    return has;
}

/* ---------------------------------------------------------------- equal and different */

static void what_is_equal_is_one_copy(void **state)
{
    (void)state;
    ON_ISLAND();
    both_merge_the_same(1);
    assert_int_equal(state_of(0), CHUNK_READY);
    assert_int_equal(pages_of_file(1), CHUNK_PAGES);
    assert_int_equal(merge_index_held(&merged, row, 0), HELD_SHARED + CHUNK_PAGES);
    assert_int_equal(merge_index_held(&merged, row + 1, 0), HELD_SHARED + CHUNK_PAGES);
    for (int whom = HERE; whom <= THERE; whom++) {
        expect_all(whom, 1);
        expect_merge(whom, MERGE_DONE); /* nothing is left to do */
        expect_shared(whom, CHUNK_PAGES, 0);
    }
}

static void what_differs_stays_ones_own(void **state)
{
    (void)state;
    ON_ISLAND();
    both_merge_the_same(1);
    fill(THERE, 7, 1, 2);
    fill(THERE, 100, 20, 2);
    fill(THERE, 511, 1, 2);
    expect_merge(THERE, MERGE_DONE);
    expect_shared(THERE, CHUNK_PAGES - 22, 22);
    expect_all(HERE, 1);
    expect_pages(THERE, 7, 1, 2);
    expect_pages(THERE, 100, 20, 2);
    expect_pages(THERE, 511, 1, 2);
    expect_pages(THERE, 8, 92, 1);
    expect_pages(THERE, 120, 391, 1);
}

static void differing_pages_before_the_first_merge(void **state)
{
    (void)state;
    ON_ISLAND();
    fill_all(HERE, 1);
    fill_all(THERE, 1);
    for (uint32_t page = 0; page < CHUNK_PAGES; page += 4)
        fill(THERE, page, 1, 2);
    expect_merge(THERE, MERGE_DONE); /* the first publishes all of it */
    expect_shared(THERE, CHUNK_PAGES, 0);
    expect_merge(HERE, MERGE_DONE);
    expect_shared(HERE, CHUNK_PAGES * 3 / 4, CHUNK_PAGES / 4);
    expect_all(HERE, 1);
    expect_pages(THERE, 4, 1, 2);
    expect_pages(THERE, 5, 3, 1);
}

static void too_little_is_not_worth_it(void **state)
{
    (void)state;
    ON_ISLAND();
    both_merge_the_same(1);
    const uint32_t left = CHUNK_PAGES / 4;
    fill(THERE, left, CHUNK_PAGES - left, 2);
    expect_merge(THERE, MERGE_DONE);
    expect_shared(THERE, left, CHUNK_PAGES - left);
    fill(THERE, 0, 1, 2);
    expect_merge(THERE, MERGE_DIFFERS);
    assert_false(ask(THERE, (struct order){.deed = HOLDS}));
    assert_int_equal(merge_index_held(&merged, row + 1, 0), HELD_USED);
    expect_all(HERE, 1);
    expect_pages(THERE, 0, 1, 2);
    expect_pages(THERE, 1, left - 1, 1);
    expect_pages(THERE, left, CHUNK_PAGES - left, 2);
}

/* ---------------------------------------------------------------- zeros */

static void zero_pages_cost_nothing(void **state)
{
    (void)state;
    ON_ISLAND();
    for (int whom = HERE; whom <= THERE; whom++) {
        fill(whom, 10, 20, 1); /* the first ten are never touched, the last 482 are, but zero */
        fill(whom, 30, 482, 0);
        expect_merge(whom, MERGE_DONE);
        expect_shared(whom, 20, 0);
        assert_int_equal(pages_of_file(1), 20);
        expect_pages(whom, 10, 20, 1);
    }
    for (int whom = HERE; whom <= THERE; whom++) {
        expect_pages(whom, 0, 10, 0);
        expect_pages(whom, 30, 482, 0);
    }
}

/* One page of zeros, and the others are by themselves. */
static void almost_full(void **state)
{
    (void)state;
    ON_ISLAND();
    for (int whom = HERE; whom <= THERE; whom++) {
        fill(whom, 0, CHUNK_PAGES - 1, 1);
        fill(whom, CHUNK_PAGES - 1, 1, 0);
        expect_merge(whom, MERGE_DONE);
        expect_shared(whom, CHUNK_PAGES - 1, 0);
        assert_int_equal(pages_of_file(1), CHUNK_PAGES - 1);
    }
    assert_int_equal(huge_bytes(), 0);
}

/* What has no zeros lies in one huge page, and each maps it whole, until he writes to a page of it. */
static void full_and_in_one_piece(void **state)
{
    (void)state;
    ON_ISLAND();
    if (!kernel_has_huge_pages())
        SKIP("the kernel gives no huge pages to files of an ordinary tmpfs");
    both_merge_the_same(1);
    assert_int_equal(pages_of_file(1), CHUNK_PAGES);
    expect_all(HERE, 1);
    assert_int_equal(huge_bytes(), MERGE_CHUNK);
    fill(HERE, 9, 1, 5);
    expect_pages(HERE, 9, 1, 5);
    expect_pages(HERE, 0, 9, 1);
    expect_pages(HERE, 10, CHUNK_PAGES - 10, 1);
    expect_all(THERE, 1);
    expect_shared(THERE, CHUNK_PAGES, 0);
    assert_int_equal(pages_of_file(1), CHUNK_PAGES);
    expect_merge(HERE, MERGE_DONE);
    expect_shared(HERE, CHUNK_PAGES - 1, 1);
    expect_pages(HERE, 9, 1, 5);
    expect_pages(HERE, 10, CHUNK_PAGES - 10, 1);
}

static void zero_here_and_not_there(void **state)
{
    (void)state;
    ON_ISLAND();
    fill(HERE, 0, 100, 1);
    fill(THERE, 0, 90, 1); /* ten that are not touched, ten that the copy does not have */
    fill(THERE, 100, 10, 2);
    expect_merge(HERE, MERGE_DONE);
    expect_merge(THERE, MERGE_DONE);
    expect_shared(THERE, 90, 20);
    expect_pages(HERE, 0, 100, 1);
    expect_pages(HERE, 100, 412, 0);
    expect_pages(THERE, 0, 90, 1);
    expect_pages(THERE, 90, 10, 0);
    expect_pages(THERE, 100, 10, 2);
    expect_pages(THERE, 110, 402, 0);
}

static void a_zero_chunk_costs_nothing(void **state)
{
    (void)state;
    ON_ISLAND();
    expect_merge(HERE, MERGE_DONE); /* never touched */
    fill_all(HERE, 0);
    assert_int_equal(own_pages(0), CHUNK_PAGES);
    expect_merge(HERE, MERGE_DONE);
    expect_shared(HERE, 0, 0);
    assert_int_equal(state_of(0), CHUNK_EMPTY);
    assert_int_equal(files_of_merged_memory(), 1); /* the index */
    expect_all(HERE, 0);
}

static void what_becomes_zero_is_let_go_of(void **state)
{
    (void)state;
    ON_ISLAND();
    both_merge_the_same(1);
    fill_all(HERE, 0);
    expect_merge(HERE, MERGE_DONE);
    expect_shared(HERE, 0, 0);
    assert_int_equal(merge_index_held(&merged, row, 0), HELD_USED);
    assert_int_equal(state_of(0), CHUNK_READY);
    expect_all(THERE, 1);
    fill_all(THERE, 0);
    expect_merge(THERE, MERGE_DONE);
    assert_int_equal(state_of(0), CHUNK_EMPTY);
    assert_int_equal(files_of_merged_memory(), 1);
}

/* ---------------------------------------------------------------- later writes */

static void a_copy_never_changes(void **state)
{
    (void)state;
    ON_ISLAND();
    both_merge_the_same(1);
    const uint64_t before = hash_of_file(1);
    for (uint64_t round = 2; round < 6; round++) {
        fill(HERE, 3, 60, round);
        fill(THERE, 50, 70, round + 10);
        expect_pages(THERE, 0, 50, 1);
        expect_pages(HERE, 63, 449, 1);
        for (int whom = HERE; whom <= THERE; whom++)
            expect_merge(whom, MERGE_DONE);
        expect_pages(HERE, 3, 60, round);
        expect_pages(THERE, 50, 70, round + 10);
        assert_int_equal(hash_of_file(1), before);
    }
    expect_shared(HERE, CHUNK_PAGES - 60, 60);
    fill_all(HERE, 1); /* as it was: shared again */
    expect_merge(HERE, MERGE_DONE);
    expect_shared(HERE, CHUNK_PAGES, 0);
    assert_int_equal(hash_of_file(1), before);
    assert_false(sheet_exists(0, 2));
}

/* What all have given up is published anew. */
static void a_new_phase_has_a_new_copy(void **state)
{
    (void)state;
    ON_ISLAND();
    for (uint32_t phase = 1; phase < 4; phase++) {
        both_merge_the_same(phase);
        assert_int_equal(merge_index_status(&merged, 0).file, phase);
        assert_true(sheet_exists(0, phase));
        fill_all(HERE, phase + 1);
        expect_merge(HERE, MERGE_DIFFERS);
        assert_int_equal(state_of(0), CHUNK_READY); /* the other still has it */
        expect_merge(HERE, MERGE_DIFFERS);
        fill_all(THERE, phase + 1);
        expect_merge(THERE, MERGE_DIFFERS);
        assert_int_equal(state_of(0), CHUNK_EMPTY);
        assert_false(sheet_exists(0, phase));
        for (int whom = HERE; whom <= THERE; whom++)
            expect_all(whom, phase + 1);
    }
}

/* The first was not done with filling it. */
static void a_copy_of_the_beginning_is_renewed(void **state)
{
    (void)state;
    ON_ISLAND();
    for (int whom = HERE; whom <= THERE; whom++) {
        fill(whom, 0, 200, 1);
        expect_merge(whom, MERGE_DONE);
        expect_shared(whom, 200, 0);
    }
    fill(HERE, 200, 312, 1);
    fill(THERE, 200, 312, 1);
    expect_merge(THERE, MERGE_DONE);
    expect_shared(THERE, CHUNK_PAGES, 0);
    assert_int_equal(merge_index_status(&merged, 0).file, 2);
    assert_false(sheet_exists(0, 1));
    expect_all(HERE, 1); /* still the old copy's, and its own */
    expect_merge(HERE, MERGE_DONE);
    expect_shared(HERE, CHUNK_PAGES, 0);
    expect_all(HERE, 1);
    expect_all(THERE, 1);
}

/* What is in each place for good is no reason to copy it again and again. */
static void it_is_not_renewed_for_ever(void **state)
{
    (void)state;
    ON_ISLAND();
    both_merge_the_same(1);
    for (uint64_t round = 2; round < 20; round++)
        for (int whom = HERE; whom <= THERE; whom++) {
            fill(whom, 150, 362, round + 100 * (uint64_t)whom);
            expect_merge(whom, MERGE_DONE);
            expect_pages(whom, 0, 150, 1);
            expect_pages(whom, 150, 362, round + 100 * (uint64_t)whom);
        }
    assert_in_range(merge_index_status(&merged, 0).file, 2, 4);
}

/* A page that the new copy has and the old had not, and the other way round. */
static void what_was_zero_before_it_was_renewed(void **state)
{
    (void)state;
    ON_ISLAND();
    for (int whom = HERE; whom <= THERE; whom++) {
        fill(whom, 0, 100, 1);
        expect_merge(whom, MERGE_DONE);
    }
    fill(THERE, 0, 20, 2);
    expect_merge(THERE, MERGE_DONE);
    fill(HERE, 0, 20, 0);
    fill(HERE, 100, 200, 1);
    expect_merge(HERE, MERGE_DONE);
    assert_int_equal(merge_index_status(&merged, 0).file, 2);
    assert_int_equal(pages_of_file(2), 280);
    expect_merge(THERE, MERGE_DONE);
    for (int whom = HERE; whom <= THERE; whom++) {
        expect_pages(whom, 20, 80, 1);
        expect_pages(whom, 300, 212, 0);
    }
    expect_pages(HERE, 0, 20, 0);
    expect_pages(HERE, 100, 200, 1);
    expect_pages(THERE, 0, 20, 2);
    expect_pages(THERE, 100, 200, 0);
}

static void a_signature_changes_with_a_page(void **state)
{
    (void)state;
    ON_ISLAND();
    struct merge_pass pass;
    fill(HERE, 0, 100, 1);
    assert_true(merge_pass_begin(&pass, &merged, row, way));
    const uint64_t first = merge_signature(&pass, 0);
    assert_int_equal(merge_signature(&pass, 0), first);
    fill(HERE, 57, 1, 2);
    const uint64_t second = merge_signature(&pass, 0);
    assert_int_not_equal(second, first);
    fill(HERE, 200, 1, 0); /* one page more, though it is zero */
    assert_int_not_equal(merge_signature(&pass, 0), second);
    merge_pass_end(&pass);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RANK(what_is_equal_is_one_copy),
        RANK(what_differs_stays_ones_own),
        RANK(differing_pages_before_the_first_merge),
        RANK(too_little_is_not_worth_it),
        RANK(zero_pages_cost_nothing),
        RANK(almost_full),
        RANK(full_and_in_one_piece),
        RANK(zero_here_and_not_there),
        RANK(a_zero_chunk_costs_nothing),
        RANK(what_becomes_zero_is_let_go_of),
        RANK(a_copy_never_changes),
        RANK(a_new_phase_has_a_new_copy),
        RANK(a_copy_of_the_beginning_is_renewed),
        RANK(it_is_not_renewed_for_ever),
        RANK(what_was_zero_before_it_was_renewed),
        RANK(a_signature_changes_with_a_page),
    };
    int failed = 0;
    RUN_IN_ALL_WAYS("merge", tests);
    return failed;
}

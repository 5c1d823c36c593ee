/* SPDX-License-Identifier: MIT
 *
 * core/merge_copies: the states of a chunk, who holds its copy, and which file it lies in.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test-merge.h"

/* ---------------------------------------------------------------- who holds what */

static void what_is_held_is_remembered_for_each_row(void **state)
{
    (void)state;
    ON_ISLAND();
    const uint32_t other = second_row();
    assert_int_equal(merge_index_held(&merged, row, 5), HELD_NOTHING);
    assert_int_equal(merge_index_use(&merged, row, 5, 2), 0);
    assert_int_equal(merge_index_held(&merged, row, 4), HELD_NOTHING);
    assert_int_equal(merge_index_held(&merged, row, 5), HELD_USED);
    assert_int_equal(merge_index_held(&merged, row, 7), HELD_NOTHING);
    assert_int_equal(merge_index_held(&merged, other, 5), HELD_NOTHING);
    assert_true(merge_index_is_used(&merged, 5));
    assert_false(merge_index_is_used(&merged, 4));
    merge_index_note_shared(&merged, row, 5, CHUNK_PAGES);
    assert_int_equal(merge_index_held(&merged, row, 5), HELD_SHARED + CHUNK_PAGES);
    assert_int_equal(merge_index_use(&merged, row, 5, 1), 0); /* says nothing new */
    assert_int_equal(merge_index_held(&merged, row, 5), HELD_SHARED + CHUNK_PAGES);
    merge_index_release(&merged, row, 5, true);
    assert_int_equal(merge_index_held(&merged, row, 5), HELD_USED);
    merge_index_release(&merged, row, 5, false);
    assert_int_equal(merge_index_held(&merged, row, 5), HELD_NOTHING);
    assert_false(merge_index_is_used(&merged, 5));
}

static void who_has_no_place_holds_nothing(void **state)
{
    (void)state;
    ON_ISLAND();
    uint32_t number;
    assert_int_equal(merge_index_use(&merged, MERGE_ROWS, 0, 1), -ENOMEM);
    assert_int_equal(merge_index_use(&merged, ROW_NONE, 0, 1), -ENOMEM);
    merge_index_note_shared(&merged, row, 5000, 3); /* never reserved */
    merge_index_release(&merged, row, 5000, true);
    assert_int_equal(merge_index_held(&merged, row, 5000), HELD_NOTHING);
    assert_int_equal(merge_index_held(&merged, MERGE_ROWS, 0), HELD_NOTHING);
    assert_int_equal(merge_index_held(&merged, row, MERGE_CHUNKS), HELD_NOTHING);
    publish(row, 5000);
    assert_int_equal(merge_index_hold(&merged, row, 5000, &number, absent), -ENOMEM);
    assert_int_equal(merge_index_hold(&merged, MERGE_ROWS, 5000, &number, absent), -ENOMEM);
    merge_index_drop_row(&merged, ROW_NONE);
}

/* ---------------------------------------------------------------- states */

static void from_empty_to_ready(void **state)
{
    (void)state;
    ON_ISLAND();
    uint32_t number = 0, unwanted;
    uint64_t zero[CHUNK_WORDS] = {1, 2, 3};
    const uint32_t other = second_row();
    use_all(row);
    use_all(other);
    assert_int_equal(state_of(2), CHUNK_EMPTY);
    assert_int_equal(merge_index_hold(&merged, row, 2, &unwanted, absent), -EAGAIN);
    const int descriptor = merge_index_begin(&merged, row, 2, &number);
    assert_true(descriptor >= 0);
    assert_int_equal(number, 1);
    assert_true(sheet_exists(0, 1));
    assert_int_equal(state_of(2), CHUNK_PUBLISHING);
    assert_int_equal(merge_index_begin(&merged, other, 2, &unwanted), -EBUSY);
    assert_int_equal(merge_index_begin(&merged, row, 2, &unwanted), -EBUSY);
    assert_int_equal(merge_index_hold(&merged, other, 2, &unwanted, absent), -EAGAIN);
    assert_int_equal(merge_index_held(&merged, other, 2), HELD_USED);
    assert_int_equal(os_write_at(descriptor, &number, sizeof number, merge_index_offset(2)), 0);
    os_close(descriptor);
    merge_index_publish(&merged, row, 2, number, 17, zero);
    assert_int_equal(state_of(2), CHUNK_READY);
    assert_int_equal(merge_index_status(&merged, 2).file, 1);
    assert_int_equal(merged.file->chunks[2].pages, 17);
    assert_memory_equal(merged.file->chunks[2].zero, zero, sizeof zero);
    assert_int_equal(merge_index_begin(&merged, other, 2, &unwanted), -EBUSY);
    hold(other, 2, 1);
    assert_int_equal(merge_index_held(&merged, other, 2), HELD_SHARED);
    merge_index_note_shared(&merged, other, 2, 9);
    hold(other, 2, 1); /* again: what is noted stays */
    assert_int_equal(merge_index_held(&merged, other, 2), HELD_SHARED + 9);
    assert_int_equal(state_of(3), CHUNK_EMPTY);
}

static void given_up_while_publishing(void **state)
{
    (void)state;
    ON_ISLAND();
    uint32_t number;
    const int descriptor = merge_index_begin(&merged, row, 0, &number);
    assert_true(descriptor >= 0);
    os_close(descriptor);
    merge_index_abandon(&merged, 0);
    assert_int_equal(state_of(0), CHUNK_EMPTY);
    assert_false(sheet_exists(0, 1));
    merge_index_publish(&merged, row, 0, number, 1, no_zeros); /* too late */
    assert_int_equal(state_of(0), CHUNK_EMPTY);
    assert_int_equal(publish(row, 0), 2); /* into the next file */
}

static void the_last_holder_removes_the_file(void **state)
{
    (void)state;
    ON_ISLAND();
    const uint32_t other = second_row();
    use_all(row);
    use_all(other);
    const uint32_t number = publish_and_hold(row, 0);
    hold(other, 0, number);
    merge_index_release(&merged, row, 0, true);
    assert_int_equal(state_of(0), CHUNK_READY);
    assert_true(sheet_exists(0, number));
    hold(row, 0, number);
    merge_index_release(&merged, other, 0, false);
    assert_int_equal(state_of(0), CHUNK_READY);
    merge_index_release(&merged, other, 0, false); /* who holds nothing is not the last */
    assert_int_equal(state_of(0), CHUNK_READY);
    merge_index_release(&merged, row, 0, true);
    assert_int_equal(state_of(0), CHUNK_EMPTY);
    assert_false(sheet_exists(0, number));
}

/* ---------------------------------------------------------------- files */

static void a_place_is_written_once(void **state)
{
    (void)state;
    ON_ISLAND();
    use_all(row);
    assert_int_equal(publish_and_hold(row, 0), 1); /* side by side in one file */
    assert_int_equal(publish_and_hold(row, 1), 1);
    assert_int_equal(publish_and_hold(row, 2), 1);
    assert_int_equal(publish_and_hold(row, 4), 1); /* the next sheet's */
    assert_true(sheet_exists(1, 1));
    merge_index_release(&merged, row, 0, true);
    assert_true(sheet_exists(0, 1)); /* for the others */
    assert_int_equal(publish_and_hold(row, 0), 2);
    assert_int_equal(publish_and_hold(row, 3), 2); /* into the newest */
    hold(row, 1, 1);
    merge_index_release(&merged, row, 1, true);
    assert_true(sheet_exists(0, 1));
    merge_index_release(&merged, row, 2, true);
    assert_false(sheet_exists(0, 1));
    assert_true(sheet_exists(0, 2) && sheet_exists(1, 1));
    assert_int_equal(publish_and_hold(row, 1), 2);
    hold(row, 0, 2);
    hold(row, 3, 2);
    for (uint32_t chunk = 0; chunk < 5; chunk++)
        merge_index_release(&merged, row, chunk, false);
    assert_int_equal(files_of_merged_memory(), 1); /* the index */
    assert_int_equal(publish_and_hold(row, 2), 2); /* made anew, at a place that was never written */
    assert_int_equal(publish_and_hold(row, 1), 3);
    assert_int_equal(publish_and_hold(row, 0), 3);
    hold(row, 2, 2);
}

static void random_numbers(void **state)
{
    (void)state;
    ON_ISLAND();
    struct dice dice = {20240303};
    uint32_t last[4] = {0}, held[4] = {0};
    const uint32_t other = second_row();
    use_all(row);
    use_all(other);
    for (unsigned step = 0; step < 2000; step++) {
        const uint32_t chunk = dice_roll(&dice, 4), of = dice_roll(&dice, 2) != 0 ? row : other;
        if (held[chunk] == 0) {
            const uint32_t number = publish_and_hold(of, chunk);
            assert_true(number > last[chunk]);
            last[chunk] = held[chunk] = number;
        } else if (dice_roll(&dice, 3) == 0) {
            merge_index_release(&merged, row, chunk, true);
            merge_index_release(&merged, other, chunk, true);
            held[chunk] = 0;
        } else {
            hold(of, chunk, held[chunk]);
        }
        for (uint32_t i = 0; i < 4; i++)
            assert_true(held[i] == 0 || sheet_exists(0, held[i]));
    }
    for (uint32_t chunk = 0; chunk < 4; chunk++) {
        merge_index_release(&merged, row, chunk, true);
        merge_index_release(&merged, other, chunk, true);
    }
    assert_int_equal(files_of_merged_memory(), 1);
}

static void numbers_end(void **state)
{
    (void)state;
    ON_ISLAND();
    uint32_t number;
    const uint64_t full =
        SHEET_WRITTEN | SHEET_FILE_MASK << SHEET_FILE_SHIFT | SHEET_FILE_MASK << SHEET_OLD_SHIFT;
    atomic_store(&merged.file->sheets[0], full);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(merge_index_begin(&merged, row, 0, &number), -ENOSPC);
    assert_int_equal(state_of(0), CHUNK_EMPTY);
    assert_int_equal(atomic_load(&merged.file->sheets[0]), full);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MERGED(what_is_held_is_remembered_for_each_row),
        MERGED(who_has_no_place_holds_nothing),
        MERGED(from_empty_to_ready),
        MERGED(given_up_while_publishing),
        MERGED(the_last_holder_removes_the_file),
        MERGED(a_place_is_written_once),
        MERGED(random_numbers),
        MERGED(numbers_end),
    };
    return cmocka_run_group_tests_name("merge-copies", tests, land, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * core/merge_copies: what the death of a process does to a chunk that it publishes, closes, or holds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test-merge.h"

static int publishes(struct child *self, void *argument)
{
    uint32_t number;
    (void)argument;
    if (!become_member() || merge_index_begin(&merged, row, 0, &number) < 0)
        return 1;
    child_say(self, 'h');
    child_hear(self);
    merge_index_publish(&merged, row, 0, number, 1, no_zeros);
    return 0;
}

static struct child start(int (*body)(struct child *, void *), void *argument)
{
    struct child child = child_start(body, argument);
    assert_int_equal(child_hear(&child), 'h');
    return child;
}

static void a_dead_publisher_is_taken_over(void **state)
{
    (void)state;
    ON_ISLAND();
    uint32_t number = 0;
    use_all(row);
    struct child child = start(publishes, NULL);
    assert_int_equal(state_of(0), CHUNK_PUBLISHING);
    child_stop(&child); /* that is not dead */
    assert_int_equal(state_of(0), CHUNK_PUBLISHING);
    assert_int_equal(merge_index_begin(&merged, row, 0, &number), -EBUSY);
    child_kill(&child);
    assert_int_equal(state_of(0), CHUNK_EMPTY);
    assert_int_equal(publish_and_hold(row, 0), 2); /* not where he may have written */
    merge_index_release(&merged, row, 0, true);
    assert_int_equal(files_of_merged_memory(), 1); /* his file went as well */
}

static void a_publisher_that_lives_is_waited_for(void **state)
{
    (void)state;
    ON_ISLAND();
    struct child child = start(publishes, NULL);
    child_say(&child, 'g');
    assert_int_equal(child_end(&child), 0);
    assert_int_equal(state_of(0), CHUNK_READY);
}

/* A process that came later has his row. */
static void a_publisher_whose_row_is_anothers_is_dead(void **state)
{
    (void)state;
    ON_ISLAND();
    uint32_t number;
    const uint32_t other = second_row();
    os_close(merge_index_begin(&merged, other, 0, &number));
    assert_int_equal(state_of(0), CHUNK_PUBLISHING);
    segment.view.rows[other].nonce++;
    assert_int_equal(state_of(0), CHUNK_EMPTY);
    segment.view.rows[other].nonce--;
    assert_int_equal(state_of(0), CHUNK_PUBLISHING);
    struct transaction transaction = {.base = segment.view.base};
    process_set_state(&segment.view, &transaction, other, ROW_FREE);
    assert_int_equal(state_of(0), CHUNK_EMPTY);
    atomic_store(&merged.file->chunks[0].state, CHUNK_PUBLISHING | CHUNK_ROW_MASK << CHUNK_ROW_SHIFT);
    assert_int_equal(state_of(0), CHUNK_EMPTY); /* damaged: there is no such row */
    assert_int_equal(publish(row, 0), 2);
}

/* Has said that it closes the chunk, and gets no further. */
static int closes(struct child *self, void *argument)
{
    (void)argument;
    if (!become_member())
        return 1;
    const uint64_t file = atomic_load(&merged.file->chunks[0].state) & SHEET_FILE_MASK << CHUNK_FILE_SHIFT;
    const uint64_t nonce = segment.view.rows[row].nonce & CHUNK_NONCE_MASK;
    atomic_store(&merged.file->chunks[0].state,
                 CHUNK_CLOSING | file | (uint64_t)row << CHUNK_ROW_SHIFT | nonce << CHUNK_NONCE_SHIFT);
    child_say(self, 'h');
    child_hear(self);
    return 0;
}

static void one_that_dies_while_it_closes_is_taken_over(void **state)
{
    (void)state;
    ON_ISLAND();
    uint32_t number;
    use_all(row);
    publish(row, 0);
    struct child child = start(closes, NULL);
    assert_int_equal(state_of(0), CHUNK_CLOSING);
    assert_int_equal(merge_index_begin(&merged, row, 0, &number), -EBUSY);
    assert_int_equal(merge_index_hold(&merged, row, 0, &number, absent), -EAGAIN);
    child_kill(&child);
    assert_int_equal(state_of(0), CHUNK_EMPTY);
    assert_int_equal(merge_index_hold(&merged, row, 0, &number, absent), -EAGAIN);
    assert_int_equal(merge_index_held(&merged, row, 0), HELD_USED);
    assert_int_equal(publish_and_hold(row, 0), 2);
    merge_index_release(&merged, row, 0, true);
    assert_int_equal(files_of_merged_memory(), 1);
}

static int holds_all(struct child *self, void *argument)
{
    uint32_t number;
    const uint32_t chunks[] = {0, 1, 2048, 100000, MERGE_CHUNKS - 1};
    (void)argument;
    if (!become_member())
        return 1;
    for (unsigned i = 0; i < COUNT_OF(chunks); i++)
        if (merge_index_use(&merged, row, chunks[i], 1) != 0)
            return 2;
    for (unsigned i = 0; i < 2; i++)
        if (merge_index_hold(&merged, row, i, &number, absent) < 0)
            return 3;
    merge_index_note_shared(&merged, row, 0, 100);
    atomic_store(&merged.file->rows[row].listens, 1);
    atomic_store(&merged.file->rows[row].writing, 1);
    atomic_store(&merged.file->rows[row].closed, 1);
    child_say(self, 'h');
    child_say(self, (char)row);
    child_hear(self);
    return 0;
}

static void what_a_dead_one_held_goes(void **state)
{
    (void)state;
    ON_ISLAND();
    use_all(row);
    atomic_store(&merged.file->header.grains, 1); /* what is cleared up */
    publish(row, 0);
    publish_and_hold(row, 1);
    struct child child = start(holds_all, NULL);
    const uint32_t dead = (uint32_t)child_hear(&child);
    assert_int_equal(merge_index_held(&merged, dead, MERGE_CHUNKS - 1), HELD_USED);
    assert_int_equal(merge_index_held(&merged, dead, 0), HELD_SHARED + 100);
    child_kill(&child);
    merge_index_drop_row(&merged, dead);
    for (uint32_t chunk = 0; chunk < MERGE_CHUNKS; chunk++)
        assert_int_equal(merge_index_held(&merged, dead, chunk), HELD_NOTHING);
    assert_int_equal(state_of(0), CHUNK_EMPTY); /* he was the last */
    assert_int_equal(state_of(1), CHUNK_READY); /* this one not */
    assert_int_equal(merge_index_held(&merged, row, 1), HELD_SHARED);
    assert_int_equal(merge_index_held(&merged, row, 0), HELD_USED);
    const struct merge_row *left = &merged.file->rows[dead];
    assert_true(left->listens == 0 && left->writing == 0 && left->closed == 0);
    merge_index_drop_row(&merged, dead); /* twice is once */
    merge_index_release(&merged, row, 1, true);
    assert_int_equal(files_of_merged_memory(), 1);
}

/* Nobody has given back yet what it held. */
static void a_dead_holder_keeps_nothing(void **state)
{
    (void)state;
    ON_ISLAND();
    use_all(row);
    publish_and_hold(row, 0);
    publish_and_hold(row, 1);
    struct child child = start(holds_all, NULL);
    merge_index_release(&merged, row, 0, true);
    assert_int_equal(state_of(0), CHUNK_READY);
    child_kill(&child);
    merge_index_release(&merged, row, 1, true);
    assert_int_equal(state_of(1), CHUNK_EMPTY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MERGED(a_dead_publisher_is_taken_over),
        MERGED(a_publisher_that_lives_is_waited_for),
        MERGED(a_publisher_whose_row_is_anothers_is_dead),
        MERGED(one_that_dies_while_it_closes_is_taken_over),
        MERGED(what_a_dead_one_held_goes),
        MERGED(a_dead_holder_keeps_nothing),
    };
    return cmocka_run_group_tests_name("merge-death", tests, land, NULL);
}

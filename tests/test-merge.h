/* SPDX-License-Identifier: MIT
 *
 * What the tests of merged memory share: a segment in a /dev/shm of the test's own, its index, and processes
 * that have rows in it. To be included after cmocka.h.
 */
#ifndef SHM_TEST_MERGE_H
#define SHM_TEST_MERGE_H

#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#include "test-segment.h"

#include "merge_index.h"

static struct segment segment;
static struct merge_index merged;
static uint32_t row;

/* Of the calling process; to be called by one process at a time. */
static inline uint32_t take_row(const struct process_identity *identity)
{
    struct transaction transaction = {.base = segment.view.base};
    return process_take_row(&segment.view, &transaction, identity, ROW_ALIVE);
}

static inline int open_merged(void **state)
{
    (void)state;
    if (why_not != NULL)
        return 0;
    segment = must_open();
    const struct process_identity self = process_identify();
    row = take_row(&self);
    return merge_index_open(&merged, &segment, true);
}

static inline unsigned files_of_merged_memory(void)
{
    unsigned found = 0;
    DIR *directory = opendir("/dev/shm");
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;)
        found += strncmp(entry->d_name, "shmcore-merge.", 14) == 0;
    if (directory != NULL)
        closedir(directory);
    return found;
}

static inline int close_merged(void **state)
{
    if (why_not != NULL)
        return 0;
    merge_index_close(&merged);
    merge_index_remove_files(&segment);
    const unsigned left = files_of_merged_memory();
    segment_unmap(&segment);
    clear(state);
    if (left != 0)
        print_error("%u files of merged memory are left\n", left);
    return left == 0 ? 0 : -1;
}

/* In a child: an index and a row of its own. False: none. */
static inline bool become_member(void)
{
    const struct process_identity self = process_identify();
    const uint32_t parent = row;
    row = take_row(&self);
    return row != parent && row < segment.view.row_count && merge_index_open(&merged, &segment, false) == 0;
}

static inline enum chunk_state state_of(uint32_t chunk)
{
    return merge_index_status(&merged, chunk).state;
}

static inline bool sheet_exists(uint32_t sheet, uint32_t number)
{
    char name[400];
    struct stat status;
    snprintf(name, sizeof name, "%s.%x.%x", merged.prefix, sheet, number);
    return lstat(name, &status) == 0;
}

static const uint64_t no_zeros[CHUNK_WORDS];
static uint64_t absent[CHUNK_WORDS]; /* pages of the copy last held */

/* Another process's row, as if it lived as long as this one. */
static inline uint32_t second_row(void)
{
    const struct process_identity other = process_identify();
    return take_row(&other);
}

static inline uint32_t publish(uint32_t of, uint32_t chunk)
{
    uint32_t number = 0;
    const int descriptor = merge_index_begin(&merged, of, chunk, &number);
    assert_true(descriptor >= 0);
    assert_int_equal(os_write_at(descriptor, &number, sizeof number, merge_index_offset(chunk)), 0);
    os_close(descriptor);
    merge_index_publish(&merged, of, chunk, number, 1, no_zeros);
    return number;
}

static inline void hold(uint32_t of, uint32_t chunk, uint32_t expected)
{
    uint32_t number = 0, written = 0;
    const int descriptor = merge_index_hold(&merged, of, chunk, &number, absent);
    assert_true(descriptor >= 0);
    assert_int_equal(number, expected);
    assert_int_equal(os_read_at(descriptor, &written, sizeof written, merge_index_offset(chunk)), 4);
    assert_int_equal(written, expected); /* what was published into that file */
    os_close(descriptor);
}

static inline uint32_t publish_and_hold(uint32_t of, uint32_t chunk)
{
    const uint32_t number = publish(of, chunk);
    hold(of, chunk, number);
    return number;
}

static inline void use_all(uint32_t of)
{
    assert_int_equal(merge_index_use(&merged, of, 0, 8), 0);
}

#define MERGED(function) cmocka_unit_test_setup_teardown(function, open_merged, close_merged)

#endif

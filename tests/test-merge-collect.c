/* SPDX-License-Identifier: MIT
 *
 * core/merge_index: files of merged memory go with their segment, and what is left of one that is gone is
 * collected.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test-merge.h"
#include <sys/resource.h>

static void touch(const char *name)
{
    const int descriptor = open(name, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, "x", 1), 1);
    close(descriptor);
}

static void the_segments_files_are_removed_and_no_others(void **state)
{
    (void)state;
    ON_ISLAND();
    char own[400], others[400];
    snprintf(own, sizeof own, "%s.1f.3", merged.prefix);
    snprintf(others, sizeof others, "%s1.index", merged.prefix); /* a longer number */
    touch(own);
    touch(others);
    merge_index_remove_files(&segment);
    assert_int_not_equal(access(own, F_OK), 0);
    assert_int_equal(unlink(others), 0);
    assert_int_equal(files_of_merged_memory(), 0);
    assert_true(exists()); /* the segment itself */
}

static void what_lies_around_without_a_segment_is_collected(void **state)
{
    (void)state;
    ON_ISLAND();
    const char *strange[] = {"/dev/shm/shmcore-merge.", "/dev/shm/shmcore-merge.0",
                             "/dev/shm/shmcore-merge.x.1.index", "/dev/shm/shmcore-merge.0.zz.index",
                             "/dev/shm/shmcore-merged"};
    char sheet[400];
    snprintf(sheet, sizeof sheet, "%s.0.1", merged.prefix);
    touch(sheet);
    for (unsigned i = 0; i < COUNT_OF(strange); i++)
        touch(strange[i]);
    assert_int_equal(merge_index_collect("/dev/shm", geteuid()), 0);
    assert_int_equal(access(sheet, F_OK), 0);
    assert_int_equal(unlink(path), 0); /* the segment */
    assert_int_equal(merge_index_collect("/dev/shm", geteuid() + 1), 0);
    assert_int_equal(access(sheet, F_OK), 0);
    assert_true(merge_index_collect("/dev/shm", geteuid()) >= 2 * PAGE_BYTES);
    assert_int_not_equal(access(sheet, F_OK), 0);
    assert_false(merge_index_is_there(&segment));
    for (unsigned i = 0; i < COUNT_OF(strange); i++)
        assert_int_equal(unlink(strange[i]), 0);
}

/* A process that has two descriptors left can list the directory twice, and cannot open a segment there. */
static void what_cannot_be_told_is_left_alone(void **state)
{
    (void)state;
    ON_ISLAND();
    struct rlimit limit, tight;
    const int next = dup(0);
    assert_true(next >= 0);
    close(next);
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    for (unsigned left = 0; left < 4; left++) {
        tight = (struct rlimit){.rlim_cur = (rlim_t)next + left, .rlim_max = limit.rlim_max};
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &tight), 0);
        merge_index_collect("/dev/shm", geteuid());
        assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
        assert_true(merge_index_is_there(&segment));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        MERGED(the_segments_files_are_removed_and_no_others),
        MERGED(what_lies_around_without_a_segment_is_collected),
        MERGED(what_cannot_be_told_is_left_alone),
    };
    return cmocka_run_group_tests_name("merge-collect", tests, land, NULL);
}

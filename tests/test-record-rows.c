/* SPDX-License-Identifier: MIT
 *
 * preload/record_rows and record_file: stacks and their rows, counters, the file's length and name.
 */
#include "record_rows.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <pthread.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "record_file.h"
#include "test-preload.h"

enum { THREADS = 4, EACH = 20000 };

static char path[128];

static void make_record(void)
{
    static unsigned made;
    snprintf(path, sizeof path, "/tmp/test-record-%d-%u", (int)getpid(), made++);
    record_file_plan(path, NULL);
    assert_true(record_file_make(0, "/usr/bin/tester"));
    assert_true(record_rows_begin());
}

static int forget(void **state)
{
    (void)state;
    return unlink(path);
}

static void a_stack_has_a_row(void **state)
{
    (void)state;
    make_record();
    const uintptr_t one[] = {(uintptr_t)site_in(alpha), (uintptr_t)site_in(beta)};
    const uintptr_t other[] = {(uintptr_t)site_in(beta), (uintptr_t)site_in(alpha)};
    assert_int_equal(record_rows_find(one, 2, 1), 1);
    assert_int_equal(record_rows_find(other, 2, 1), 2);
    assert_int_equal(record_rows_find(one, 1, 1), 3);
    assert_int_equal(record_rows_find(one, 2, 1), 1);
    assert_int_equal(record_rows_find(one, 2, 2), 1); /* after something was unloaded */
    assert_int_equal(record_file.header->site_count, 3);
    assert_int_equal(record_file.header->module_count, 1);
    const struct record_site *site = &record_file.sites[0];
    assert_int_equal(site->frame_count, 2);
    assert_int_equal(site->frame[0].module, 1);
    assert_int_equal(site->frame[0].offset + record_file.modules[0].address, one[0]);
    assert_string_equal(record_file.modules[0].path, "/usr/bin/tester");
}

static void code_of_no_module(void **state)
{
    (void)state;
    make_record();
    assert_int_equal(record_rows_find(&(uintptr_t){0x12345}, 1, 1), 1);
    assert_int_equal(record_file.sites[0].frame[0].module, 0);
    assert_int_equal(record_file.sites[0].frame[0].offset, 0x12345);
}

static void counters(void **state)
{
    (void)state;
    make_record();
    const uint32_t row = record_rows_find(&(uintptr_t){16}, 1, 1);
    static const size_t sizes[] = {0, 1, 2, 3, 4096};
    for (unsigned i = 0; i < 5; i++)
        record_rows_allocated(row, sizes[i], i % 2 == 0 ? POLICY_CALL_MALLOC : POLICY_CALL_NEW);
    record_rows_freed(row, 4096, 0);
    record_rows_freed(row, 3, UINT64_MAX);
    record_rows_allocated(row, 10, POLICY_CALL_MALLOC);
    const struct record_site *site = &record_file.sites[0];
    assert_int_equal(site->entry_points, POLICY_CALL_MALLOC | POLICY_CALL_NEW);
    assert_int_equal(site->calls, 6);
    assert_int_equal(site->bytes, 4112);
    assert_int_equal(site->frees, 2);
    assert_int_equal(site->live_blocks, 4);
    assert_int_equal(site->live_bytes, 13);
    assert_int_equal(site->peak_blocks, 5);
    assert_int_equal(site->peak_bytes, 4102);
    assert_int_equal(site->least_size, 0);
    assert_int_equal(site->most_size, 4096);
    assert_int_equal(site->sizes[0], 2);
    assert_int_equal(site->sizes[1], 2);
    assert_int_equal(site->sizes[3], 1);
    assert_int_equal(site->sizes[12], 1);
    assert_int_equal(site->lifetimes[0], 1);
    assert_int_equal(site->lifetimes[RECORD_LIFETIMES - 1], 1);
}

static void *work(void *argument)
{
    (void)argument;
    for (uintptr_t i = 0; i < EACH; i++) {
        const uint32_t row = record_rows_find(&(uintptr_t){0x1000 + i % 50}, 1, 1);
        record_rows_allocated(row, i % 50, POLICY_CALL_MALLOC);
        record_rows_freed(row, i % 50, 1);
    }
    return NULL;
}

static void threads(void **state)
{
    (void)state;
    make_record();
    pthread_t thread[THREADS];
    for (unsigned i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&thread[i], NULL, work, NULL), 0);
    for (unsigned i = 0; i < THREADS; i++)
        pthread_join(thread[i], NULL);
    assert_int_equal(record_file.header->site_count, 50);
    for (unsigned i = 0; i < 50; i++) {
        assert_int_equal(record_file.sites[i].calls, THREADS * EACH / 50);
        assert_int_equal(record_file.sites[i].frees, THREADS * EACH / 50);
        assert_int_equal(record_file.sites[i].live_bytes, 0);
        assert_in_range(record_file.sites[i].peak_blocks, 1, THREADS);
    }
}

static void no_row_is_left(void **state)
{
    (void)state;
    make_record();
    for (uintptr_t i = 0; i < RECORD_SITES_MAX; i++)
        assert_int_equal(record_rows_find(&(uintptr_t){0x1000 + i}, 1, 1), i + 1);
    for (unsigned i = 0; i < 3; i++)
        assert_int_equal(record_rows_find(&(uintptr_t){16}, 1, 1), 0);
    assert_int_equal(record_file.header->dropped_calls, 3);
    assert_int_equal(record_rows_find(&(uintptr_t){0x1000}, 1, 1), 1);
}

/* A file may not be so long: no signal, and no row. */
static void no_memory_is_left(void **state)
{
    (void)state;
    struct rlimit kept, small;
    make_record();
    assert_int_equal(record_rows_find(&(uintptr_t){16}, 1, 1), 1);
    assert_int_equal(getrlimit(RLIMIT_FSIZE, &kept), 0);
    small = (struct rlimit){RECORD_SITES_AT, kept.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
    uint32_t made = 0;
    for (uintptr_t i = 0; i < 1000; i++)
        made += record_rows_find(&(uintptr_t){0x1000 + i}, 1, 1) != 0;
    assert_int_equal(setrlimit(RLIMIT_FSIZE, &kept), 0);
    assert_true(made < 10);
    assert_int_equal(record_file.header->dropped_calls, 1000 - made);
    assert_int_equal(record_file.header->site_count, 1 + made);
}

static void the_file_is_as_long_as_what_is_used(void **state)
{
    (void)state;
    struct stat status;
    make_record();
    record_file_trim();
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, 4096);
    for (uintptr_t i = 0; i < 100; i++)
        record_rows_find(&(uintptr_t){0x1000 + i}, 1, 1); /* they are given memory again */
    record_file_trim();
    assert_int_equal(stat(path, &status), 0);
    assert_int_equal(status.st_size, align_up(RECORD_SITES_AT + 100 * sizeof(struct record_site), 4096));
    assert_int_equal(status.st_mode & 0777, 0600);
}

static void nothing_is_written_over(void **state)
{
    (void)state;
    char again[160], expected[192];
    make_record();
    record_file_plan(path, NULL);
    for (unsigned i = 0; i < 3; i++) {
        assert_true(record_file_make(0, "/usr/bin/tester"));
        snprintf(expected, sizeof expected, i == 0 ? "%s.%d" : "%s.%d.%u", path, (int)getpid(), i);
        assert_int_equal(unlink(expected), 0);
        if (i < 2) { /* so that the next one finds it taken */
            FILE *file = fopen(expected, "w");
            assert_non_null(file);
            fclose(file);
        }
    }
    for (unsigned i = 0; i < 2; i++) {
        snprintf(expected, sizeof expected, i == 0 ? "%s.%d" : "%s.%d.%u", path, (int)getpid(), i);
        unlink(expected);
    }
    snprintf(again, sizeof again, "%s-%%r-%%%%-%%x-%%p", path);
    record_file_plan(again, "17");
    assert_true(record_file_make(0, "/usr/bin/tester"));
    snprintf(expected, sizeof expected, "%s-17-%%-%%x-%d", path, (int)getpid());
    assert_int_equal(unlink(expected), 0);
    assert_string_equal(record_file.header->rank, "17");
}

int main(int count, char **arguments)
{
    (void)count;
    be_a_job(arguments);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(a_stack_has_a_row, forget),
        cmocka_unit_test_teardown(code_of_no_module, forget),
        cmocka_unit_test_teardown(counters, forget),
        cmocka_unit_test_teardown(threads, forget),
        cmocka_unit_test_teardown(no_row_is_left, forget),
        cmocka_unit_test_teardown(no_memory_is_left, forget),
        cmocka_unit_test_teardown(the_file_is_as_long_as_what_is_used, forget),
        cmocka_unit_test_teardown(nothing_is_written_over, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

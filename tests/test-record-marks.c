/* SPDX-License-Identifier: MIT
 *
 * preload/record_marks: what is equal has equal fingerprints; what is not there, or closed, is not touched.
 */
#include "record_marks.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "record_file.h"
#include "record_rows.h"
#include "test-preload.h"

#define PIECE ((size_t)65536)

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

static unsigned char *map_pages(size_t bytes)
{
    void *memory =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    assert_true(memory != MAP_FAILED);
    return memory;
}

static uint32_t row_for(uintptr_t frame)
{
    return record_rows_find(&frame, 1, 1);
}

static void take(uint32_t row, const void *address, size_t bytes)
{
    static unsigned char buffer[65536];
    memset(buffer, 0xee, sizeof buffer);
    record_marks_take(row, address, bytes, buffer);
}

static const struct record_page *first_page(uint32_t row)
{
    const uint32_t page = record_file.sites[row - 1].first_page;
    assert_int_not_equal(page, 0);
    return &record_file.pages[page - 1];
}

static void equal_contents(void **state)
{
    (void)state;
    make_record();
    unsigned char *memory = map_pages(8 * PIECE), *block = memory + 16; /* as malloc's are */
    for (size_t i = 0; i < 3 * PIECE + 100; i++)
        block[i] = (unsigned char)(i % PIECE % 251);
    take(row_for(16), block, 3 * PIECE + 100);
    const struct record_page *page = first_page(1);
    assert_int_equal(page->count, 4);
    assert_int_equal(page->mark[0], page->mark[1]);
    assert_int_equal(page->mark[0], page->mark[2]);
    assert_int_not_equal(page->mark[0], page->mark[3]);
    assert_int_equal(page->short_bytes, PIECE - 100);
    assert_int_equal(record_file.sites[0].marks, 4);
    assert_int_equal(record_file.sites[0].read_bytes, 3 * PIECE + 100);
    memmove(memory + 4 * PIECE, block, PIECE); /* elsewhere, with pages that begin elsewhere */
    block[PIECE + 5]++;
    take(row_for(32), memory + 4 * PIECE, PIECE);
    take(2, block, 2 * PIECE);
    assert_int_equal(first_page(2)->mark[0], page->mark[0]);
    assert_int_equal(first_page(2)->mark[1], page->mark[0]);
    assert_int_not_equal(first_page(2)->mark[2], page->mark[1]);
    munmap(memory, 8 * PIECE);
}

static size_t resident_pages(void *memory, size_t bytes)
{
    static unsigned char pages[65536];
    size_t count = 0;
    assert_int_equal(mincore(memory, bytes, pages), 0);
    for (size_t i = 0; i < bytes / 4096; i++)
        count += pages[i] & 1;
    return count;
}

static void what_was_never_touched_stays_so(void **state)
{
    (void)state;
    make_record();
    const size_t bytes = 3000 * PIECE / 16;
    unsigned char *memory = map_pages(bytes);
    madvise(memory, bytes, MADV_NOHUGEPAGE);
    memory[20 * PIECE + 5 * 4096] = 1;
    memory[100 * PIECE] = 1;
    memory[101 * PIECE] = 0;
    take(row_for(16), memory, bytes);
    assert_int_equal(resident_pages(memory, bytes), 3);
    assert_int_equal(first_page(1)->count, 2);
    assert_int_equal(first_page(1)->zeros, divide_up(bytes, PIECE) - 2);
    assert_int_equal(record_file.sites[0].read_bytes, bytes);
    munmap(memory, bytes);
}

static void what_is_closed_or_gone(void **state)
{
    (void)state;
    make_record();
    unsigned char *memory = map_pages(8 * PIECE);
    memset(memory, 1, 8 * PIECE);
    assert_int_equal(mprotect(memory + 2 * PIECE + 4096, 4096, PROT_NONE), 0);
    take(row_for(16), memory, 4 * PIECE);
    assert_int_equal(first_page(1)->count, 3);
    assert_int_equal(record_file.header->unread_bytes, PIECE);
    munmap(memory + 4 * PIECE, PIECE);
    take(1, memory + 4 * PIECE, 4 * PIECE);
    assert_int_equal(record_file.header->unread_bytes, 5 * PIECE);
    assert_int_equal(record_file.sites[0].read_bytes, 3 * PIECE);
    munmap(memory, 8 * PIECE);
}

static void many_pages(void **state)
{
    (void)state;
    make_record();
    const unsigned pieces = 200;
    unsigned char *memory = map_pages(pieces * PIECE);
    for (unsigned i = 0; i < pieces; i++)
        memory[i * PIECE] = (unsigned char)(i + 1);
    take(row_for(16), memory, pieces * PIECE);
    take(row_for(32), memory, PIECE);
    take(1, memory, 10 * PIECE);
    uint32_t count = 0;
    for (uint32_t page = record_file.sites[0].first_page; page != 0; page = record_file.pages[page - 1].next)
        for (uint32_t i = 0; i < record_file.pages[page - 1].count; i++, count++)
            if (count >= pieces)
                assert_int_equal(record_file.pages[page - 1].mark[i], first_page(1)->mark[count - pieces]);
    assert_int_equal(count, pieces + 10);
    assert_int_equal(record_file.sites[0].marks, pieces + 10);
    assert_int_equal(record_file.header->page_count, 5);
    munmap(memory, pieces * PIECE);
}

int main(int count, char **arguments)
{
    (void)count;
    be_a_job(arguments);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(equal_contents, forget),
        cmocka_unit_test_teardown(what_was_never_touched_stays_so, forget),
        cmocka_unit_test_teardown(what_is_closed_or_gone, forget),
        cmocka_unit_test_teardown(many_pages, forget),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * tools/records: what is read, and that nothing of a damaged file is believed.
 */
#include "records.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

enum { MODULES = 2, SITES = 3, PAGES = 4 };
#define LENGTH (RECORD_PAGES_AT + PAGES * sizeof(struct record_page))

/* A whole file; what is wrong with it is done to it by each test. */
static struct file {
    unsigned char *bytes;
    struct record_header *header;
    struct record_module *modules;
    struct record_site *sites;
    struct record_page *pages;
    uint64_t length;
} file;

static int make_file(void **state)
{
    (void)state;
    file.bytes = calloc(1, LENGTH);
    file.header = (void *)file.bytes;
    file.modules = (void *)(file.bytes + RECORD_MODULES_AT);
    file.sites = (void *)(file.bytes + RECORD_SITES_AT);
    file.pages = (void *)(file.bytes + RECORD_PAGES_AT);
    file.length = LENGTH;
    *file.header = (struct record_header){.magic = RECORD_MAGIC,
                                          .began = 1,
                                          .ended = 2,
                                          .module_count = MODULES,
                                          .site_count = SITES,
                                          .page_count = PAGES,
                                          .program = "/bin/solver"};
    for (uint32_t i = 0; i < SITES; i++) {
        file.sites[i].frame_count = 1;
        file.sites[i].frame[0] = (struct record_frame){.offset = i, .module = 1};
        file.sites[i].calls = i + 1;
    }
    file.sites[0].first_page = 1; /* → 3; page 2 and 4 are of the last row */
    file.pages[0] = (struct record_page){.next = 3, .count = 2, .zeros = 1, .mark = {10, 11}};
    file.pages[2] = (struct record_page){.count = 1, .mark = {12}, .short_bytes = 100};
    file.sites[2].first_page = 4;
    file.pages[3] = (struct record_page){.next = 2, .count = RECORD_PAGE_MARKS};
    file.pages[1] = (struct record_page){.zeros = 5};
    return 0;
}

static int drop_file(void **state)
{
    (void)state;
    free(file.bytes);
    return 0;
}

static bool from_memory(void *from, uint64_t offset, void *to, size_t bytes)
{
    (void)from;
    if (offset > file.length || bytes > file.length - offset)
        return false;
    memcpy(to, file.bytes + offset, bytes);
    return true;
}

static const char *read_it(struct record *record)
{
    return record_read(record, from_memory, NULL, file.length);
}

static void refused(const char *part)
{
    struct record record;
    const char *why = read_it(&record);
    assert_non_null(why);
    if (strstr(why, part) == NULL)
        fail_msg("'%s' instead of '%s'", why, part);
}

/* So many rows are left, the others counted. */
static void left(size_t sites)
{
    struct record record;
    assert_null(read_it(&record));
    assert_int_equal(record.site_count, sites);
    assert_int_equal(record.damaged_sites, SITES - sites);
    record_release(&record);
}

static void whole(void **state)
{
    (void)state;
    struct record record;
    assert_null(read_it(&record));
    assert_int_equal(record.site_count, SITES);
    assert_int_equal(record.damaged_sites, 0);
    assert_string_equal(record.header.program, "/bin/solver");
    assert_int_equal(record.marks[0].count, 3);
    assert_int_equal(record.marks[0].mark[2], 12);
    assert_int_equal(record.marks[0].zeros, 1);
    assert_int_equal(record.marks[0].short_bytes, 100);
    assert_int_equal(record.marks[1].count, 0);
    assert_int_equal(record.marks[2].count, RECORD_PAGE_MARKS);
    assert_int_equal(record.marks[2].zeros, 5);
    record_release(&record);
}

static void headers(void **state)
{
    (void)state;
    file.header->magic = 0;
    refused("never written");
    file.header->magic = RECORD_MAGIC + (UINT64_C(1) << 56);
    refused("another version");
    file.header->magic = RECORD_MAGIC ^ 1;
    refused("not a record");
    file.header->magic = RECORD_MAGIC;
    file.header->site_count = RECORD_SITES_MAX + 1;
    refused("more than a record can hold");
    file.header->site_count = RECORD_SITES_MAX;
    file.header->page_count = PAGES + 1;
    refused("cut short");
    file.header->page_count = UINT32_MAX;
    refused("more than a record can hold");
    file.header->page_count = 0;
    file.header->module_count = RECORD_MODULES_MAX + 1;
    refused("more than a record can hold");
}

static void lengths(void **state)
{
    (void)state;
    static const uint64_t cuts[] = {1,
                                    8,
                                    sizeof(struct record_header) - 1,
                                    sizeof(struct record_header),
                                    RECORD_MODULES_AT + 1,
                                    RECORD_SITES_AT,
                                    RECORD_SITES_AT + sizeof(struct record_site),
                                    RECORD_PAGES_AT,
                                    LENGTH - 1};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        file.length = cuts[i];
        refused("cut short");
    }
    file.length = 0;
    refused("empty");
    file.length = RECORD_SITES_AT; /* a process that allocated nothing */
    file.header->site_count = file.header->page_count = 0;
    struct record record;
    assert_null(read_it(&record));
    record_release(&record);
}

static void frames(void **state)
{
    (void)state;
    file.sites[0].frame_count = 0;
    left(2);
    file.sites[0].frame_count = RECORD_FRAMES + 1;
    left(2);
    file.sites[0].frame_count = UINT32_MAX;
    left(2);
    file.sites[0].frame_count = RECORD_FRAMES;
    left(3);
    file.sites[0].frame[15].module = MODULES;
    left(3);
    file.sites[0].frame[15].module = MODULES + 1;
    left(2);
}

static void chains(void **state)
{
    (void)state;
    file.pages[2].next = 1; /* a circle */
    left(2);
    file.pages[2].next = 4; /* into another row's: who comes first has it */
    left(2);
    file.pages[2].next = PAGES + 1;
    left(2);
    file.pages[2].next = UINT32_MAX;
    left(2);
    file.pages[2].next = 0;
    file.pages[2].count = RECORD_PAGE_MARKS + 1;
    left(2);
    file.pages[2].count = 0;
    left(3);
    file.sites[1].first_page = 3; /* taken by row 0 */
    left(2);
}

/* Of a process that goes on writing, pages may have come after they were counted. */
static void growing(void **state)
{
    (void)state;
    file.header->ended = 0;
    file.pages[2].next = PAGES + 1;
    left(3);
    file.pages[2].next = 1;
    left(2);
}

static void strings(void **state)
{
    (void)state;
    struct record record;
    memset(file.header->program, 'x', sizeof file.header->program);
    memset(file.header->host, 'x', sizeof file.header->host);
    memset(file.header->rank, 'x', sizeof file.header->rank);
    memset(file.modules, 0xff, sizeof *file.modules);
    file.pages[0].zeros = file.pages[0].short_bytes = UINT64_MAX;
    assert_null(read_it(&record));
    assert_int_equal(strlen(record.header.program), sizeof record.header.program - 1);
    assert_int_equal(strlen(record.header.host), sizeof record.header.host - 1);
    assert_int_equal(strlen(record.modules[0].path), sizeof record.modules[0].path - 1);
    assert_int_equal(record.modules[0].build_id_bytes, 0);
    record_release(&record);
}

#define WITH_FILE(test) cmocka_unit_test_setup_teardown(test, make_file, drop_file)

int main(void)
{
    const struct CMUnitTest tests[] = {
        WITH_FILE(whole),  WITH_FILE(headers), WITH_FILE(lengths), WITH_FILE(frames),
        WITH_FILE(chains), WITH_FILE(growing), WITH_FILE(strings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}

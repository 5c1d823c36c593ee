/* SPDX-License-Identifier: MIT
 *
 * core/merge: what cannot be merged, or not now, stays as it is; and what becomes of merged memory under
 * writers, in a forked child, and in the kernel's list of mappings.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <pthread.h>
#include <sys/syscall.h>

#include "test-merge-pair.h"

/* ---------------------------------------------------------------- shortage */

/* Leaves no page free. */
static int fill_up(void)
{
    const int descriptor = open("/dev/shm/filler", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(descriptor >= 0);
    for (off_t at = 0; at < 64 << 20; at += 4096)
        if (fallocate(descriptor, 0, at, 4096) != 0)
            break;
    return descriptor;
}

static void make_room(int descriptor)
{
    close(descriptor);
    assert_int_equal(unlink("/dev/shm/filler"), 0);
}

static void without_room_for_a_copy_there_is_none(void **state)
{
    (void)state;
    ON_ISLAND();
    fill_all(HERE, 1);
    const int filler = fill_up();
    errno = 0;
    expect_merge(HERE, MERGE_FULL);
    assert_int_equal(errno, ENOSPC);
    expect_all(HERE, 1);
    assert_int_equal(own_pages(0), CHUNK_PAGES);
    assert_int_equal(state_of(0), CHUNK_EMPTY);
    make_room(filler);
    expect_merge(HERE, MERGE_DONE);
    const int again = fill_up(); /* to join takes no room */
    fill_all(THERE, 1);
    expect_merge(THERE, MERGE_DONE);
    expect_shared(THERE, CHUNK_PAGES, 0);
    fill(THERE, 0, 9, 2);
    expect_merge(THERE, MERGE_DONE);
    expect_shared(THERE, CHUNK_PAGES - 9, 9);
    make_room(again);
}

static void without_mappings_there_is_no_join(void **state)
{
    (void)state;
    ON_ISLAND();
    fill_all(HERE, 1);
    mappings_left = 1;
    errno = 0;
    expect_merge(HERE, MERGE_FULL);
    assert_int_equal(errno, ENOMEM);
    expect_all(HERE, 1);
    mappings_left = 2;
    expect_merge(HERE, MERGE_DONE);
    mappings_left = 0; /* it has them already */
    fill(HERE, 0, 1, 2);
    expect_merge(HERE, MERGE_DONE);
    mappings_left = UINT32_MAX;
    expect_shared(HERE, CHUNK_PAGES - 1, 1);
}

/* ---------------------------------------------------------------- not now */

static void what_another_publishes_is_awaited(void **state)
{
    (void)state;
    ON_ISLAND();
    uint32_t number;
    fill_all(THERE, 1);
    os_close(merge_index_begin(&merged, row, 0, &number));
    expect_merge(THERE, MERGE_AWAITED);
    expect_shared(THERE, 0, CHUNK_PAGES);
    merge_index_abandon(&merged, 0);
    expect_merge(THERE, MERGE_DONE);
    expect_shared(THERE, CHUNK_PAGES, 0);
}

/* process_vm_writev under way: nothing that parks threads here holds that. */
static void while_another_process_writes_it_is_busy(void **state)
{
    (void)state;
    ON_ISLAND();
    fill_all(HERE, 1);
    atomic_store(&merged.file->rows[row + 1].writing, 1);
    expect_merge(HERE, MERGE_BUSY);
    expect_all(HERE, 1);
    assert_int_equal(own_pages(0), CHUNK_PAGES);
    assert_int_equal(merged.file->rows[row].closed, 0);
    atomic_store(&merged.file->rows[row].writing, 5); /* one's own calls do not count */
    atomic_store(&merged.file->rows[row + 1].writing, 0);
    expect_merge(HERE, MERGE_DONE);
    atomic_store(&merged.file->rows[row].writing, 0);
}

/* When mremap() is called next, whoever is writing ends: what replaces memory calls it just before. */
static bool ends_at_mremap;

void *mremap(void *from, size_t bytes, size_t wanted, int flags, ...)
{
    if (ends_at_mremap)
        atomic_store(&merged.file->rows[row + 1].writing, 0);
    return (void *)(intptr_t)syscall(SYS_mremap, from, bytes, wanted, flags);
}

/* It had the pages in hand before writes were noticed, and wrote when they had been compared. */
static void who_writes_while_it_is_compared_is_waited_for(void **state)
{
    (void)state;
    ON_ISLAND();
    fill_all(HERE, 1);
    ends_at_mremap = true;
    atomic_store(&merged.file->rows[row + 1].writing, 1);
    expect_merge(HERE, MERGE_BUSY);
    assert_int_equal(own_pages(0), CHUNK_PAGES);
    ends_at_mremap = false;
    atomic_store(&merged.file->rows[row + 1].writing, 0);
    expect_merge(HERE, MERGE_DONE);
    fill_all(HERE, 0); /* as it becomes untouched memory */
    ends_at_mremap = true;
    atomic_store(&merged.file->rows[row + 1].writing, 1);
    expect_merge(HERE, MERGE_BUSY);
    ends_at_mremap = false;
    atomic_store(&merged.file->rows[row + 1].writing, 0);
    expect_merge(HERE, MERGE_DONE);
}

static void locked_memory_is_not_merged(void **state)
{
    (void)state;
    ON_ISLAND();
    struct merge_pass pass;
    fill_all(HERE, 1);
    if (syscall(SYS_mlock, page_at(0, 0), PAGE_BYTES) != 0) /* a sanitizer makes mlock() do nothing */
        SKIP("this user may not lock memory");
    errno = 0;
    assert_false(merge_pass_begin(&pass, &merged, row, way));
    assert_int_equal(errno, ENOTSUP);
    assert_non_null(strstr(error_last(), "mlock"));
    assert_int_equal(syscall(SYS_munlock, page_at(0, 0), PAGE_BYTES), 0);
    expect_merge(HERE, MERGE_DONE);
}

/* ---------------------------------------------------------------- mappings */

struct count {
    uint32_t found;
};

static int count_mapping(uint64_t start, uint64_t stop, bool plain, void *argument)
{
    struct count *count = argument;
    (void)plain;
    count->found += start < merged.base + MERGE_SHEET && stop > merged.base;
    return 0;
}

static void chunks_side_by_side_are_one_mapping(void **state)
{
    (void)state;
    ON_ISLAND();
    struct merge_pass pass;
    for (uint32_t chunk = 0; chunk < SHEET_CHUNKS; chunk++)
        write_pages(&(struct order){.chunk = chunk, .pages = CHUNK_PAGES, .seed = 7 + chunk});
    assert_true(merge_pass_begin(&pass, &merged, row, way));
    for (uint32_t chunk = 0; chunk < SHEET_CHUNKS; chunk++)
        assert_int_equal(merge_chunk(&pass, chunk, &locals[chunk]), MERGE_DONE);
    merge_pass_end(&pass);
    struct count count = {0};
    os_each_mapping(count_mapping, &count);
    assert_int_equal(count.found, 1);
    for (uint32_t chunk = 0; chunk < SHEET_CHUNKS; chunk++)
        assert_true(are_as_written(&(struct order){.chunk = chunk, .pages = CHUNK_PAGES, .seed = 7 + chunk}));
    assert_int_equal(merged.file->rows[row].closed, 0);
}

/* ---------------------------------------------------------------- fork */

/* What a child has mapped stays, whatever becomes of the file. */
static int reads_and_merges(struct child *self, void *argument)
{
    (void)argument;
    for (uint32_t chunk = 0; chunk < GRAIN_CHUNKS; chunk++)
        locals[chunk].holds = false;
    child_say(self, 'h');
    if (child_hear(self) != 'g')
        return 1;
    const struct order all = {.pages = CHUNK_PAGES, .seed = 1};
    if (!are_as_written(&all) || !become_member() || !settle())
        return 2;
    if (merge(0) != MERGE_DONE || !are_as_written(&all) || !locals[0].holds)
        return 3;
    write_pages(&(struct order){.pages = 1, .seed = 9});
    return own_pages(0) == 1 ? 0 : 4;
}

static void a_forked_child_goes_on(void **state)
{
    (void)state;
    ON_ISLAND();
    for (int gone = 0; gone < 2; gone++) {
        fill_all(HERE, 1);
        expect_merge(HERE, MERGE_DONE);
        struct child child = child_start(reads_and_merges, NULL);
        assert_int_equal(child_hear(&child), 'h');
        if (gone) {
            fill_all(HERE, 2);
            expect_merge(HERE, MERGE_DIFFERS);
            assert_int_equal(state_of(0), CHUNK_EMPTY);
        }
        child_say(&child, 'g');
        assert_int_equal(child_end(&child), 0);
        expect_all(HERE, gone ? 2 : 1);
    }
}

/* ---------------------------------------------------------------- writers */

struct writer {
    pthread_t thread;
    uint32_t number;
    uint64_t written;
    _Atomic bool over;
};

/* So many pages are written to; the rest stays equal, or the chunk would not be worth its mapping. */
#define WRITTEN_PAGES 128u

static uint64_t *counter(uint32_t number, uint64_t place)
{
    return page_at(0, (uint32_t)(place % WRITTEN_PAGES) * 4) + 64 * (number + 1);
}

/* Counts up in each of those pages in turn. */
static void *write_on(void *argument)
{
    struct writer *writer = argument;
    for (; !writer->over; writer->written++)
        ++*(volatile uint64_t *)counter(writer->number, writer->written * 37);
    return NULL;
}

static void no_write_is_lost(void **state)
{
    (void)state;
    ON_ISLAND();
    struct writer writer[2];
    unsigned done = 0;
    fill_all(HERE, 1);
    for (uint32_t number = 0; number < 2; number++)
        for (uint32_t page = 0; page < WRITTEN_PAGES; page++)
            *counter(number, page) = 0;
    expect_merge(HERE, MERGE_DONE);
    for (uint32_t number = 0; number < 2; number++) {
        writer[number] = (struct writer){.number = number};
        assert_int_equal(pthread_create(&writer[number].thread, NULL, write_on, &writer[number]), 0);
    }
    while (done < 50) /* a busy machine may hold them only now and then */
        done += merge(0) == MERGE_DONE;
    for (uint32_t number = 0; number < 2; number++) {
        writer[number].over = true;
        pthread_join(writer[number].thread, NULL);
        for (uint32_t page = 0; page < WRITTEN_PAGES; page++) {
            const uint64_t each = writer[number].written / WRITTEN_PAGES,
                           rest = writer[number].written % WRITTEN_PAGES;
            uint64_t expected = each;
            for (uint64_t i = 0; i < rest; i++)
                expected += i * 37 % WRITTEN_PAGES == page;
            assert_int_equal(*counter(number, page), expected);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        RANK(without_room_for_a_copy_there_is_none),
        RANK(without_mappings_there_is_no_join),
        RANK(what_another_publishes_is_awaited),
        RANK(while_another_process_writes_it_is_busy),
        RANK(who_writes_while_it_is_compared_is_waited_for),
        RANK(locked_memory_is_not_merged),
        RANK(chunks_side_by_side_are_one_mapping),
        RANK(a_forked_child_goes_on),
        RANK(no_write_is_lost),
    };
    int failed = 0;
    RUN_IN_ALL_WAYS("merge-refused", tests);
    return failed;
}

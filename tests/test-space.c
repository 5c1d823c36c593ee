/* SPDX-License-Identifier: MIT
 *
 * core/space: on a small tmpfs of the test's own, what has been reserved can be written to, what cannot be
 * had is -ENOMEM, and nobody ever gets SIGBUS.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "huge.h"
#include "island.h"
#include "os.h"
#include "plain.h"
#include "space.h"

#define FILES    (16 * MEBI) /* what the file system holds */
#define CAPACITY (96 * MEBI) /* what the segment promises */
#define STEP     (256 * KIBI)
#define PATH     "/dev/shm/space"

static const char *why_not;
static struct view view;
static _Atomic uint64_t credit;
static struct space space;

static int land(void **state)
{
    (void)state;
    if (island_make(FILES, &why_not))
        why_not = NULL;
    return 0;
}

static void make(void)
{
    struct stat status;
    const int descriptor = open(PATH, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    assert_true(descriptor >= 0);
    assert_int_equal(ftruncate(descriptor, (off_t)CAPACITY), 0);
    assert_int_equal(fstat(descriptor, &status), 0);
    /* huge pages lie at multiples of their size, as segments do */
    char *room = mmap(NULL, CAPACITY + OS_HUGE_PAGE_BYTES, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    assert_ptr_not_equal(room, MAP_FAILED);
    char *place = (char *)align_up((uintptr_t)room, OS_HUGE_PAGE_BYTES);
    munmap(room, (size_t)(place - room));
    munmap(place + CAPACITY, (size_t)(room + OS_HUGE_PAGE_BYTES - place));
    assert_ptr_equal(mmap(place, CAPACITY, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_FIXED, descriptor, 0),
                     place);
    close(descriptor);
    view_make(&view, (unsigned char *)place, CAPACITY);
    assert_int_equal(os_populate(view.base, view.eager_bytes), 0);
    pool_make(&view);
    credit = 0;
    space = (struct space){.view = &view,
                           .path = PATH,
                           .directory = "/dev/shm",
                           .device = status.st_dev,
                           .inode = status.st_ino,
                           .credit = &credit};
}

static int unmake(void **state)
{
    (void)state;
    if (view.base != NULL)
        munmap(view.base, view.capacity);
    view.base = NULL;
    unlink(PATH);
    return 0;
}

/* Every region belongs to a shard and has its tables: from here on space_reserve() may be asked. */
static void open_all_regions(void)
{
    make();
    const struct region_run all = {view.table_regions, view.region_count - view.table_regions};
    struct transaction transaction = {.base = view.base};
    assert_int_equal(space_reserve_tables(&space, all.first, all.count), 0);
    pool_take(&view, &transaction, all, OWNER_SHARD);
}

#define ON_ISLAND()                                                                                          \
    do {                                                                                                     \
        if (why_not != NULL)                                                                                 \
            SKIP("%s", why_not);                                                                             \
        open_all_regions();                                                                                  \
    } while (0)

static uint64_t start(void)
{
    return (uint64_t)view.table_regions << view.region_shift;
}

static uint64_t free_bytes(void)
{
    struct os_space files;
    assert_int_equal(os_file_system("/dev/shm", &files), 0);
    return files.free;
}

/* Reserves steps from `offset` on until there is no more; returns where that was. */
static uint64_t reserve_all(uint64_t offset)
{
    while (offset + STEP <= CAPACITY && space_reserve(&space, offset, STEP) == 0)
        offset += STEP;
    return offset;
}

/* Writes to each reserved page: in a child, for a SIGBUS would end it. */
static int touch_reserved(struct child *self, void *argument)
{
    (void)self, (void)argument;
    signal(SIGBUS, SIG_DFL);
    for (uint64_t at = start(); at < CAPACITY; at += PAGE_BYTES)
        if (space_is_reserved(&view, at, 1))
            *(volatile uint64_t *)view_at(&view, at) = at;
    return 0;
}

static void assert_reserved_can_be_touched(void)
{
    struct child child = child_start(touch_reserved, NULL);
    assert_int_equal(child_end(&child), 0);
}

static void reserved_and_counted(void **state)
{
    (void)state;
    ON_ISLAND();
    const uint64_t before = free_bytes();
    assert_int_equal(space_reserved(&view), 0);
    assert_false(space_is_reserved(&view, start(), 1));
    assert_int_equal(space_reserve(&space, start() + 100, 2 * PAGE_BYTES), 0); /* touches three pages */
    assert_true(space_is_reserved(&view, start(), 3 * PAGE_BYTES));
    assert_false(space_is_reserved(&view, start(), 3 * PAGE_BYTES + 1));
    assert_int_equal(space_reserved(&view), 3 * PAGE_BYTES);
    assert_int_equal(before - free_bytes(), 3 * PAGE_BYTES);
    assert_int_equal(space_reserve(&space, start(), 8 * PAGE_BYTES), 0); /* partly there already */
    assert_int_equal(space_reserved(&view), 8 * PAGE_BYTES);
    assert_int_equal(before - free_bytes(), 8 * PAGE_BYTES);
    assert_int_equal(space_reserve(&space, start(), 0), 0);
    assert_int_equal(space_reserved(&view), 8 * PAGE_BYTES);
    assert_reserved_can_be_touched();
}

static void full(void **state)
{
    (void)state;
    ON_ISLAND();
    const uint64_t end = reserve_all(start());
    assert_true(end < CAPACITY);      /* the file system was the limit … */
    assert_true(free_bytes() < STEP); /* … and is full */
    assert_true(end - start() >= FILES / 2);
    assert_int_equal(space_reserve(&space, end, STEP), -ENOMEM);
    assert_int_equal(space_reserve(&space, end, CAPACITY - end), -ENOMEM);
    assert_true(space_is_reserved(&view, start(), end - start()));
    assert_int_equal(space_reserve(&space, start(), end - start()), 0); /* it is there: nothing to do */
    assert_reserved_can_be_touched();

    space_give_back(&space, start() + MEBI, MEBI); /* room again, elsewhere */
    assert_false(space_is_reserved(&view, start() + MEBI, 1));
    assert_int_equal(space_reserve(&space, end, MEBI), 0);
    assert_int_equal(space_reserve(&space, start() + MEBI, MEBI), -ENOMEM);
    assert_reserved_can_be_touched();
}

/* More than there is, at once: refused, and what was free before is free after. */
static void far_too_much(void **state)
{
    (void)state;
    ON_ISLAND();
    const uint64_t before = free_bytes();
    assert_int_equal(space_reserve(&space, start(), CAPACITY - start()), -ENOMEM);
    assert_int_equal(space_reserved(&view), 0);
    assert_int_equal(free_bytes(), before);
    assert_int_equal(space_reserve(&space, start(), STEP), 0);
}

/* Credit is a promise from before: when others have filled the file system since, the answer is still
 * -ENOMEM. */
static void others_have_filled_it(void **state)
{
    (void)state;
    ON_ISLAND();
    const int descriptor = open("/dev/shm/others", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    const uint64_t left = free_bytes();
    assert_int_equal(posix_fallocate(descriptor, 0, (off_t)(left - 4 * PAGE_BYTES)), 0);
    credit = FILES;
    assert_int_equal(space_reserve(&space, start(), 64 * PAGE_BYTES), -ENOMEM);
    assert_int_equal(space_reserved(&view), 0);
    assert_reserved_can_be_touched();
    close(descriptor);
    unlink("/dev/shm/others");
    assert_int_equal(space_reserve(&space, start(), 64 * PAGE_BYTES), 0);
}

static int reserve_my_half(struct child *self, void *argument)
{
    const uint64_t *offset = argument;
    static _Atomic uint64_t mine;
    space.credit = &mine;
    child_hear(self);
    reserve_all(*offset);
    return 0;
}

static void two_at_once(void **state)
{
    (void)state;
    ON_ISLAND();
    uint64_t offset[2] = {start(), start() + 40 * MEBI};
    struct child child[2];
    for (int i = 0; i < 2; i++)
        child[i] = child_start(reserve_my_half, &offset[i]);
    for (int i = 0; i < 2; i++)
        child_say(&child[i], 'g');
    for (int i = 0; i < 2; i++)
        assert_int_equal(child_end(&child[i]), 0);
    assert_true(space_reserved(&view) <= FILES);
    assert_true(space_reserved(&view) >= FILES / 4);
    assert_reserved_can_be_touched();
}

static bool all_zero(uint64_t offset, uint64_t bytes)
{
    const unsigned char *at = view_at(&view, offset);
    for (uint64_t i = 0; i < bytes; i++)
        if (at[i] != 0)
            return false;
    return true;
}

/* Old bytes go, and no page without memory gets any by it. */
static void old_bytes_are_zeroed(void **state)
{
    (void)state;
    ON_ISLAND();
    const uint64_t at = start();
    assert_int_equal(space_reserve(&space, at, 4 * PAGE_BYTES), 0);
    memset(view_at(&view, at), 0xaa, 4 * PAGE_BYTES);
    const uint64_t before = free_bytes();
    space_zero_old(&view, at + 100, 2 * PAGE_BYTES);
    assert_false(all_zero(at + 99, 1));
    assert_true(all_zero(at + 100, 2 * PAGE_BYTES));
    assert_false(all_zero(at + 100 + 2 * PAGE_BYTES, 1));
    space_zero_old(&view, at, 4 * MEBI); /* far beyond what is reserved */
    assert_true(all_zero(at, 4 * PAGE_BYTES));
    assert_int_equal(free_bytes(), before);
    assert_false(space_is_reserved(&view, at, 5 * PAGE_BYTES));
}

/* Whole pages only; they read as zeros afterwards and count no more. */
static void given_back(void **state)
{
    (void)state;
    ON_ISLAND();
    const uint64_t at = start();
    assert_int_equal(space_reserve(&space, at, 8 * PAGE_BYTES), 0);
    memset(view_at(&view, at), 0xaa, 8 * PAGE_BYTES);
    const uint64_t before = free_bytes();
    space_give_back(&space, at + 1, PAGE_BYTES); /* holds no whole page */
    space_give_back(&space, at + 1, 2 * PAGE_BYTES - 2);
    assert_int_equal(space_reserved(&view), 8 * PAGE_BYTES);
    assert_int_equal(free_bytes(), before);
    space_give_back(&space, at + 10, 3 * PAGE_BYTES); /* two */
    assert_int_equal(space_reserved(&view), 6 * PAGE_BYTES);
    assert_int_equal(free_bytes(), before + 2 * PAGE_BYTES);
    assert_true(space_is_reserved(&view, at, PAGE_BYTES));
    assert_false(space_is_reserved(&view, at + PAGE_BYTES, 1));
    assert_false(space_is_reserved(&view, at + 2 * PAGE_BYTES, 1));
    assert_true(space_is_reserved(&view, at + 3 * PAGE_BYTES, 5 * PAGE_BYTES));
    assert_true(all_zero(at + PAGE_BYTES, 2 * PAGE_BYTES));
    assert_false(all_zero(at + PAGE_BYTES - 1, 1));
    assert_false(all_zero(at + 3 * PAGE_BYTES, 1));
}

/* The tables of a far region have no memory until somebody asks for it. */
static void tables(void **state)
{
    (void)state;
    if (why_not != NULL)
        SKIP("%s", why_not);
    make();
    const uint64_t before = free_bytes();
    const uint32_t last = view.region_count - 4;
    assert_int_equal(space_reserve_tables(&space, last, 4), 0);
    const uint64_t pages = before - free_bytes();
    assert_true(pages >= 2 * PAGE_BYTES && pages <= 4 * PAGE_BYTES);
    assert_int_equal(space_reserve_tables(&space, last, 4), 0);
    assert_int_equal(before - free_bytes(), pages);
    const int descriptor = open("/dev/shm/others", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_int_equal(posix_fallocate(descriptor, 0, (off_t)free_bytes()), 0);
    assert_int_equal(space_reserve_tables(&space, view.region_count / 2, 4), -ENOMEM);
    close(descriptor);
    unlink("/dev/shm/others");
}

/* ---------------------------------------------------------------- which pages have memory */

/* What the range looks like page by page. */
static bool all_have_memory(const bool *has, uint64_t first, uint64_t end)
{
    for (uint64_t page = first; page < end; page++)
        if (!has[page])
            return false;
    return true;
}

/* Ranges of all lengths that begin and end anywhere in a word of the bitmap, against a page by page model. */
static void ranges_of_pages(void **state)
{
    enum { PAGES = 400, ROUNDS = 3000 };
    static bool has[PAGES];
    uint64_t random = 1;
    (void)state;
    ON_ISLAND();
    const uint64_t none = space_reserved(&view);
    memset(has, 0, sizeof has);
    for (unsigned round = 0; round < ROUNDS; round++) {
        const uint64_t first = (random = hash_mix(random)) % PAGES,
                       end = first + 1 + (random >> 32) % (PAGES - first);
        const uint64_t offset = start() + first * PAGE_BYTES, bytes = (end - first) * PAGE_BYTES;
        unsigned char *const from = view_at(&view, offset);
        assert_int_equal(space_is_reserved(&view, offset, bytes), all_have_memory(has, first, end));
        switch (random >> 60) {
        case 0:
            space_give_back(&space, offset, bytes);
            memset(&has[first], 0, end - first);
            break;
        case 1: /* from the middle of one page to the middle of another */
            for (uint64_t page = first; page < end; page++)
                if (has[page])
                    memset(from + (page - first) * PAGE_BYTES, 1, PAGE_BYTES);
            if (bytes > PAGE_BYTES)
                space_zero_old(&view, offset + 100, bytes - 200);
            for (uint64_t page = first; page < end && bytes > PAGE_BYTES; page++)
                for (uint64_t at = 0; has[page] && at < PAGE_BYTES; at += 50) {
                    const uint64_t inside = (page - first) * PAGE_BYTES + at;
                    assert_int_equal(from[inside], inside < 100 || inside >= bytes - 100);
                }
            break;
        default:
            if (random % 8 != 0)
                break;
            assert_int_equal(space_reserve(&space, offset, bytes), 0);
            memset(&has[first], 1, end - first);
        }
        uint64_t pages = 0;
        for (unsigned page = 0; page < PAGES; page++)
            pages += has[page];
        assert_int_equal(space_reserved(&view), none + pages * PAGE_BYTES);
    }
}

/* ---------------------------------------------------------------- huge pages */

static uint64_t huge_bytes(void)
{
    return huge_bytes_at(view.base);
}

static uint64_t occupied_bytes(void)
{
    struct stat status;
    assert_int_equal(stat(PATH, &status), 0);
    return (uint64_t)status.st_blocks * 512;
}

/* The first multiple of a huge page's size that blocks may have. */
static uint64_t huge_start(void)
{
    return align_up(start(), OS_HUGE_PAGE_BYTES);
}

#define ON_ISLAND_WITH_HUGE_PAGES()                                                                          \
    do {                                                                                                     \
        ON_ISLAND();                                                                                         \
        if (os_populate_huge(view_at(&view, huge_start()), OS_HUGE_PAGE_BYTES) != 0)                         \
            SKIP("the kernel gives no huge pages to files of an ordinary tmpfs");                            \
        assert_int_equal(huge_bytes(), OS_HUGE_PAGE_BYTES);                                                  \
        os_punch(view_at(&view, huge_start()), OS_HUGE_PAGE_BYTES);                                          \
    } while (0)

/* Whole ones in the middle of what is asked for, small pages at both ends; all of it zeros, and none
 * elsewhere. */
static void huge_pages_of_a_large_range(void **state)
{
    (void)state;
    ON_ISLAND_WITH_HUGE_PAGES();
    const uint64_t before = occupied_bytes();
    const uint64_t from = huge_start() + 5 * PAGE_BYTES, bytes = 8 * MEBI - 8 * PAGE_BYTES;
    assert_int_equal(space_reserve(&space, from, bytes), 0);
    assert_int_equal(huge_bytes(), 4 * MEBI);
    assert_int_equal(occupied_bytes() - before, bytes);
    assert_int_equal(space_reserved(&view), bytes);
    for (uint64_t at = 0; at < bytes; at += 64)
        assert_int_equal(*(uint64_t *)view_at(&view, from + at), 0);
}

/* What of a huge page goes back is somebody else's memory again, and the rest stays as it is. */
static void part_of_a_huge_page_goes_back(void **state)
{
    (void)state;
    ON_ISLAND_WITH_HUGE_PAGES();
    const uint64_t from = huge_start(), bytes = 4 * MEBI;
    assert_int_equal(space_reserve(&space, from, bytes), 0);
    assert_int_equal(huge_bytes(), bytes);
    memset(view_at(&view, from), 'x', bytes);
    const uint64_t with = occupied_bytes();
    space_give_back(&space, from + MEBI, MEBI);
    assert_int_equal(occupied_bytes(), with - MEBI);
    for (uint64_t at = 0; at < bytes; at += 50)
        assert_int_equal(*(char *)view_at(&view, from + at), at / MEBI == 1 ? 0 : 'x');
    assert_int_equal(space_reserve(&space, from, bytes), 0);
    assert_int_equal(occupied_bytes(), with);
    assert_reserved_can_be_touched();
}

/* Nor are they made of what is spread over the nodes of the machine, page by page. */
static void no_huge_pages_of_little(void **state)
{
    (void)state;
    ON_ISLAND_WITH_HUGE_PAGES();
    assert_int_equal(space_reserve(&space, huge_start(), OS_HUGE_PAGE_BYTES), 0);
    view.header->interleave = 1;
    assert_int_equal(space_reserve(&space, huge_start() + 2 * MEBI, 8 * MEBI), 0);
    assert_int_equal(huge_bytes(), 0);
}

/* No room for another huge page is no harm: small ones fill what there is. */
static void huge_pages_until_it_is_full(void **state)
{
    (void)state;
    ON_ISLAND_WITH_HUGE_PAGES();
    const uint64_t from = huge_start(), room = free_bytes();
    assert_int_equal(space_reserve(&space, from, room), 0);
    assert_true(huge_bytes() >= room / 2);
    assert_int_equal(free_bytes(), 0);
    assert_int_equal(space_reserve(&space, from + room, 8 * MEBI), -ENOMEM);
    assert_reserved_can_be_touched();
}

#define TEST(name) cmocka_unit_test_teardown(name, unmake)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(reserved_and_counted),
        TEST(full),
        TEST(far_too_much),
        TEST(others_have_filled_it),
        TEST(old_bytes_are_zeroed),
        TEST(given_back),
        TEST(two_at_once),
        TEST(tables),
        TEST(ranges_of_pages),
        TEST(huge_pages_of_a_large_range),
        TEST(part_of_a_huge_page_goes_back),
        TEST(no_huge_pages_of_little),
        TEST(huge_pages_until_it_is_full),
    };
    return cmocka_run_group_tests_name("space", tests, land, NULL);
}

/* SPDX-License-Identifier: MIT
 *
 * core/private: what was freed a moment ago keeps its memory for who asks again, up to 32 MiB of all arenas
 * together, and until the memory is looked through for something to merge.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include <cmocka.h>

#include "island.h"
#include "os.h"
#include "private.h"
#include "shmcore.h"

enum { BLOCKS = 8, NAMES = 2 };
#define BYTES ((size_t)(8 * MEBI))
#define KEPT  ((size_t)(32 * MEBI))

static const char *why_not;
static shmcore_segment *segment;
static unsigned char *block[BLOCKS];

static int open_segment(void **state)
{
    shmcore_traits traits = shmcore_default_traits();
    (void)state;
    if (!island_make(64 * MEBI, &why_not))
        return 0;
    why_not = NULL;
    traits.job = "unit";
    traits.size = MEBI;
    segment = shmcore_open("SHARED::test", &traits);
    return segment != NULL ? 0 : -1;
}

static int close_segment(void **state)
{
    (void)state;
    return segment != NULL ? shmcore_close(segment) : 0;
}

static size_t resident(void)
{
    static unsigned char page[BYTES / PAGE_BYTES];
    size_t pages = 0;
    for (unsigned i = 0; i < BLOCKS; i++) {
        assert_int_equal(os_pages_resident(block[i], COUNT_OF(page), page), 0);
        for (size_t k = 0; k < COUNT_OF(page); k++)
            pages += page[k] & 1;
    }
    return pages * PAGE_BYTES;
}

static void make(unsigned i, int contents)
{
    unsigned char *before = block[i];
    block[i] = shmcore_private(segment, i % NAMES == 0 ? "even" : "odd", BYTES);
    assert_non_null(block[i]);
    if (before != NULL)
        assert_ptr_equal(block[i], before);
    memset(block[i], contents, BYTES);
}

static void drop(unsigned i)
{
    assert_int_equal(shmcore_deallocate(segment, block[i]), 0);
}

static void as_much_as_may_stay(void **state)
{
    (void)state;
    if (why_not != NULL) {
        print_message("skipped: %s\n", why_not);
        skip();
    }
    for (unsigned i = 0; i < BLOCKS; i++)
        make(i, 1);
    assert_int_equal(resident(), BLOCKS * BYTES);
    for (unsigned i = 0; i < BLOCKS; i++)
        drop(i);
    assert_in_range(resident(), KEPT - BYTES, KEPT);
    for (unsigned turn = 0; turn < 3; turn++) {
        for (unsigned i = 0; i < BLOCKS; i++)
            make(i, 2);
        for (unsigned i = 0; i < BLOCKS; i++)
            drop(i);
        assert_in_range(resident(), KEPT - BYTES, KEPT);
    }
}

/* And it is zero for who asks after that. */
static void until_it_is_looked_through(void **state)
{
    (void)state;
    if (why_not != NULL)
        skip();
    assert_true(resident() > 0);
    assert_true(shmcore_merge(segment, NULL) >= 0);
    assert_int_equal(resident(), 0);
    unsigned char *again = shmcore_private(segment, "even", BYTES);
    for (size_t i = 0; i < BYTES; i++)
        assert_int_equal(again[i], 0);
    assert_int_equal(shmcore_deallocate(segment, again), 0);
}

static bool is_resident(const unsigned char *address)
{
    unsigned char page;
    assert_int_equal(os_pages_resident(address, 1, &page), 0);
    return (page & 1) != 0;
}

static unsigned char *make_in(const char *name, size_t bytes)
{
    unsigned char *made = shmcore_private(segment, name, bytes);
    assert_non_null(made);
    memset(made, 5, bytes);
    return made;
}

/* Two blocks in one chunk, of which the first stays when it is freed, and the second finds no room to stay.
 */
static void one_of_two(void **state)
{
    (void)state;
    if (why_not != NULL)
        skip();
    unsigned char *first = make_in("small", MEBI), *second = make_in("small", MEBI / 2);
    unsigned char *rest[4];
    for (unsigned i = 0; i < 4; i++)
        rest[i] = make_in("rest", i < 3 ? BYTES : BYTES - MEBI);
    assert_int_equal(shmcore_deallocate(segment, first), 0);
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(shmcore_deallocate(segment, rest[i]), 0);
    assert_true(is_resident(rest[3]));
    assert_int_equal(shmcore_deallocate(segment, second), 0);
    assert_true(is_resident(first));
    assert_false(is_resident(second));
    assert_true(shmcore_merge(segment, NULL) >= 0);
    assert_false(is_resident(first));
    assert_false(is_resident(rest[0]));
}

/* A slot beside another one, so its memory does not go when it is freed; nor do the rights of its pages. */
static void can_be_written_again(void **state)
{
    (void)state;
    if (why_not != NULL)
        skip();
    unsigned char *beside = make_in("slots", 12 * KIBI), *slot = make_in("slots", 12 * KIBI);
    void *page = (void *)align_up((uintptr_t)slot, PAGE_BYTES);
    struct arena *arena = private_alter_begin(page, PAGE_BYTES);
    assert_int_equal(mprotect(page, PAGE_BYTES, PROT_READ), 0);
    private_alter_end(arena);
    assert_int_equal(shmcore_deallocate(segment, slot), 0);
    assert_ptr_equal(make_in("slots", 12 * KIBI), slot);
    assert_int_equal(shmcore_deallocate(segment, slot), 0);
    assert_int_equal(shmcore_deallocate(segment, beside), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_much_as_may_stay),
        cmocka_unit_test(until_it_is_looked_through),
        cmocka_unit_test(one_of_two),
        cmocka_unit_test(can_be_written_again),
    };
    return cmocka_run_group_tests_name("private-kept", tests, open_segment, close_segment);
}

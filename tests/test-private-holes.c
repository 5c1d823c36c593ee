/* SPDX-License-Identifier: MIT
 *
 * core/private: pages of merged memory that are taken back, because a block is freed or the program says that
 * it does not need them, are zero and stay so, whatever is merged afterwards.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "hold.h"
#include "island.h"
#include "private.h"
#include "shmcore.h"

#include "base.h"

#define BYTES ((size_t)100000) /* several of them lie in one chunk */

static const char *why_not;
static shmcore_segment *segment;

static int land(void **state)
{
    (void)state;
    if (island_make(64 * MEBI, &why_not))
        why_not = NULL;
    return 0;
}

static void open_with(unsigned hold)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.job = "unit";
    traits.size = MEBI;
    private_set_hold(hold);
    segment = shmcore_open("SHARED::test", &traits);
    assert_non_null(segment);
}

static unsigned char *have(int contents)
{
    unsigned char *block = shmcore_private(segment, "table", BYTES);
    assert_non_null(block);
    for (size_t i = 0; i < BYTES; i++)
        assert_int_equal(block[i], 0);
    memset(block, contents, BYTES);
    return block;
}

static void expect(const unsigned char *block, int contents)
{
    for (size_t i = 0; i < BYTES; i++)
        assert_int_equal(block[i], contents);
}

/* Merges again the chunk that the block lies in, for it has changed. */
static void merge_changed(unsigned char *block)
{
    block[0]++;
    assert_true(shmcore_merge(segment, NULL) > 0);
    block[0]--;
}

static void freed_memory_is_zero_again(unsigned hold)
{
    open_with(hold);
    unsigned char *first = have(1), *second = have(2);
    assert_true(shmcore_merge(segment, NULL) > 0);
    assert_int_equal(shmcore_deallocate(segment, first), 0);
    merge_changed(second);
    assert_ptr_equal(have(3), first); /* which looks whether it is zero */
    expect(second, 2);
    shmcore_close(segment);
}

static void forgotten_memory_stays_zero(unsigned hold)
{
    open_with(hold);
    unsigned char *first = have(1), *second = have(2);
    assert_true(shmcore_merge(segment, NULL) > 0);
    assert_int_equal(private_forget(first, BYTES), 0);
    expect(first, 0);
    assert_int_equal(private_forget(first, BYTES), 0); /* untouched, as the merge finds it */
    merge_changed(second);
    expect(first, 0);
    merge_changed(second);
    expect(first, 0);
    expect(second, 2);
    shmcore_close(segment);
}

static void in_each_way(void (*test)(unsigned hold))
{
    if (why_not != NULL) {
        print_message("skipped: %s\n", why_not);
        skip();
    }
    for (unsigned hold = HOLD_USERFAULT; hold <= HOLD_COMPARE; hold++)
        test(hold);
}

static void freed(void **state)
{
    (void)state;
    in_each_way(freed_memory_is_zero_again);
}

static void forgotten(void **state)
{
    (void)state;
    in_each_way(forgotten_memory_stays_zero);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(freed),
        cmocka_unit_test(forgotten),
    };
    return cmocka_run_group_tests(tests, land, NULL);
}

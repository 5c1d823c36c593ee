/* SPDX-License-Identifier: MIT
 *
 * Segments larger than records reach (RECORD_LIMIT, 32 GiB): half of the memory of a large node. Named blocks
 * of every size are made, found and freed there. The file is sparse, so a small file system of the test's own
 * serves.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>

#include "island.h"
#include "plain.h"
#include "shmcore.h"

static const char *why_not;

/* Large enough for the tables of one_large_block(), and far too small for the block. */
static int land(void **state)
{
    (void)state;
    if (island_make(256 * MEBI, &why_not))
        why_not = NULL;
    return 0;
}

static void *must_allocate(shmcore_segment *segment, const char *name, size_t bytes)
{
    unsigned char *block = shmcore_allocate(segment, name, bytes);
    if (block == NULL)
        fail_msg("%s, %zu bytes: %s", name, bytes, shmcore_error());
    if (bytes > 0)
        block[0] = block[bytes - 1] = 1;
    return block;
}

static void all_sizes(shmcore_segment *segment)
{
    static const size_t sizes[] = {0,         1,          100,       4096,           32 * KIBI,
                                   33 * KIBI, 100 * KIBI, MEBI,      MEBI + 1,       3 * MEBI,
                                   10 * MEBI, 200 * KIBI, 15 * MEBI, 512 * KIBI + 1, 40};
    void *blocks[COUNT_OF(sizes)];
    char name[64];
    size_t found;
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        snprintf(name, sizeof name, "block %zu with a name that is long", i);
        blocks[i] = must_allocate(segment, name, sizes[i]);
    }
    for (size_t i = 0; i < COUNT_OF(sizes); i++) {
        snprintf(name, sizeof name, "block %zu with a name that is long", i);
        assert_ptr_equal(shmcore_find(segment, name, &found), blocks[i]);
        assert_int_equal(found, sizes[i]);
        assert_int_equal(shmcore_deallocate(segment, blocks[i]), 0);
        assert_null(shmcore_find(segment, name, &found));
    }
}

static shmcore_segment *open_large(uint64_t bytes)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.size = bytes;
    traits.job = "large";
    char name[64]; /* one for each size: a test that fails leaves its segment open */
    snprintf(name, sizeof name, "SHARED::%zu", (size_t)(bytes >> 30));
    shmcore_segment *segment = shmcore_open(name, &traits);
    if (segment == NULL)
        fail_msg("%s", shmcore_error());
    return segment;
}

static void use(uint64_t bytes)
{
    shmcore_segment *segment = open_large(bytes);
    for (unsigned round = 0; round < 3; round++) {
        all_sizes(segment);
        for (unsigned i = 0; i < 5000; i++) { /* many records, and the tables that grow with them */
            char name[32];
            snprintf(name, sizeof name, "small %u", i);
            must_allocate(segment, name, 64);
        }
        for (unsigned i = 0; i < 5000; i++) {
            char name[32];
            snprintf(name, sizeof name, "small %u", i);
            assert_int_equal(shmcore_deallocate(segment, shmcore_find(segment, name, NULL)), 0);
        }
    }
    assert_int_equal(shmcore_close(segment), 0);
}

#define ON_ISLAND()                                                                                          \
    do {                                                                                                     \
        if (why_not != NULL)                                                                                 \
            SKIP("%s", why_not);                                                                             \
    } while (0)

static void just_within_reach(void **state)
{
    (void)state;
    ON_ISLAND();
    use(RECORD_LIMIT);
}

static void beyond_reach(void **state)
{
    (void)state;
    ON_ISLAND();
    use(40 * GIBI);
}

/* A block larger than one transaction of the pool can hand over. Here there is no memory for it, and that,
 * not a lack of room in the segment, is what is said; twice, for the first refusal has left everything as it
 * was. */
static void one_large_block(void **state)
{
    (void)state;
    ON_ISLAND();
    shmcore_segment *segment = open_large(64 * GIBI);
    shmcore_statistics before, after;
    must_allocate(segment, "first", 100);
    assert_int_equal(shmcore_stat(segment, &before), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_null(shmcore_allocate(segment, "large", 30 * GIBI));
        if (strstr(shmcore_error(), "no memory left") == NULL)
            fail_msg("%s", shmcore_error());
    }
    assert_int_equal(shmcore_stat(segment, &after), 0);
    assert_int_equal(after.used, before.used);
    assert_int_equal(after.blocks, before.blocks);
    must_allocate(segment, "second", MEBI);
    assert_int_equal(shmcore_close(segment), 0);
}

static void far_beyond_reach(void **state)
{
    (void)state;
    ON_ISLAND();
    use(2048 * GIBI);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(just_within_reach),
        cmocka_unit_test(beyond_reach),
        cmocka_unit_test(one_large_block),
        cmocka_unit_test(far_beyond_reach),
    };
    return cmocka_run_group_tests_name("large", tests, land, NULL);
}

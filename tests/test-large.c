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

#include "export.h"
#include "island.h"
#include "plain.h"
#include "shmcore.h"

static const char *why_not;

/* Large enough for the tables of large_blocks(), and far too small for a block. */
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

/* Blocks longer than one transaction of the pool can hand over, promised only (reserve=touch): there is room
 * for them, again and again, and their pages can be touched. */
static void large_blocks(void **state)
{
    (void)state;
    ON_ISLAND();
    shmcore_segment *segment = open_large(64 * GIBI);
    struct export_source source = {.label = 0};
    shmcore_statistics before, after;
    assert_true(export_label(segment, "large", 5, 0, &source.label));
    assert_int_equal(shmcore_stat(segment, &before), 0);
    for (uint64_t i = 0; i < 3; i++) {
        unsigned char *block = export_allocate(segment, &source, i, 30 * GIBI, 16, EXPORT_TOUCH);
        if (block == NULL)
            fail_msg("%s", shmcore_error());
        assert_int_equal(block[0] + block[30 * GIBI - 1], 0);
        block[0] = block[30 * GIBI - 1] = 1;
        assert_int_equal(export_free(segment, block), EXPORT_DONE);
    }
    assert_int_equal(shmcore_stat(segment, &after), 0);
    assert_int_equal(after.used, before.used);
    assert_true(after.free >= 60 * GIBI);
    assert_int_equal(shmcore_close(segment), 0);
}

/* There is room for it but no memory: that is what is said, and the refusal leaves everything as it was. */
static void no_memory_for_it(void **state)
{
    (void)state;
    ON_ISLAND();
    shmcore_segment *segment = open_large(48 * GIBI);
    shmcore_statistics before, after;
    must_allocate(segment, "first", 100);
    assert_int_equal(shmcore_stat(segment, &before), 0);
    for (unsigned i = 0; i < 2; i++) {
        assert_null(shmcore_allocate(segment, "large", 15 * GIBI));
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
        cmocka_unit_test(just_within_reach), cmocka_unit_test(beyond_reach),
        cmocka_unit_test(large_blocks),      cmocka_unit_test(no_memory_for_it),
        cmocka_unit_test(far_beyond_reach),
    };
    return cmocka_run_group_tests_name("large", tests, land, NULL);
}

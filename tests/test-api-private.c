/* SPDX-License-Identifier: MIT
 *
 * Private memory that is merged, through the public API: names, sizes and addresses, what processes share
 * after a merge, what a fork and a close do to it, and every error.
 */
#include "test-api.h"

static void *private(shmcore_segment *segment, const char *name, size_t bytes)
{
    void *pointer = shmcore_private(segment, name, bytes);
    if (pointer == NULL)
        fail_msg("%s, %zu bytes: %s", name, bytes, shmcore_error());
    return pointer;
}

/* Not the same twice in a page. */
static void fill(void *memory, size_t bytes, uint64_t seed)
{
    uint64_t *word = memory;
    for (size_t i = 0; i < bytes / 8; i++)
        word[i] = (seed << 32 | i) * UINT64_C(0x9e3779b97f4a7c15);
}

static int is_as_filled(const void *memory, size_t bytes, uint64_t seed)
{
    const uint64_t *word = memory;
    for (size_t i = 0; i < bytes / 8; i++)
        if (word[i] != (seed << 32 | i) * UINT64_C(0x9e3779b97f4a7c15))
            return 0;
    return 1;
}

/* ---------------------------------------------------------------- blocks */

static void it_is_zero_and_aligned(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    const struct {
        size_t bytes, alignment;
    } sizes[] = {{0, 16},
                 {1, 16},
                 {1000, 16},
                 {16384, 16},
                 {20000, 4096},
                 {2 * MIB, 2 * MIB},
                 {5 * MIB, 2 * MIB},
                 {20 * MIB, 2 * MIB}};
    for (unsigned round = 0; round < 2; round++)
        for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            unsigned char *pointer = private(segment, "block", sizes[i].bytes);
            assert_int_equal((uintptr_t)pointer % sizes[i].alignment, 0);
            assert_true(is_filled_with(pointer, 0, sizes[i].bytes));
            memset(pointer, 0xaa, sizes[i].bytes);
            assert_int_equal(shmcore_deallocate(segment, pointer), 0);
        }
    assert_int_equal(shmcore_close(segment), 0);
}

/* The first, the second … of a name. */
static void a_name_may_have_many(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    char *first = private(segment, "table", 100), *second = private(segment, "table", 100);
    char *other = private(segment, "other", 100);
    assert_true(first != second && first != other && second != other);
    strcpy(first, "first"), strcpy(second, "second"), strcpy(other, "other");
    assert_string_equal(first, "first");
    assert_string_equal(second, "second");
    assert_null(shmcore_find(segment, "table", NULL)); /* nobody finds it: it is no shared block */
    assert_int_equal(shmcore_deallocate(segment, first), 0);
    assert_ptr_equal(private(segment, "table", 100), first);
    assert_int_equal(shmcore_close(segment), 0);
}

static void names_are_checked(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    char name[SHMCORE_NAME_MAX + 2];
    assert_refused(shmcore_private(segment, NULL, 10), EINVAL);
    assert_refused(shmcore_private(segment, "", 10), EINVAL);
    assert_refused(shmcore_private(segment, "a\nb", 10), EINVAL);
    assert_refused(shmcore_private(segment, "\xff", 10), EINVAL);
    memset(name, 'n', sizeof name);
    name[sizeof name - 1] = '\0';
    assert_refused(shmcore_private(segment, name, 10), ENAMETOOLONG);
    name[224] = '\0';
    private(segment, name, 10);
    private(segment,
            "gr\xc3\xb6\xc3\x9f"
            "e/{of} a #1",
            10);
    assert_int_equal(shmcore_close(segment), 0);
}

static void too_much_is_refused(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    const size_t sizes[] = {SIZE_MAX, SIZE_MAX - 4095, (size_t)1 << 47, 257 * GIB};
    for (unsigned i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        assert_refused(shmcore_private(segment, "huge", sizes[i]), ENOMEM);
    void *block = private(segment, "fits", 100);
    assert_int_equal(shmcore_deallocate(segment, block), 0);
    assert_int_equal(shmcore_close(segment), 0);
}

static int count_one(const shmcore_merged *merged, void *argument)
{
    (void)merged;
    ++*(int *)argument;
    return 0;
}

static void handles_are_checked(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB), *closed = open_here("SHARED::other", 4 * MIB);
    int seen = 0;
    assert_int_equal(shmcore_close(closed), 0);
    shmcore_segment *wrong[] = {NULL, closed};
    for (unsigned i = 0; i < 2; i++) {
        assert_refused(shmcore_private(wrong[i], "name", 10), EINVAL);
        assert_fails(shmcore_merge(wrong[i], NULL), EINVAL);
        assert_fails(shmcore_ask_merge(wrong[i], 0), EINVAL);
        assert_fails(shmcore_for_each_merged(wrong[i], count_one, &seen), EINVAL);
    }
    assert_fails(shmcore_for_each_merged(segment, NULL, NULL), EINVAL);
    assert_int_equal(shmcore_close(segment), 0);
}

static void a_reader(const struct peer *parent)
{
    int seen = 0;
    shmcore_traits traits = traits_here(0);
    traits.read_only = true;
    hear(parent);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    REQUIRE(shmcore_private(segment, "name", 10) == NULL && errno == EROFS);
    REQUIRE(shmcore_merge(segment, NULL) == -1 && errno == EROFS);
    REQUIRE(shmcore_ask_merge(segment, 0) == -1 && errno == EROFS);
    REQUIRE(shmcore_for_each_merged(segment, count_one, &seen) == 0 && seen == 1);
    REQUIRE(shmcore_close(segment) == 0);
}

static void who_may_only_read_sees_them(void **state)
{
    (void)state;
    struct peer peer = start_peer(a_reader);
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    private(segment, "block", 3 * MIB);
    tell(&peer, 1);
    peer_ends_well(&peer);
    assert_int_equal(shmcore_close(segment), 0);
}

/* ---------------------------------------------------------------- pointers */

static void wrong_pointers_are_refused(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB), *second = open_here("SHARED::second", 4 * MIB);
    unsigned char *block = private(segment, "block", 5 * MIB), *small = private(segment, "small", 100);
    unsigned char *elsewhere = private(second, "block", 5 * MIB), here[16];
    unsigned char *wrong[] = {block + 16, block + 4096, block - 1, small + 16, small - 1, elsewhere, here};
    for (unsigned i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        assert_fails(shmcore_merge(segment, wrong[i]), EINVAL);
        if (wrong[i] != elsewhere)
            assert_fails(shmcore_deallocate(segment, wrong[i]), EINVAL);
    }
    assert_fails(shmcore_deallocate(segment, elsewhere), EINVAL); /* of another segment */
    assert_int_equal(shmcore_deallocate(segment, block), 0);
    assert_fails(shmcore_deallocate(segment, block), EINVAL);
    assert_fails(shmcore_merge(segment, block), EINVAL);
    assert_int_equal(shmcore_deallocate(segment, small), 0);
    assert_fails(shmcore_deallocate(segment, small), EINVAL);
    assert_int_equal(shmcore_deallocate(second, elsewhere), 0);
    assert_int_equal(shmcore_close(second), 0);
    assert_int_equal(shmcore_close(segment), 0);
}

static void a_shared_block_is_not_merged(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 8 * MIB);
    void *shared = allocate(segment, "shared", 100);
    assert_fails(shmcore_merge(segment, shared), EINVAL);
    assert_int_equal(shmcore_merge(segment, NULL), 0); /* there is none */
    assert_int_equal(shmcore_ask_merge(segment, 0), 0);
    assert_int_equal(shmcore_for_each_merged(segment, count_one, NULL), 0);
    assert_int_equal(shmcore_deallocate(segment, shared), 0);
    assert_int_equal(shmcore_close(segment), 0);
}

/* ---------------------------------------------------------------- two processes */

enum { TABLE = 5 << 20 };

static shmcore_segment *peer_open(void)
{
    const shmcore_traits traits = traits_here(4 * MIB);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    return segment;
}

/* Builds what the other side builds, but for one page, in its own time. */
static void builds_the_same(const struct peer *parent)
{
    hear(parent);
    shmcore_segment *segment = peer_open();
    char *small = shmcore_private(segment, "small", 300);
    char *table = shmcore_private(segment, "table", TABLE);
    REQUIRE(small != NULL && table != NULL);
    tell(parent, (uintptr_t)small);
    tell(parent, (uintptr_t)table);
    fill(table, TABLE, 1);
    fill(table + 40960, 4096, 2);
    hear(parent);
    const ssize_t shared = shmcore_merge(segment, table);
    REQUIRE(shared >= 0);
    tell(parent, (uint64_t)shared);
    hear(parent);
    REQUIRE(is_as_filled(table + 40960, 4096, 2));
    fill(table + 40960, 4096, 3); /* seen by nobody else */
    tell(parent, 1);
    hear(parent);
    REQUIRE(shmcore_close(segment) == 0);
}

static int note_table(const shmcore_merged *merged, void *argument)
{
    if (strcmp(merged->name, "table") == 0)
        *(shmcore_merged *)argument = *merged;
    return 0;
}

static int stop_at_once(const shmcore_merged *merged, void *argument)
{
    (void)merged;
    ++*(int *)argument;
    return 42;
}

static void two_that_build_the_same_share_it(void **state)
{
    (void)state;
    struct peer peer = start_peer(builds_the_same);
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    char *small = private(segment, "small", 300), *table = private(segment, "table", TABLE);
    tell(&peer, 1);
    assert_int_equal(hear(&peer), (uintptr_t)small);
    assert_int_equal(hear(&peer), (uintptr_t)table);
    fill(table, TABLE, 1);
    assert_int_equal(shmcore_merge(segment, table), TABLE);
    assert_int_equal(shmcore_merge(segment, table), TABLE); /* again: as it is */
    tell(&peer, 1);
    assert_int_equal(hear(&peer), TABLE - 4096);
    assert_true(is_as_filled(table, TABLE, 1));
    shmcore_merged merged = {.bytes = 0};
    assert_int_equal(shmcore_for_each_merged(segment, note_table, &merged), 0);
    assert_string_equal(merged.segment, NODE);
    assert_int_equal(merged.bytes, TABLE);
    assert_int_equal(merged.ranks, 2);
    assert_int_equal(merged.merged, 2 * TABLE - 4096);
    assert_int_equal(merged.saved, TABLE - 4096);
    int seen = 0;
    assert_int_equal(shmcore_for_each_merged(segment, stop_at_once, &seen), 42);
    assert_int_equal(seen, 1);
    tell(&peer, 1);
    hear(&peer);
    assert_true(is_as_filled(table, TABLE, 1));
    fill(table, 4096, 9); /* copy on write */
    assert_int_equal(shmcore_merge(segment, NULL), TABLE - 4096);
    assert_true(is_as_filled(table, 4096, 9));
    tell(&peer, 1);
    peer_ends_well(&peer);
    assert_int_equal(shmcore_close(segment), 0);
}

static void is_killed_with_it(const struct peer *parent)
{
    hear(parent);
    shmcore_segment *segment = peer_open();
    char *table = shmcore_private(segment, "table", TABLE);
    REQUIRE(table != NULL);
    fill(table, TABLE, 1);
    REQUIRE(shmcore_merge(segment, NULL) == TABLE);
    tell(parent, 1);
    hear(parent);
}

static void who_is_killed_harms_nobody(void **state)
{
    (void)state;
    struct peer peer = start_peer(is_killed_with_it);
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    char *table = private(segment, "table", TABLE);
    tell(&peer, 1);
    hear(&peer);
    fill(table, TABLE, 1);
    assert_int_equal(shmcore_merge(segment, table), TABLE);
    kill_peer(&peer);
    assert_true(is_as_filled(table, TABLE, 1));
    fill(table, TABLE, 2);
    assert_true(shmcore_merge(segment, table) >= 0);
    assert_true(is_as_filled(table, TABLE, 2));
    assert_int_equal(shmcore_deallocate(segment, table), 0);
    assert_int_equal(shmcore_close(segment), 0);
}

/* ---------------------------------------------------------------- fork, close */

static void a_forked_child_has_its_own(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    char *merged = private(segment, "merged", TABLE), *apart = private(segment, "apart", TABLE);
    fill(merged, TABLE, 1);
    fill(apart, TABLE, 2);
    assert_int_equal(shmcore_merge(segment, merged), TABLE);
    const pid_t pid = fork();
    if (pid == 0) {
        REQUIRE(is_as_filled(merged, TABLE, 1) && is_as_filled(apart, TABLE, 2));
        fill(merged, 4096, 3);
        REQUIRE(shmcore_merge(segment, merged) == TABLE - 4096);
        char *own = shmcore_private(segment, "own", 1000);
        REQUIRE(own != NULL && shmcore_deallocate(segment, apart) == 0);
        REQUIRE(shmcore_close(segment) == 0);
        _exit(0);
    }
    int status = -1;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_true(is_as_filled(merged, TABLE, 1) && is_as_filled(apart, TABLE, 2));
    assert_int_equal(shmcore_merge(segment, NULL), 2 * TABLE);
    assert_int_equal(shmcore_close(segment), 0);
}

static void closed_and_opened_again(void **state)
{
    (void)state;
    for (unsigned round = 0; round < 3; round++) {
        shmcore_segment *segment = open_here(NODE, 4 * MIB);
        char *table = private(segment, "table", TABLE);
        assert_true(is_filled_with(table, 0, TABLE));
        fill(table, TABLE, round + 1);
        assert_int_equal(shmcore_merge(segment, NULL), TABLE);
        assert_true(files_in_directory() > 1);
        assert_int_equal(shmcore_close(segment), 0);
        assert_int_equal(files_in_directory(), 0);
    }
}

static void opened_twice_closed_once_it_stays(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    assert_ptr_equal(open_here(NODE, 4 * MIB), segment);
    char *table = private(segment, "table", TABLE);
    fill(table, TABLE, 1);
    assert_int_equal(shmcore_close(segment), 0);
    assert_int_equal(shmcore_merge(segment, table), TABLE);
    assert_true(is_as_filled(table, TABLE, 1));
    assert_int_equal(shmcore_close(segment), 0);
}

static void what_is_freed_is_given_back_at_once(void **state)
{
    (void)state;
    shmcore_segment *segment = open_here(NODE, 4 * MIB);
    char *table = private(segment, "table", 8 * MIB);
    fill(table, 8 * MIB, 1);
    assert_int_equal(shmcore_merge(segment, table), 8 * MIB);
    const unsigned files = files_in_directory();
    assert_int_equal(shmcore_deallocate(segment, table), 0);
    assert_true(files_in_directory() < files);
    assert_int_equal(shmcore_merge(segment, NULL), 0);
    assert_int_equal(shmcore_close(segment), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(it_is_zero_and_aligned),
        API_TEST(a_name_may_have_many),
        API_TEST(names_are_checked),
        API_TEST(too_much_is_refused),
        API_TEST(handles_are_checked),
        API_TEST(who_may_only_read_sees_them),
        API_TEST(wrong_pointers_are_refused),
        API_TEST(a_shared_block_is_not_merged),
        API_TEST(two_that_build_the_same_share_it),
        API_TEST(who_is_killed_harms_nobody),
        API_TEST(a_forked_child_has_its_own),
        API_TEST(closed_and_opened_again),
        API_TEST(opened_twice_closed_once_it_stays),
        API_TEST(what_is_freed_is_given_back_at_once),
    };
    if (make_test_directory("private") != 0)
        return 77;
    return cmocka_run_group_tests_name("api-private", tests, NULL, remove_test_directory);
}

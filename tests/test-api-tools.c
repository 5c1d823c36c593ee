/* SPDX-License-Identifier: MIT
 *
 * The functions for tools: listing the segments of a directory, collecting what dead processes left,
 * removing.
 */
#include "test-api.h"

#define NOBODY 65534

struct listing {
    unsigned count;
    shmcore_segment_info info[8];
};

static int note(const shmcore_segment_info *info, void *argument)
{
    struct listing *listing = argument;
    if (listing->count < 8)
        listing->info[listing->count] = *info;
    listing->count++;
    return 0;
}

static struct listing list(void)
{
    struct listing listing = {.count = 0};
    assert_int_equal(shmcore_for_each_segment(test_directory, note, &listing), 0);
    return listing;
}

static shmcore_collected collect(void)
{
    shmcore_collected collected = {99, 99, 99};
    assert_int_equal(shmcore_collect(test_directory, &collected), 0);
    return collected;
}

static void make_file(const char *name, const char *content, size_t bytes)
{
    char path[512];
    snprintf(path, sizeof path, "%s/%s", test_directory, name);
    const int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    assert_true(descriptor >= 0);
    assert_int_equal(write(descriptor, content, strlen(content)), strlen(content));
    assert_int_equal(ftruncate(descriptor, (off_t)bytes), 0);
    close(descriptor);
}

static const char *half_born_name(void)
{
    static char name[128];
    snprintf(name, sizeof name, "shmcore.%u.test.SHARED::unborn", (unsigned)geteuid());
    return name;
}

/* ---------------------------------------------------------------- listing */

static void an_empty_directory(void **state)
{
    (void)state;
    assert_int_equal(list().count, 0);
    const shmcore_collected collected = collect();
    assert_int_equal(collected.segments + collected.processes + collected.bytes, 0);
    assert_int_equal(shmcore_collect(test_directory, NULL), 0);
    assert_fails(shmcore_for_each_segment(test_directory, NULL, NULL), EINVAL);
    assert_fails(shmcore_for_each_segment("/dev/shm/there/is/no/such", note, NULL), ENOENT);
    assert_fails(shmcore_collect("/dev/shm/there/is/no/such", NULL), ENOENT);
}

static void what_a_listing_says(void **state)
{
    (void)state;
    char path[600];
    shmcore_traits traits = traits_here(4 * MIB);
    traits.persist = true;
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    assert_non_null(segment);
    allocate(segment, "block", MIB);
    struct listing listing = list();
    assert_int_equal(listing.count, 1);
    const shmcore_segment_info *info = &listing.info[0];
    assert_string_equal(info->name, NODE);
    assert_string_equal(info->job, "test");
    assert_string_equal(info->dir, test_directory);
    assert_memory_equal(info->path, test_directory, strlen(test_directory));
    snprintf(path, sizeof path, "%s", info->path);
    assert_int_equal(access(path, R_OK | W_OK), 0);
    assert_int_equal(info->uid, geteuid());
    assert_int_equal(info->capacity, 4 * MIB);
    assert_in_range(info->reserved, MIB, 4 * MIB);
    assert_int_equal(info->processes, 1);
    assert_true(info->persist);
    assert_true(info->usable);
    shmcore_close(segment);
    listing = list();
    assert_int_equal(listing.count, 1);
    assert_int_equal(info->processes, 0);
    assert_int_equal(shmcore_remove(NODE, &traits), 0);
    assert_int_equal(list().count, 0);
}

static int stop_with(const shmcore_segment_info *info, void *argument)
{
    (void)info;
    return *(int *)argument;
}

static void the_visitor_may_stop(void **state)
{
    (void)state;
    static const int codes[] = {1, 42, -42};
    shmcore_segment *one = open_here(NODE, MIB), *two = open_here("SHARED::two", MIB);
    assert_int_equal(list().count, 2);
    for (size_t i = 0; i < sizeof codes / sizeof *codes; i++) {
        int code = codes[i];
        assert_int_equal(shmcore_for_each_segment(test_directory, stop_with, &code), code);
    }
    shmcore_close(one);
    shmcore_close(two);
}

/* Files of other kinds are not listed, and not removed either. */
static void other_files_are_left_alone(void **state)
{
    (void)state;
    static const char *const others[] = {"notes.txt",          "shmcore",   "shmcore.",
                                         "shmcore.x.y.SHARED", "shmcore.1", "shmcore.0.job.shared"};
    enum { COUNT = sizeof others / sizeof *others };
    for (int i = 0; i < COUNT; i++)
        make_file(others[i], "", 0);
    assert_int_equal(list().count, 0);
    assert_int_equal(collect().segments, 0);
    assert_int_equal(files_in_directory(), COUNT);
    empty_directory();
    make_file(half_born_name(), "this is no segment", 8192);
    const struct listing listing = list();
    assert_int_equal(listing.count, 1);
    assert_false(listing.info[0].usable);
    assert_int_equal(collect().segments, 0);
    assert_int_equal(files_in_directory(), 1);
    empty_directory();
}

/* ---------------------------------------------------------------- collecting */

static bool peer_persists, peer_other_user;

static void has_a_segment_open(const struct peer *parent)
{
    shmcore_traits traits = traits_here(8 * MIB);
    traits.persist = peer_persists;
    REQUIRE(!peer_other_user || (setgid(NOBODY) == 0 && setuid(NOBODY) == 0));
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    REQUIRE(shmcore_allocate(segment, "block", 2 * MIB) != NULL);
    tell(parent, 1);
    hear(parent);
    REQUIRE(shmcore_close(segment) == 0);
}

static struct peer start_holder(void)
{
    const struct peer peer = start_peer(has_a_segment_open);
    hear(&peer);
    return peer;
}

static void after_the_last_process(void **state)
{
    (void)state;
    const struct peer one = start_holder(), two = start_holder();
    assert_int_equal(list().info[0].processes, 2);
    assert_int_equal(collect().segments, 0);
    kill_peer(&one);
    assert_int_equal(list().info[0].processes, 1);
    const shmcore_collected first = collect();
    assert_int_equal(first.segments, 0);
    assert_int_equal(first.processes, 1);
    assert_int_equal(files_in_directory(), 1);
    kill_peer(&two);
    assert_int_equal(list().info[0].processes, 0);
    const shmcore_collected second = collect();
    assert_int_equal(second.segments, 1);
    assert_in_range(second.bytes, 2 * MIB, 8 * MIB);
    assert_int_equal(files_in_directory(), 0);
}

static void dead_rows_in_my_own_segment(void **state)
{
    (void)state;
    const struct peer one = start_holder(), two = start_holder(), three = start_holder();
    shmcore_segment *segment = open_here(NODE, 0);
    allocate(segment, "mine", 10);
    assert_int_equal(statistics_of(segment).processes, 4);
    kill_peer(&one);
    kill_peer(&three);
    const shmcore_collected collected = collect();
    assert_int_equal(collected.segments, 0);
    assert_int_equal(collected.processes, 2);
    assert_int_equal(statistics_of(segment).processes, 2);
    assert_int_equal(block_at(shmcore_find(segment, "block", NULL)).refs, 1);
    assert_int_equal(block_at(shmcore_find(segment, "block", NULL)).owner, two.pid);
    tell(&two, 1);
    peer_ends_well(&two);
    assert_null(shmcore_find(segment, "block", NULL));
    assert_non_null(shmcore_find(segment, "mine", NULL));
    shmcore_close(segment);
}

static void a_persistent_segment_is_kept(void **state)
{
    (void)state;
    peer_persists = true;
    const struct peer peer = start_holder();
    peer_persists = false;
    kill_peer(&peer);
    assert_int_equal(collect().segments, 0);
    const struct listing listing = list();
    assert_int_equal(listing.count, 1);
    assert_true(listing.info[0].persist);
    assert_true(listing.info[0].usable);
    assert_int_equal(listing.info[0].processes, 0);
    const shmcore_traits traits = traits_here(0);
    assert_int_equal(shmcore_remove(NODE, &traits), 0);
}

static void a_half_born_file(void **state)
{
    (void)state;
    static const size_t sizes[] = {0, 4096, MIB};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        make_file(half_born_name(), "", sizes[i]);
        const struct listing listing = list();
        assert_int_equal(listing.count, 1);
        assert_string_equal(listing.info[0].name, "SHARED::unborn");
        assert_false(listing.info[0].usable);
        assert_int_equal(collect().segments, 1);
        assert_int_equal(files_in_directory(), 0);
    }
}

static void several_at_once(void **state)
{
    (void)state;
    shmcore_segment *segment =
        open_here("SHARED::alive", MIB); /* first: making one clears up behind the dead */
    const struct peer peer = start_holder();
    kill_peer(&peer);
    make_file(half_born_name(), "", 0);
    assert_int_equal(list().count, 3);
    assert_int_equal(collect().segments, 2);
    assert_int_equal(files_in_directory(), 1);
    allocate(segment, "block", 100);
    shmcore_close(segment);
}

/* The one who collects as root does it for all users; the others see and touch only their own. */
static void root_collects_for_all(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: only root can become another user\n");
        skip();
    }
    assert_int_equal(chmod(test_directory, 01777), 0);
    peer_other_user = true;
    const struct peer peer = start_holder();
    peer_other_user = false;
    const struct listing listing = list();
    assert_int_equal(listing.count, 1);
    assert_int_equal(listing.info[0].uid, NOBODY);
    assert_int_equal(listing.info[0].processes, 1);
    assert_int_equal(collect().segments, 0);
    kill_peer(&peer);
    assert_int_equal(collect().segments, 1);
    assert_int_equal(files_in_directory(), 0);
    assert_int_equal(chmod(test_directory, 0700), 0);
}

static void collects_as_another(const struct peer *parent)
{
    struct listing listing = {.count = 0};
    shmcore_collected collected;
    hear(parent);
    REQUIRE(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    REQUIRE(shmcore_for_each_segment(test_directory, note, &listing) == 0);
    REQUIRE(listing.count == 0);
    REQUIRE(shmcore_collect(test_directory, &collected) == 0);
    REQUIRE(collected.segments == 0);
}

static void others_collect_nothing(void **state)
{
    (void)state;
    if (geteuid() != 0) {
        print_message("skipped: only root can become another user\n");
        skip();
    }
    assert_int_equal(chmod(test_directory, 0777), 0); /* not even where they could */
    const struct peer other = start_peer(collects_as_another), peer = start_holder();
    kill_peer(&peer);
    tell(&other, 1);
    peer_ends_well(&other);
    assert_int_equal(files_in_directory(), 1);
    assert_int_equal(chmod(test_directory, 0700), 0);
    assert_int_equal(collect().segments, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(an_empty_directory),
        API_TEST(what_a_listing_says),
        API_TEST(the_visitor_may_stop),
        API_TEST(other_files_are_left_alone),
        API_TEST(after_the_last_process),
        API_TEST(dead_rows_in_my_own_segment),
        API_TEST(a_persistent_segment_is_kept),
        API_TEST(a_half_born_file),
        API_TEST(several_at_once),
        API_TEST(root_collects_for_all),
        API_TEST(others_collect_nothing),
    };
    signal(SIGPIPE, SIG_IGN);
    if (make_test_directory("tools") != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}

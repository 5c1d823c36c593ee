/* SPDX-License-Identifier: MIT
 *
 * What the public API says to a file that lies where the segment should be and cannot be trusted: another's,
 * one that others may use, a link, no regular file, damaged or of another version, or half-born.
 */
#include "test-api.h"

#define NOBODY 65534

static int take_path(const shmcore_segment_info *info, void *argument)
{
    snprintf(argument, sizeof info->path, "%s", info->path);
    return 1;
}

static shmcore_traits lasting_traits(void)
{
    shmcore_traits traits = traits_here(MIB);
    traits.persist = true;
    return traits;
}

static void remove_what_is_at(const char *path)
{
    assert_true(unlink(path) == 0 || rmdir(path) == 0);
}

/* A segment that nobody has open; its path in `path`. */
static void make_closed_segment(char path[512])
{
    const shmcore_traits traits = lasting_traits();
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    assert_non_null(segment);
    shmcore_close(segment);
    assert_int_equal(shmcore_for_each_segment(test_directory, take_path, path), 1);
}

static void expect_refusal(int code)
{
    shmcore_traits traits = lasting_traits();
    assert_refused(shmcore_open(NODE, &traits), code);
    traits.read_only = true;
    assert_refused(shmcore_open(NODE, &traits), code);
}

static void modes(void **state)
{
    (void)state;
    static const mode_t bad[] = {0604, 0640, 0602, 0610, 0777};
    char path[512];
    make_closed_segment(path);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        assert_int_equal(chmod(path, bad[i]), 0);
        expect_refusal(EACCES);
    }
    assert_int_equal(chmod(path, 0600), 0);
    const shmcore_traits traits = lasting_traits();
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    assert_non_null(segment);
    shmcore_close(segment);
    remove_what_is_at(path);
}

static void another_s_file(void **state)
{
    (void)state;
    char path[512];
    if (geteuid() != 0) {
        print_message("skipped: only root can give a file away\n");
        skip();
    }
    make_closed_segment(path);
    assert_int_equal(chown(path, NOBODY, NOBODY), 0);
    expect_refusal(EACCES);
    remove_what_is_at(path);
}

static void tries_what_it_may_not(const struct peer *parent)
{
    const shmcore_traits traits = lasting_traits();
    REQUIRE(setgid(NOBODY) == 0 && setuid(NOBODY) == 0);
    REQUIRE(shmcore_open(NODE, &traits) == NULL && errno == EACCES);
    REQUIRE(shmcore_remove(NODE, &traits) == -1 && errno == EACCES);
    tell(parent, 1);
}

/* A directory in which the user may not make or remove a file. */
static void a_directory_of_others(void **state)
{
    (void)state;
    char path[512];
    if (geteuid() != 0) {
        print_message("skipped: only root can become another user\n");
        skip();
    }
    snprintf(path, sizeof path, "%s/shmcore.%u.test.%s", test_directory, NOBODY, NODE);
    assert_int_equal(chmod(test_directory, 0755), 0);
    const int descriptor = open(path, O_RDWR | O_CREAT | O_EXCL, 0600);
    assert_true(descriptor >= 0);
    close(descriptor);
    const struct peer peer = start_peer(tries_what_it_may_not);
    peer_ends_well(&peer);
    assert_int_equal(chmod(test_directory, 0700), 0);
    remove_what_is_at(path);
}

static void a_symbolic_link(void **state)
{
    (void)state;
    char path[512], elsewhere[600];
    make_closed_segment(path);
    snprintf(elsewhere, sizeof elsewhere, "%s.elsewhere", path);
    assert_int_equal(rename(path, elsewhere), 0);
    assert_int_equal(symlink(elsewhere, path), 0);
    expect_refusal(EACCES);
    remove_what_is_at(path);
    remove_what_is_at(elsewhere);
}

static void no_regular_file(void **state)
{
    (void)state;
    char path[512];
    make_closed_segment(path);
    remove_what_is_at(path);
    assert_int_equal(mkdir(path, 0700), 0);
    expect_refusal(EPROTO);
    remove_what_is_at(path);
    assert_int_equal(mkfifo(path, 0600), 0);
    expect_refusal(EPROTO);
    remove_what_is_at(path);
}

static void change_byte(const char *path, off_t at)
{
    unsigned char byte;
    const int descriptor = open(path, O_RDWR);
    assert_int_equal(pread(descriptor, &byte, 1, at), 1);
    byte ^= 0x20;
    assert_int_equal(pwrite(descriptor, &byte, 1, at), 1);
    close(descriptor);
}

/* The first sixteen bytes say what the file is and which version made it. */
static void damaged_headers(void **state)
{
    (void)state;
    char path[512];
    make_closed_segment(path);
    for (off_t at = 0; at < 16; at++) {
        change_byte(path, at);
        expect_refusal(EPROTO);
        change_byte(path, at);
    }
    assert_int_equal(truncate(path, MIB / 2), 0);
    expect_refusal(EPROTO);
    assert_int_equal(truncate(path, 3), 0);
    expect_refusal(EPROTO);
    assert_int_equal(truncate(path, 2 * MIB), 0);
    expect_refusal(EPROTO);
    remove_what_is_at(path);
}

/* What a creator leaves that dies early: nothing, or a file that says nothing yet. */
static void half_born(void **state)
{
    (void)state;
    static const off_t lengths[] = {0, MIB};
    char path[512];
    shmcore_traits traits = lasting_traits();
    make_closed_segment(path);
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        assert_int_equal(truncate(path, 0), 0);
        assert_int_equal(truncate(path, lengths[i]), 0);
        traits.read_only = true;
        assert_refused(shmcore_open(NODE, &traits), EPROTO);
        traits.read_only = false;
        shmcore_segment *segment = shmcore_open(NODE, &traits);
        assert_non_null(segment);
        allocate(segment, "block", 100000);
        shmcore_close(segment);
    }
    remove_what_is_at(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        API_TEST(modes),           API_TEST(another_s_file),  API_TEST(a_directory_of_others),
        API_TEST(a_symbolic_link), API_TEST(no_regular_file), API_TEST(damaged_headers),
        API_TEST(half_born),
    };
    signal(SIGPIPE, SIG_IGN);
    if (make_test_directory("files") != 0)
        return 1;
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}

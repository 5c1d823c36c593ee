/* SPDX-License-Identifier: MIT
 *
 * core/segment: what is refused before a byte is believed, with which error, and in which words.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <stdio.h>
#include <sys/file.h>

#include "test-segment.h"

/* ---------------------------------------------------------------- what is refused */

static void damaged_header(void **state)
{
    (void)state;
    ON_ISLAND();
#define DAMAGE(field, value, word)                                                                           \
    {                                                                                                        \
        offsetof(struct header, field), sizeof((struct header *)NULL)->field, value, word                    \
    }
    static const struct {
        size_t offset, bytes;
        uint64_t value;
        const char *word;
    } damages[] = {
        DAMAGE(magic, LAYOUT_MAGIC + 1, "no segment of this library"),
        DAMAGE(magic, 0, "no segment of this library"),
        DAMAGE(version, LAYOUT_VERSION + 1, "another version"),
        DAMAGE(fingerprint, LAYOUT_FINGERPRINT ^ 1, "another version"),
        DAMAGE(capacity, SIZE * 2, "damaged"),
        DAMAGE(capacity, 0, "damaged"),
        DAMAGE(capacity, UINT64_MAX, "damaged"),
        DAMAGE(uid, 4711, "damaged"),
        DAMAGE(base, WINDOW_BASE - PAGE_BYTES, "address"),
        DAMAGE(base, WINDOW_END - PAGE_BYTES, "address"),
        DAMAGE(base, WINDOW_BASE + 8, "address"),
        DAMAGE(base, UINT64_MAX - PAGE_BYTES + 1, "address"),
    };
    for (size_t i = 0; i < COUNT_OF(damages); i++) {
        struct segment segment = must_open();
        segment_unmap(&segment);
        write_at(&damages[i].value, damages[i].bytes, damages[i].offset);
        assert_refused_as_is(EPROTO, damages[i].word);
        assert_true(exists()); /* it may be somebody's */
        unlink(path);
    }
    struct segment segment = must_open();
    memcpy(segment.view.header->name, "SHARED::else", 13);
    segment_unmap(&segment);
    assert_refused_as_is(EPROTO, "copied from another");
}

static void no_address_agreed_on(void **state)
{
    (void)state;
    ON_ISLAND();
    const uint64_t none = 0;
    struct segment segment = must_open();
    segment_unmap(&segment);
    write_at(&none, sizeof none, offsetof(struct header, base));
    segment = must_open();
    assert_false(segment.created || segment.stable);
    assert_string_equal(segment.view.header->name, NAME);
    segment_unmap(&segment);
}

static void wrong_length(void **state)
{
    (void)state;
    ON_ISLAND();
    static const struct {
        uint64_t bytes;
        const char *word;
    } lengths[] = {{SIZE - PAGE_BYTES, "damaged"},
                   {SIZE + PAGE_BYTES, "damaged"},
                   {SIZE / 2, "damaged"},
                   {sizeof(struct header), "damaged"},
                   {100, "no segment of this library"},
                   {1, "no segment of this library"}};
    for (size_t i = 0; i < COUNT_OF(lengths); i++) {
        struct segment segment = must_open();
        segment_unmap(&segment);
        assert_int_equal(truncate(path, (off_t)lengths[i].bytes), 0);
        assert_refused_as_is(EPROTO, lengths[i].word);
        unlink(path);
    }
}

static void other_mode(void **state)
{
    (void)state;
    ON_ISLAND();
    static const mode_t modes[] = {0644, 0606, 0660, 0601};
    struct segment segment = must_open();
    segment_unmap(&segment);
    for (size_t i = 0; i < COUNT_OF(modes); i++) {
        assert_int_equal(chmod(path, modes[i]), 0);
        assert_refused_as_is(EACCES, "0600");
    }
}

static void symbolic_link(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment segment = must_open();
    segment_unmap(&segment);
    assert_int_equal(rename(path, "/dev/shm/elsewhere"), 0);
    assert_int_equal(symlink("/dev/shm/elsewhere", path), 0);
    assert_refused_as_is(EACCES, "symbolic link");
    unlink("/dev/shm/elsewhere");
    assert_refused_as_is(EACCES, "symbolic link"); /* one that leads nowhere, too */
    struct stat status;
    assert_int_equal(stat("/dev/shm/elsewhere", &status), -1);
}

static void not_a_file(void **state)
{
    (void)state;
    ON_ISLAND();
    assert_int_equal(mkfifo(path, 0600), 0);
    assert_refused_as_is(EPROTO, "not a regular file");
    unlink(path);
    assert_int_equal(mkdir(path, 0700), 0);
    assert_refused_as_is(EPROTO, "not a regular file");
}

static int open_as_nobody(struct child *self, void *argument)
{
    struct segment segment;
    const struct segment_request *request = argument;
    (void)self;
    if (setresgid(65534, 65534, 65534) != 0 || setresuid(65534, 65534, 65534) != 0)
        return 2;
    if (segment_open(&segment, request, attach, NULL) == 0)
        return 1;
    return errno == EACCES && strstr(error_last(), "another user") != NULL ? 0 : 3;
}

static void other_owner(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment_request request = wish();
    struct segment segment = must_open();
    segment_unmap(&segment);
    if (geteuid() != 0 || chown(path, 65534, 65534) != 0)
        SKIP("only root can make another user's file");
    assert_refused_as_is(EACCES, "belongs to user 65534");
    assert_int_equal(chown(path, geteuid(), getegid()), 0);
    struct child child = child_start(open_as_nobody, &request);
    assert_int_equal(child_end(&child), 0);
    request.read_only = true;
    child = child_start(open_as_nobody, &request);
    assert_int_equal(child_end(&child), 0);
}

static void other_wishes(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment segment = must_open();
    segment_unmap(&segment);
    struct segment_request request = wish();
    request.size = 2 * SIZE;
    assert_refused(&request, EINVAL, "4194304 bytes and 8388608");
    request = wish();
    request.scope = 2;
    assert_refused(&request, EINVAL, "another scope");
    request = wish();
    request.persist = true;
    assert_refused(&request, EINVAL, "without persist");
    static const uint64_t fine[] = {0, SIZE, SIZE + 1, SIZE + 64 * KIBI - 1}; /* the same when rounded */
    for (size_t i = 0; i < COUNT_OF(fine); i++) {
        request = wish();
        request.size = fine[i];
        assert_int_equal(open_it(&segment, &request), 0);
        segment_unmap(&segment);
    }
    unlink(path);
    request = wish();
    request.persist = true;
    assert_int_equal(open_it(&segment, &request), 0);
    segment_unmap(&segment);
    request.persist = false;
    assert_refused(&request, EINVAL, "with persist");
}

static void other_pid_namespace(void **state)
{
    (void)state;
    ON_ISLAND();
    const uint64_t elsewhere = os_pid_namespace() + 1;
    struct segment segment = must_open();
    segment_unmap(&segment);
    write_at(&elsewhere, sizeof elsewhere, offsetof(struct header, pid_namespace));
    struct segment_request request = wish();
    assert_refused(&request, ENOTSUP, "pid namespace");
    request.read_only = true; /* looking is safe */
    assert_int_equal(open_it(&segment, &request), 0);
    segment_unmap(&segment);
}

static void other_file_system(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment_request request = wish();
    request.directory = "/proc/self";
    assert_refused(&request, ENOTSUP, "not on a tmpfs");
    request.directory = "/nowhere/at/all";
    assert_refused(&request, ENOENT, "/nowhere/at/all");
    char longest[300];
    memset(longest, 'd', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    request.directory = longest;
    assert_refused(&request, EINVAL, "too long");
    request = wish();
    request.name = "no such word";
    assert_refused(&request, EINVAL, "does not contain");
}

static int hold_the_file(struct child *self, void *argument)
{
    (void)argument;
    const int descriptor = open(path, O_RDWR | O_CLOEXEC);
    if (descriptor < 0 || flock(descriptor, LOCK_EX) != 0)
        return 1;
    child_say(self, 'h');
    child_hear(self);
    return 0;
}

/* Somebody is stopped in the middle of opening: the others wait for a while, and then say so. */
static void locked_by_a_stopped_process(void **state)
{
    (void)state;
    ON_ISLAND();
    struct segment segment = must_open();
    struct child child = child_start(hold_the_file, NULL);
    assert_int_equal(child_hear(&child), 'h');
    child_stop(&child);
    struct segment_request request = wish();
    assert_refused(&request, EBUSY, "locked for too long");
    request.read_only = true; /* who only looks waits for nobody */
    struct segment reader;
    segment_unmap(&segment);
    assert_int_equal(open_it(&reader, &request), 0);
    segment_unmap(&reader);
    child_kill(&child);
    segment = must_open();
    segment_unmap(&segment);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, clear, clear)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(damaged_header),
        TEST(no_address_agreed_on),
        TEST(wrong_length),
        TEST(other_mode),
        TEST(symbolic_link),
        TEST(not_a_file),
        TEST(other_owner),
        TEST(other_wishes),
        TEST(other_pid_namespace),
        TEST(other_file_system),
        TEST(locked_by_a_stopped_process),
    };
    return cmocka_run_group_tests_name("segment-refused", tests, land, NULL);
}

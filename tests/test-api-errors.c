/* SPDX-License-Identifier: MIT
 *
 * What the public API says when the surroundings are not as they should be: limits of the process, a full
 * file system, a full process table, stray writes, processes that are stopped. With the argument "patience":
 * what takes half a minute because somebody is waited for that long.
 */
#include "test-api.h"

#include <sched.h>
#include <sys/file.h>
#include <sys/mount.h>
#include <sys/resource.h>

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

/* ---------------------------------------------------------------- limits of the process */

static void has_little_address_space(const struct peer *parent)
{
    const struct rlimit limit = {64 * MIB, 64 * MIB};
    const shmcore_traits traits = traits_here(256 * MIB);
    REQUIRE(setrlimit(RLIMIT_AS, &limit) == 0);
    REQUIRE(shmcore_open(NODE, &traits) == NULL && errno == ENOMEM);
    REQUIRE(strstr(shmcore_error(), "ulimit -v") != NULL);
    tell(parent, 1);
}

static void has_a_file_size_limit(const struct peer *parent)
{
    const struct rlimit limit = {2 * MIB, 2 * MIB};
    const shmcore_traits traits = traits_here(8 * MIB);
    REQUIRE(setrlimit(RLIMIT_FSIZE, &limit) == 0);
    REQUIRE(shmcore_open(NODE, &traits) == NULL && errno != 0);
    REQUIRE(strstr(shmcore_error(), "ulimit -f") != NULL);
    tell(parent, 1);
}

static void has_no_descriptor_left(const struct peer *parent)
{
    const struct rlimit limit = {0, 0};
    const shmcore_traits traits = traits_here(8 * MIB);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    REQUIRE(setrlimit(RLIMIT_NOFILE, &limit) == 0);
    for (int i = 0; i < 40; i++) { /* an open segment needs none */
        char name[16];
        snprintf(name, sizeof name, "%d", i);
        REQUIRE(shmcore_allocate(segment, name, 100000) != NULL);
    }
    REQUIRE(shmcore_open("SHARED::two", &traits) == NULL && errno == EMFILE);
    tell(parent, 1);
}

static void limits(void **state)
{
    (void)state;
    void (*const bodies[])(const struct peer *) = {has_little_address_space, has_a_file_size_limit,
                                                   has_no_descriptor_left};
    const shmcore_traits traits = traits_here(0);
    for (size_t i = 0; i < sizeof bodies / sizeof *bodies; i++) {
        const struct peer peer = start_peer(bodies[i]);
        peer_ends_well(&peer);
        shmcore_remove(NODE, &traits); /* the last one could not close */
        assert_int_equal(files_in_directory(), 0);
    }
}

/* ---------------------------------------------------------------- a small file system */

static unsigned char *filled[500000];

/* Writes only when nothing more is to be had: all memory must have been there when it was promised. */
static size_t fill(shmcore_segment *segment, size_t bytes)
{
    size_t count = 0;
    for (;; count++) {
        char name[48];
        snprintf(name, sizeof name, "%zu/%zu", bytes, count);
        REQUIRE(count < sizeof filled / sizeof *filled);
        filled[count] = shmcore_allocate(segment, name, bytes);
        if (filled[count] == NULL)
            break;
    }
    REQUIRE(errno == ENOMEM);
    for (size_t i = 0; i < count; i++)
        memset(filled[i], 0xa5, bytes); /* else SIGBUS */
    return count;
}

/* Puts a tmpfs of that size over the test's directory, for this process alone. */
static int mount_small(const char *options)
{
    return unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
           mount("small", test_directory, "tmpfs", 0, options) == 0;
}

static void tries_to_mount(const struct peer *parent)
{
    (void)parent;
    _exit(mount_small("size=64k,mode=700") ? 0 : 1);
}

static void skip_unless_mounting_works(void)
{
    const struct peer peer = start_peer(tries_to_mount);
    if (peer_status(&peer) == 0)
        return;
    print_message("skipped: a small tmpfs can only be mounted by root, with CAP_SYS_ADMIN\n");
    skip();
}

static void is_on_a_small_file_system(const struct peer *parent)
{
    static const size_t sizes[] = {4 * MIB, 100000, 30000, 1000, 16};
    enum { COUNT = sizeof sizes / sizeof *sizes };
    shmcore_traits traits = traits_here(64 * MIB);
    REQUIRE(mount_small("size=16m,mode=700"));
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    REQUIRE(shmcore_allocate(segment, "larger than the file system", 20 * MIB) == NULL && errno == ENOMEM);
    REQUIRE(shmcore_find(segment, "larger than the file system", NULL) == NULL && errno == ENOENT);
    for (size_t first = 0; first < COUNT; first++) {
        REQUIRE(fill(segment, sizes[first]) > 8 * MIB / sizes[first] / 4); /* a name costs some, too */
        for (size_t i = 0; i < COUNT; i++)
            fill(segment, sizes[i]);
        REQUIRE(shmcore_close(segment) == 0);
        segment = shmcore_open(NODE, &traits);
        REQUIRE(segment != NULL);
    }
    REQUIRE(shmcore_close(segment) == 0);
    tell(parent, 1);
}

static void a_full_file_system_is_enomem(void **state)
{
    (void)state;
    skip_unless_mounting_works();
    const struct peer peer = start_peer(is_on_a_small_file_system);
    peer_ends_well(&peer);
}

/* Not even the tables fit. */
static void is_on_a_tiny_file_system(const struct peer *parent)
{
    const shmcore_traits traits = traits_here(64 * MIB);
    REQUIRE(mount_small("size=64k,mode=700"));
    REQUIRE(shmcore_open(NODE, &traits) == NULL && errno == ENOMEM);
    REQUIRE(files_in_directory() == 0);
    tell(parent, 1);
}

static void a_tiny_file_system_is_enomem(void **state)
{
    (void)state;
    skip_unless_mounting_works();
    const struct peer peer = start_peer(is_on_a_tiny_file_system);
    peer_ends_well(&peer);
}

/* ---------------------------------------------------------------- too many, too wild, too slow */

static void takes_a_row(const struct peer *parent)
{
    const shmcore_traits traits = traits_here(MIB);
    hear(parent);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    tell(parent, segment != NULL ? 0 : (uint64_t)errno);
    hear(parent);
    if (segment != NULL)
        REQUIRE(shmcore_close(segment) == 0);
}

static void a_full_process_table(void **state)
{
    (void)state;
    enum { MOST = 65 }; /* a segment of 1 MiB has 64 rows */
    struct peer peers[MOST];
    int refused = 0;
    for (int i = 0; i < MOST; i++)
        peers[i] = start_peer(takes_a_row);
    for (int i = 0; i < MOST; i++) {
        tell(&peers[i], 1);
        const int code = (int)hear(&peers[i]);
        refused += code != 0;
        assert_true(code == 0 || (code == EUSERS && i == MOST - 1));
    }
    assert_int_equal(refused, 1);
    kill_peer(&peers[7]); /* its row is free for the next one */
    shmcore_segment *segment = open_here(NODE, 0);
    shmcore_close(segment);
    for (int i = 0; i < MOST; i++) {
        if (i == 7)
            continue;
        tell(&peers[i], 1);
        peer_ends_well(&peers[i]);
    }
}

/* A program that writes before its block destroys what the library keeps there. It must be told, not crash.
 */
static void stray_writes(void **state)
{
    (void)state;
    static const unsigned char values[] = {0xff, 0x00, 0x41};
    for (size_t i = 0; i < sizeof values; i++) {
        shmcore_segment *segment = open_here(NODE, MIB);
        char *block = allocate(segment, "block", 4096);
        const char *before = (char *)(((uintptr_t)block - 1) & ~(uintptr_t)0xffff);
        memset((void *)(uintptr_t)before, values[i], (size_t)(block - before));
        for (int call = 0; call < 3; call++) {
            char name[] = "name 0";
            name[5] = (char)('0' + call);
            errno = 0;
            assert_true(shmcore_allocate(segment, name, 4096) != NULL || errno == EIO || errno == ENOMEM);
            errno = 0;
            assert_true(shmcore_allocate(segment, "block", 4096) != NULL || errno == EIO || errno == ENOMEM);
            errno = 0;
            assert_true(shmcore_deallocate(segment, block) == 0 || errno == EIO || errno == EINVAL);
        }
        shmcore_close(segment);
        assert_int_equal(files_in_directory(), 0);
    }
}

static void never_rests(const struct peer *parent)
{
    const shmcore_traits traits = traits_here(MIB); /* so small that all names are under one lock */
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    _Atomic unsigned *rounds = shmcore_allocate(segment, "rounds", sizeof *rounds);
    REQUIRE(rounds != NULL);
    tell(parent, 1);
    for (;; ++*rounds) { /* small enough to be zeroed with the lock held */
        void *block = shmcore_allocate(segment, "a name that is longer than sixteen bytes", 20000);
        REQUIRE(block != NULL || errno == EBUSY);
        REQUIRE(block == NULL || shmcore_deallocate(segment, block) == 0);
    }
}

static void a_stopped_process_is_not_waited_for(void **state)
{
    (void)state;
    const struct peer peer = start_peer(never_rests);
    int status;
    hear(&peer);
    shmcore_segment *segment = open_here(NODE, 0);
    void *block = NULL;
    const _Atomic unsigned *rounds = shmcore_find(segment, "rounds", NULL);
    assert_non_null(rounds);
    for (int tries = 0; tries < 1000; tries++) { /* until it is stopped where it holds the lock */
        const unsigned before = *rounds;
        while (*rounds == before)
            sched_yield();
        assert_int_equal(kill(peer.pid, SIGSTOP), 0);
        assert_int_equal(waitpid(peer.pid, &status, WUNTRACED), peer.pid);
        assert_true(WIFSTOPPED(status));
        block = shmcore_allocate(segment, "other", 10);
        if (block == NULL)
            break;
        assert_int_equal(shmcore_deallocate(segment, block), 0);
        kill(peer.pid, SIGCONT);
    }
    assert_null(block);
    assert_int_equal(errno, EBUSY);
    kill(peer.pid, SIGCONT);
    do /* until it has got a processor and gone on: the lock is only looked at meanwhile */
        block = shmcore_allocate(segment, "other", 10);
    while (block == NULL && errno == EBUSY);
    assert_non_null(block);
    int freed;
    do
        freed = shmcore_deallocate(segment, block);
    while (freed != 0 && errno == EBUSY);
    assert_int_equal(freed, 0);
    kill_peer(&peer);
    shmcore_close(segment);
}

/* ---------------------------------------------------------------- patience */

static void opens_late(const struct peer *parent)
{
    const shmcore_traits traits = traits_here(MIB);
    hear(parent);
    REQUIRE(shmcore_open(NODE, &traits) == NULL && errno == EBUSY);
    REQUIRE(strstr(shmcore_error(), "locked") != NULL);
    tell(parent, 1);
}

static void a_file_that_stays_locked(void **state)
{
    (void)state;
    char path[512];
    const struct peer peer = start_peer(opens_late);
    make_closed_segment(path);
    const int descriptor = open(path, O_RDWR);
    assert_int_equal(flock(descriptor, LOCK_EX), 0);
    tell(&peer, 1);
    hear(&peer);
    close(descriptor);
    peer_ends_well(&peer);
    remove_what_is_at(path);
}

static void fills_a_big_block(const struct peer *parent)
{
    const shmcore_traits traits = traits_here(2 * GIB);
    shmcore_segment *segment = shmcore_open(NODE, &traits);
    REQUIRE(segment != NULL);
    tell(parent, 1);
    hear(parent);
    REQUIRE(shmcore_allocate(segment, "big", GIB / 2) != NULL);
    tell(parent, 1);
    hear(parent);
}

/* Stops the peer while its block is there and cannot be found yet. */
static struct peer stop_in_the_middle(shmcore_segment **segment)
{
    int status;
    const struct peer peer = start_peer(fills_a_big_block);
    hear(&peer);
    *segment = open_here(NODE, 0);
    tell(&peer, 1);
    while (statistics_of(*segment).blocks == 0)
        sched_yield();
    kill(peer.pid, SIGSTOP);
    assert_int_equal(waitpid(peer.pid, &status, WUNTRACED), peer.pid);
    return peer;
}

static void a_creator_that_is_stopped(void **state)
{
    (void)state;
    shmcore_segment *segment;
    const struct peer peer = stop_in_the_middle(&segment);
    assert_refused(shmcore_find(segment, "big", NULL), ENOENT);
    assert_refused(shmcore_allocate(segment, "big", GIB / 2), EBUSY);
    kill(peer.pid, SIGCONT);
    const char *block = allocate(segment, "big", GIB / 2);
    assert_int_equal(block_at(block).refs, 2);
    kill_peer(&peer);
    shmcore_close(segment);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        API_TEST(limits),
        API_TEST(a_full_file_system_is_enomem),
        API_TEST(a_tiny_file_system_is_enomem),
        API_TEST(a_full_process_table),
        API_TEST(stray_writes),
        API_TEST(a_stopped_process_is_not_waited_for),
    };
    const struct CMUnitTest slow_tests[] = {
        API_TEST(a_file_that_stays_locked),
        API_TEST(a_creator_that_is_stopped),
    };
    signal(SIGPIPE, SIG_IGN);
    if (make_test_directory("errors") != 0)
        return 1;
    if (argc > 1 && strcmp(argv[1], "patience") == 0)
        return cmocka_run_group_tests(slow_tests, NULL, remove_test_directory);
    return cmocka_run_group_tests(tests, NULL, remove_test_directory);
}

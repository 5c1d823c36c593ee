/* SPDX-License-Identifier: MIT
 *
 * What the tests of the public API share: a directory of their own on /dev/shm, so that no other test's
 * segments are met, and peers: other processes that are forked before a segment is open, and told by pipes
 * what to do next, so that nothing has to be waited for with a clock.
 *
 * A peer has no cmocka: it says REQUIRE() and ends with status 99 when something is not so.
 */
#ifndef TEST_API_H
#define TEST_API_H

#include "shmcore.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#define MIB  ((size_t)1 << 20)
#define GIB  ((size_t)1 << 30)
#define NODE "SHARED::node"

static char test_directory[128];

/* ---------------------------------------------------------------- the directory */

static inline unsigned empty_directory(void)
{
    unsigned found = 0;
    DIR *directory = opendir(test_directory);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;) {
        char path[512];
        if (entry->d_name[0] == '.')
            continue;
        snprintf(path, sizeof path, "%s/%s", test_directory, entry->d_name);
        found++;
        if (unlink(path) != 0)
            rmdir(path);
    }
    if (directory != NULL)
        closedir(directory);
    return found;
}

/* Waits for the end of the test and of its peers, however they end, and removes what they left. */
static inline void clean_up_afterwards(int when_closed)
{
    char nothing;
    setsid();
    for (int descriptor = 0; descriptor < 64; descriptor++)
        if (descriptor != when_closed)
            close(descriptor);
    while (read(when_closed, &nothing, 1) < 0 && errno == EINTR)
        continue;
    empty_directory();
    rmdir(test_directory);
    _exit(0);
}

static inline int make_test_directory(const char *test)
{
    int ends[2];
    snprintf(test_directory, sizeof test_directory, "/dev/shm/shmcore-%s-%d", test, (int)getpid());
    if (mkdir(test_directory, 0700) != 0 || pipe2(ends, O_CLOEXEC) != 0)
        return -1;
    if (fork() == 0)
        clean_up_afterwards(ends[0]);
    return close(ends[0]); /* the other end is open as long as we are */
}

/* The setup of every test: one that hangs, perhaps because the one before crashed with a lock held, ends
 * here. */
static inline int limit_time(void **state)
{
    (void)state;
    alarm(250);
    return 0;
}

/* The teardown of every test: nothing may be left, and what is left must not trouble the next test. */
static inline int nothing_is_left(void **state)
{
    (void)state;
    const unsigned left = empty_directory();
    if (left != 0)
        print_error("%u files are left in %s\n", left, test_directory);
    return left == 0 ? 0 : -1;
}

static inline int remove_test_directory(void **state)
{
    (void)state;
    empty_directory();
    return rmdir(test_directory);
}

#define API_TEST(function) cmocka_unit_test_setup_teardown(function, limit_time, nothing_is_left)

static inline unsigned files_in_directory(void)
{
    unsigned found = 0;
    DIR *directory = opendir(test_directory);
    for (struct dirent *entry; directory != NULL && (entry = readdir(directory)) != NULL;)
        found += entry->d_name[0] != '.';
    if (directory != NULL)
        closedir(directory);
    return found;
}

static inline shmcore_traits traits_here(size_t size)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.size = size;
    traits.dir = test_directory;
    traits.job = "test";
    return traits;
}

/* ---------------------------------------------------------------- expectations */

#define assert_fails(call, code)                                                                             \
    do {                                                                                                     \
        errno = 0;                                                                                           \
        assert_int_equal((call), -1);                                                                        \
        assert_int_equal(errno, (code));                                                                     \
        assert_string_not_equal(shmcore_error(), "");                                                        \
    } while (0)

#define assert_refused(call, code)                                                                           \
    do {                                                                                                     \
        errno = 0;                                                                                           \
        assert_null(call);                                                                                   \
        assert_int_equal(errno, (code));                                                                     \
        assert_string_not_equal(shmcore_error(), "");                                                        \
    } while (0)

static inline shmcore_segment *open_here(const char *name, size_t size)
{
    const shmcore_traits traits = traits_here(size);
    shmcore_segment *segment = shmcore_open(name, &traits);
    if (segment == NULL)
        fail_msg("%s: %s", name, shmcore_error());
    return segment;
}

static inline void *allocate(shmcore_segment *segment, const char *name, size_t bytes)
{
    void *pointer = shmcore_allocate(segment, name, bytes);
    if (pointer == NULL)
        fail_msg("%s, %zu bytes: %s", name, bytes, shmcore_error());
    return pointer;
}

static inline shmcore_statistics statistics_of(const shmcore_segment *segment)
{
    shmcore_statistics statistics;
    assert_int_equal(shmcore_stat(segment, &statistics), 0);
    return statistics;
}

static inline shmcore_block block_at(const void *pointer)
{
    shmcore_block block;
    assert_int_equal(shmcore_block_of(pointer, &block), 0);
    return block;
}

static inline int is_filled_with(const void *memory, unsigned char value, size_t bytes)
{
    const unsigned char *at = memory;
    return bytes == 0 || (at[0] == value && memcmp(at, at + 1, bytes - 1) == 0);
}

/* What is done many times at random is done half as often, but not with SHM_TESTS=long in the environment. */
static inline unsigned repeated(unsigned times)
{
    const char *form = getenv("SHM_TESTS");
    return form != NULL && strcmp(form, "long") == 0 ? times : times / 2;
}

/* ---------------------------------------------------------------- peers */

struct peer {
    pid_t pid;
    int in, out;
};

#define REQUIRE(condition)                                                                                   \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            dprintf(STDERR_FILENO, "%s:%d: peer: not so: %s (%s)\n", __FILE__, __LINE__, #condition,         \
                    shmcore_error());                                                                        \
            _exit(99);                                                                                       \
        }                                                                                                    \
    } while (0)

static inline void tell(const struct peer *peer, uint64_t value)
{
    if (write(peer->out, &value, sizeof value) != (ssize_t)sizeof value)
        print_error("the other side of the pipe is gone\n");
}

/* In a peer, the end of the pipe is the end. */
static inline uint64_t hear(const struct peer *peer)
{
    uint64_t value = 0;
    const ssize_t got = read(peer->in, &value, sizeof value);
    if (got == (ssize_t)sizeof value)
        return value;
    if (peer->pid == 0)
        _exit(98);
    fail_msg("peer %d said nothing and ended", (int)peer->pid);
    return 0;
}

/* To be called with no segment open. `body` gets its side of the pipes; when it returns the peer is gone
 * without having closed anything. */
static inline struct peer start_peer(void (*body)(const struct peer *))
{
    int down[2], up[2];
    assert_int_equal(pipe2(down, O_CLOEXEC), 0);
    assert_int_equal(pipe2(up, O_CLOEXEC), 0);
    fflush(NULL);
    const pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        const struct peer self = {0, down[0], up[1]};
        prctl(PR_SET_PDEATHSIG, SIGKILL);
        signal(SIGPIPE, SIG_IGN);
        close(down[1]);
        close(up[0]);
        body(&self);
        _exit(0);
    }
    close(down[0]);
    close(up[1]);
    return (struct peer){pid, up[0], down[1]};
}

static inline int peer_status(const struct peer *peer)
{
    int status = -1;
    close(peer->out);
    assert_int_equal(waitpid(peer->pid, &status, 0), peer->pid);
    close(peer->in);
    return status;
}

static inline void peer_ends_well(const struct peer *peer)
{
    const int status = peer_status(peer);
    if (status != 0)
        fail_msg("peer %d ended with status %x", (int)peer->pid, (unsigned)status);
}

static inline void kill_peer(const struct peer *peer)
{
    assert_int_equal(kill(peer->pid, SIGKILL), 0);
    const int status = peer_status(peer);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

#endif

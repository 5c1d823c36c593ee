/* SPDX-License-Identifier: MIT
 *
 * What the tests of core/segment share: a segment NAME in a /dev/shm of the test's own, and what its opening
 * says. To be included after cmocka.h.
 */
#ifndef SHM_TEST_SEGMENT_H
#define SHM_TEST_SEGMENT_H

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "child.h"
#include "error.h"
#include "island.h"
#include "os.h"
#include "plain.h"
#include "segment.h"

#define NAME "SHARED::test"
#define SIZE (4 * MEBI)

static const char *why_not;
static char path[512];

static inline int land(void **state)
{
    (void)state;
    segment_path(path, "/dev/shm", geteuid(), "unit", NAME);
    if (island_make(64 * MEBI, &why_not))
        why_not = NULL;
    return 0;
}

static inline int clear(void **state)
{
    (void)state;
    if (why_not == NULL && unlink(path) != 0)
        rmdir(path);
    return 0;
}

#define ON_ISLAND()                                                                                          \
    do {                                                                                                     \
        if (why_not != NULL)                                                                                 \
            SKIP("%s", why_not);                                                                             \
    } while (0)

static inline struct segment_request wish(void)
{
    return (struct segment_request){
        .name = NAME, .directory = "/dev/shm", .job = "unit", .size = SIZE, .uid = geteuid()};
}

/* Called under the file's lock: counts, and fails when told to. */
static inline int attach(struct segment *segment, void *argument)
{
    int *calls = argument;
    assert_int_equal(segment->view.header->ready, LAYOUT_READY);
    if (calls == NULL)
        return 0;
    return ++*calls < 0 ? error_set(ESHUTDOWN, "told to fail") : 0;
}

static inline int open_it(struct segment *segment, const struct segment_request *request)
{
    return segment_open(segment, request, attach, NULL);
}

static inline struct segment must_open(void)
{
    struct segment segment;
    const struct segment_request request = wish();
    if (open_it(&segment, &request) != 0)
        fail_msg("%s", error_last());
    return segment;
}

static inline void assert_refused(const struct segment_request *request, int code, const char *word)
{
    struct segment segment;
    errno = 0;
    if (open_it(&segment, request) == 0)
        fail_msg("it was opened, and should have been refused with '%s'", word);
    assert_int_equal(errno, code);
    assert_null(segment.view.base);
    if (strstr(error_last(), word) == NULL)
        fail_msg("'%s' does not say '%s'", error_last(), word);
}

static inline void assert_refused_as_is(int code, const char *word)
{
    struct segment_request request = wish();
    assert_refused(&request, code, word);
    request.read_only = true;
    assert_refused(&request, code, word);
}

static inline bool yes(struct segment *segment, void *argument)
{
    (void)segment, (void)argument;
    return true;
}

static inline bool no(struct segment *segment, void *argument)
{
    (void)segment, (void)argument;
    return false;
}

static inline bool exists(void)
{
    struct stat status;
    return lstat(path, &status) == 0;
}

static inline void write_at(const void *data, size_t bytes, size_t offset)
{
    const int descriptor = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    assert_true(descriptor >= 0);
    assert_int_equal(pwrite(descriptor, data, bytes, (off_t)offset), bytes);
    close(descriptor);
}

#endif

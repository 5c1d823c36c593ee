/* SPDX-License-Identifier: MIT
 *
 * A second process comes to data that a first one has, and reads it once, word by word.
 *
 *     bench-second attach MIB    it is a block of a segment: open and attach
 *     bench-second copy MIB      it is a file, in the directory that is TMPDIR, in the page cache: malloc and
 * read()
 *
 * Prints GiB/s of the second process, from its first call to the sum of all words.
 */
#include <shmcore.h>

#include <fcntl.h>
#include <limits.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

#define READ_BYTES ((size_t)4 << 20)

static char path[PATH_MAX];

static void fail(const char *why)
{
    fprintf(stderr, "bench-second: %s\n", why);
    exit(1);
}

/* What the first has, and what the second does to get it. */
struct way {
    void (*prepare)(size_t bytes);
    const uint64_t *(*get)(size_t bytes);
};

static void *attach(size_t bytes)
{
    shmcore_segment *segment = shmcore_open("SHARED::bench", NULL);
    void *block = segment == NULL ? NULL : shmcore_allocate(segment, "table", bytes);
    if (block == NULL)
        fail(shmcore_error());
    return block;
}

static void prepare_block(size_t bytes)
{
    memset(attach(bytes), 1, bytes);
}

static const uint64_t *get_block(size_t bytes)
{
    return attach(bytes);
}

static void prepare_file(size_t bytes)
{
    const char *directory = getenv("TMPDIR");
    char *piece = malloc(READ_BYTES);
    snprintf(path, sizeof path, "%s/bench-second.XXXXXX", directory == NULL ? "/tmp" : directory);
    const int file = mkstemp(path);
    if (file < 0 || piece == NULL)
        fail("no file");
    memset(piece, 1, READ_BYTES);
    for (size_t done = 0; done < bytes; done += READ_BYTES)
        if (write(file, piece, READ_BYTES) != (ssize_t)READ_BYTES)
            fail("the file cannot be written");
    fsync(file); /* what is written in the background is no part of this */
    close(file);
    free(piece);
}

static const uint64_t *get_copy(size_t bytes)
{
    char *copy = malloc(bytes);
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    if (copy == NULL || file < 0)
        fail("no file");
    for (size_t done = 0; done < bytes; done += READ_BYTES)
        if (read(file, copy + done, READ_BYTES) != (ssize_t)READ_BYTES)
            fail("the file cannot be read");
    close(file);
    return (const uint64_t *)(void *)copy;
}

static uint64_t sum(const uint64_t *word, size_t bytes)
{
    uint64_t all = 0;
    for (size_t i = 0; i < bytes / sizeof *word; i++)
        all += word[i];
    return all;
}

static int be_second(const struct way *way, size_t bytes, int begin)
{
    char byte;
    if (read(begin, &byte, 1) != 1)
        return 1;
    const double start = now();
    const uint64_t all = sum(way->get(bytes), bytes);
    const double taken = now() - start;
    if (all != UINT64_C(0x0101010101010101) * (bytes / sizeof all))
        fail("it is not what the first had");
    print_figure("read", (double)bytes / (double)(1 << 30) / (taken / 1e9));
    return 0;
}

/* The second is forked before the first has anything, so it has inherited nothing. Its path goes through the
 * pipe. */
static int measure(const struct way *way, size_t bytes)
{
    int begin[2], status = 1;
    if (pipe(begin) != 0)
        return 1;
    const pid_t second = fork();
    if (second == 0) {
        close(begin[1]);
        if (read(begin[0], path, sizeof path) != (ssize_t)sizeof path)
            return 1;
        return be_second(way, bytes, begin[0]);
    }
    close(begin[0]);
    way->prepare(bytes);
    if (write(begin[1], path, sizeof path) != (ssize_t)sizeof path || write(begin[1], "", 1) != 1)
        fail("the second process has ended");
    waitpid(second, &status, 0);
    if (path[0] != '\0')
        unlink(path);
    return status != 0;
}

int main(int count, char **words)
{
    static const struct way block = {prepare_block, get_block}, copy = {prepare_file, get_copy};
    const size_t bytes = number_in(count, words, 2, 1024) << 20;
    if (bytes % READ_BYTES != 0 || bytes == 0)
        return 2;
    if (count > 1 && strcmp(words[1], "attach") == 0)
        return measure(&block, bytes);
    if (count > 1 && strcmp(words[1], "copy") == 0)
        return measure(&copy, bytes);
    return 2;
}

/* SPDX-License-Identifier: MIT
 *
 * show and cat: one block, its fields or its bytes.
 *
 * A viewer holds no reference, so the block may be freed under it. The bytes are handed to write(2)
 * straight from the segment: should the memory be gone, the kernel says EFAULT and nobody dies; and
 * after the last byte the block is looked up again, so that stale bytes are at least not taken for
 * good ones. A block that changes while it is copied is copied as it changes.
 */
#include "blocks.h"
#include "display.h"
#include "json_output.h"
#include "segments.h"
#include "tool.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int say_missing(const char *name)
{
    complain("cannot find the block '%s': %s", name, shmcore_error());
    return -1;
}

static int find_block(shmcore_segment *segment, const char *name, struct shmcore_block *block)
{
    void *pointer = shmcore_find(segment, name, NULL);
    if (!pointer || shmcore_block_of(pointer, block) < 0)
        return say_missing(name);
    if (strcmp(block->name, name) != 0) {
        complain("the block '%s' was freed while it was looked at", name);
        return -1;
    }
    return 0;
}

static void print_block(const struct shmcore_block *block)
{
    char size[DISPLAY_SIZE_MAX];
    char *name = display_escape(block->name, strlen(block->name));
    char *segment = display_escape(block->segment, strlen(block->segment));
    printf("name     %s\n"
           "segment  %s\n"
           "kind     %s\n"
           "bytes    %zu (%s)\n"
           "address  %p\n"
           "owner    %jd\n"
           "refs     %u\n",
           name, segment, block_kind_name(block->kind), block->bytes, display_size(block->bytes, false, size),
           block->address, (intmax_t)block->owner, (unsigned)block->refs);
    free(name);
    free(segment);
}

static int show_block(const struct options *options, shmcore_segment *segment)
{
    struct shmcore_block block;
    if (find_block(segment, options->operands[1], &block) < 0)
        return STATUS_FAILED;
    if (options->json) {
        struct json_object *object = block_json(&block);
        json_put_text(object, "segment", block.segment);
        json_finish(object);
    } else {
        print_block(&block);
    }
    return STATUS_DONE;
}

/* 0 to try again, -1 for a real error: a terminal or pipe made non-blocking by others is waited for. */
static int wait_writable(void)
{
    struct pollfd output = {.fd = STDOUT_FILENO, .events = POLLOUT};
    if (errno == EINTR)
        return 0;
    if (errno != EAGAIN)
        return -1;
    return poll(&output, 1, -1) < 0 && errno != EINTR ? -1 : 0;
}

/* A reader that has gone away needs no message: it knows. */
static int write_out(const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t written = write(STDOUT_FILENO, bytes, count);
        if (written >= 0) {
            bytes += written;
            count -= (size_t)written;
        } else if (wait_writable() < 0) {
            if (errno == EFAULT)
                complain("the block's memory was given back while it was read");
            else if (errno != EPIPE)
                complain("cannot write the output: %s", strerror(errno));
            return -1;
        }
    }
    return 0;
}

static int copy_block(const struct options *options, shmcore_segment *segment)
{
    const char *name = options->operands[1];
    size_t bytes = 0;
    const char *start = shmcore_find(segment, name, &bytes);
    if (!start) {
        say_missing(name);
        return STATUS_FAILED;
    }
    if (options->offset > bytes) {
        complain("the offset %ju lies beyond the end of the block, which has %zu bytes",
                 (uintmax_t)options->offset, bytes);
        return STATUS_FAILED;
    }
    size_t rest = bytes - (size_t)options->offset;
    if (write_out(start + options->offset, options->count < rest ? (size_t)options->count : rest) < 0)
        return STATUS_FAILED;
    if (shmcore_find(segment, name, NULL) == start)
        return STATUS_DONE;
    complain("the block '%s' was freed while it was read; the output is not to be trusted", name);
    return STATUS_FAILED;
}

static int with_segment(const struct options *options,
                        int (*work)(const struct options *options, shmcore_segment *segment))
{
    shmcore_segment *segment = segments_view(options, options->operands[0]);
    if (!segment)
        return STATUS_FAILED;
    int status = work(options, segment);
    shmcore_close(segment);
    return status;
}

static int perform_show(const struct options *options)
{
    return with_segment(options, show_block);
}

static int perform_cat(const struct options *options)
{
    return with_segment(options, copy_block);
}

const struct command command_show = {
    .name = "show",
    .summary = "describe one block",
    .help = "Usage: shmpreload show [OPTION]… SEGMENT NAME\n"
            "Describes the block NAME of SEGMENT, one field a line.\n"
            "\n"
            "      --json          a JSON object\n"
            "      --dir DIR       where the segments lie (default /dev/shm)\n"
            "      --job JOB       the job that the segment belongs to; '' for none\n"
            "  -h, --help          this text\n"
            "\n"
            "The address is the block's in this command; it is the same in every process unless the\n"
            "segment could not be mapped at its agreed place.\n",
    .accepts = "NDJ",
    .operands_least = 2,
    .operands_most = 2,
    .perform = perform_show,
};

const struct command command_cat = {
    .name = "cat",
    .summary = "write the bytes of one block to standard output",
    .help = "Usage: shmpreload cat [OPTION]… SEGMENT NAME\n"
            "Writes the bytes of the block NAME of SEGMENT to standard output, as they are.\n"
            "\n"
            "  -o, --offset OFFSET  begin at this byte (K, M, G and T are understood)\n"
            "  -n, --count COUNT    write at most so many bytes\n"
            "      --dir DIR        where the segments lie (default /dev/shm)\n"
            "      --job JOB        the job that the segment belongs to; '' for none\n"
            "  -h, --help           this text\n"
            "\n"
            "It holds nothing: a block that is freed meanwhile makes the command fail at the end.\n",
    .accepts = "onDJ",
    .operands_least = 2,
    .operands_most = 2,
    .perform = perform_cat,
};

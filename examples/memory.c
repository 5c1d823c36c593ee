/* SPDX-License-Identifier: MIT
 *
 * Reads /proc with plain system calls into memory on the stack.
 */
#include "memory.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TEXT_MOST = 8192 };

/* The whole of a short file. */
static bool read_text(const char *path, char text[TEXT_MOST])
{
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    size_t length = 0;
    ssize_t got = -1;
    while (file >= 0 && length < TEXT_MOST - 1 &&
           (got = read(file, text + length, TEXT_MOST - 1 - length)) > 0)
        length += (size_t)got;
    if (file >= 0)
        close(file);
    text[length] = '\0';
    return got >= 0;
}

/* The number in the line that begins so. */
static uint64_t value_of(const char *text, const char *key)
{
    const char *line = strstr(text, key);
    return line == NULL ? 0 : strtoull(line + strlen(key), NULL, 10);
}

static uint64_t count_lines(const char *path)
{
    const int file = open(path, O_RDONLY | O_CLOEXEC);
    char piece[TEXT_MOST];
    uint64_t lines = 0;
    ssize_t got;
    while (file >= 0 && (got = read(file, piece, sizeof piece)) > 0)
        for (ssize_t i = 0; i < got; i++)
            lines += piece[i] == '\n';
    if (file >= 0)
        close(file);
    return lines;
}

bool memory_measure(struct memory *own)
{
    char rollup[TEXT_MOST], status[TEXT_MOST];
    if (!read_text("/proc/self/smaps_rollup", rollup) || !read_text("/proc/self/status", status))
        return false;
    own->pss = value_of(rollup, "\nPss:");
    own->rss = value_of(rollup, "\nRss:");
    own->peak_rss = value_of(status, "\nVmHWM:");
    own->mappings = count_lines("/proc/self/maps");
    return true;
}

uint64_t memory_pss_of(int pid)
{
    char path[64], rollup[TEXT_MOST];
    snprintf(path, sizeof path, "/proc/%d/smaps_rollup", pid);
    return read_text(path, rollup) ? value_of(rollup, "\nPss:") : 0;
}

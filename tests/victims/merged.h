/* SPDX-License-Identifier: MIT
 *
 * For victims that are merged: how a process sees by itself, without the shim's help, which of its pages are.
 */
#ifndef SHM_VICTIM_MERGED_H
#define SHM_VICTIM_MERGED_H

#include "victim.h"

#include <fcntl.h>

enum { MERGED_PAGE = 4096 };

/* Whether the page is one of a file, and has not been written since. */
static inline bool is_merged_page(bool in_file, uint64_t entry)
{
    const bool present = entry >> 63 != 0, anonymous = (entry >> 61 & 1) == 0;
    return in_file && !(present && anonymous);
}

static inline size_t merged_pages_of(int pagemap, uintptr_t from, uintptr_t to)
{
    uint64_t entry[512];
    size_t merged = 0;
    while (from < to) {
        const size_t left = (to - from) / MERGED_PAGE, most = sizeof entry / sizeof *entry;
        const size_t count = left < most ? left : most, bytes = count * sizeof *entry;
        if (pread(pagemap, entry, bytes, (off_t)(from / MERGED_PAGE * sizeof *entry)) != (ssize_t)bytes)
            break;
        for (size_t i = 0; i < count; i++)
            merged += is_merged_page(true, entry[i]);
        from += count * MERGED_PAGE;
    }
    return merged;
}

/* How many of the whole pages between two addresses are merged. (Where the first thread has ended, /proc/self
 * knows of no memory.) */
static inline size_t merged_pages(const void *memory, size_t bytes)
{
    const uintptr_t first = ((uintptr_t)memory + MERGED_PAGE - 1) & -(uintptr_t)MERGED_PAGE;
    const uintptr_t end = ((uintptr_t)memory + bytes) & -(uintptr_t)MERGED_PAGE;
    char line[512], rights[8];
    size_t merged = 0;
    unsigned long from, to, inode;
    const int pagemap = open("/proc/thread-self/pagemap", O_RDONLY | O_CLOEXEC);
    FILE *maps = fopen("/proc/thread-self/maps", "re");
    while (maps != NULL && pagemap >= 0 && fgets(line, sizeof line, maps) != NULL)
        if (sscanf(line, "%lx-%lx %7s %*s %*s %lu", &from, &to, rights, &inode) == 4 && inode != 0 &&
            rights[3] == 'p')
            merged += merged_pages_of(pagemap, from < first ? first : from, to > end ? end : to);
    if (maps != NULL)
        fclose(maps);
    if (pagemap >= 0)
        close(pagemap);
    return merged;
}

/* Checked only where the test says what is to be: the variable is `yes` when at least half of it is to be
 * merged, `no` when nothing is. */
static inline void check_merged_as(const char *variable, const void *memory, size_t bytes, const char *what)
{
    const char *expected = getenv(variable);
    if (expected == NULL)
        return;
    const size_t merged = merged_pages(memory, bytes);
    if (*expected == 'y' ? merged < bytes / MERGED_PAGE / 2 : merged > 0) {
        victim_failures++;
        printf("NO  %s: %zu of %zu pages merged, expected: %s\n", what, merged, bytes / MERGED_PAGE,
               expected);
    }
}

static inline void check_merged(const void *memory, size_t bytes, const char *what)
{
    check_merged_as("VICTIM_MERGED", memory, bytes, what);
}

/* Checked only in the runs in which anything is merged. */
static inline void check_not_merged(const void *memory, size_t bytes, const char *what)
{
    if (getenv("VICTIM_MERGED") != NULL && merged_pages(memory, bytes) > 0)
        check(false, what);
}

#endif

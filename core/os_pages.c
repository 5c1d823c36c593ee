/* SPDX-License-Identifier: MIT
 *
 * The pages of this process: private ranges at given addresses, which pages are its own, who writes to them.
 */
#include "os.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/mempolicy.h>
#include <linux/userfaultfd.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include "os_answer.h"

/* Of headers newer than those at hand. */
enum {
    FIXED_NOREPLACE = 0x100000,       /* MAP_FIXED_NOREPLACE, Linux 4.17 */
    USER_MODE_ONLY = 1,               /* UFFD_USER_MODE_ONLY, Linux 5.11 */
    FEATURE_WP_FILES = 1 << 12,       /* UFFD_FEATURE_WP_HUGETLBFS_SHMEM, Linux 5.19 */
    FEATURE_WP_UNPOPULATED = 1 << 13, /* Linux 6.4 */
    FEATURE_WP_ASYNC = 1 << 15,       /* Linux 6.7 */
    SCAN_PROTECT = 1 << 0,            /* PM_SCAN_WP_MATCHING */
    SCAN_NOTING_ONLY = 1 << 1,        /* PM_SCAN_CHECK_WPASYNC */
    PAGE_WRITTEN = 1 << 1,            /* PAGE_IS_WRITTEN */
    SCAN_REGIONS = 64,
};

struct scan_region {
    uint64_t start, end, categories;
};

/* struct pm_scan_arg */
struct scan {
    uint64_t size, flags, start, end, walk_end, regions, region_count, most_pages, category_inverted,
        category_mask, category_any, return_mask;
};

#define PAGEMAP_SCAN_REQUEST _IOWR('f', 16, struct scan)

static void *at(uint64_t address)
{
    return (void *)(uintptr_t)address;
}

int os_map_private_at(uint64_t address, uint64_t bytes)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | FIXED_NOREPLACE;
    const int64_t got = ANSWER((intptr_t)mmap(at(address), bytes, PROT_READ | PROT_WRITE, flags, -1, 0));
    if (got < 0 && got > -4096)
        return (int)got;
    if ((uint64_t)got == address)
        return 0;
    os_unmap(at((uint64_t)got), bytes); /* a kernel that ignores the flag */
    return -EEXIST;
}

int os_map_private_over(void *address, uint64_t bytes)
{
    const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED;
    const int64_t got = ANSWER((intptr_t)mmap(address, bytes, PROT_READ | PROT_WRITE, flags, -1, 0));
    return got < 0 && got > -4096 ? (int)got : 0;
}

/* Not mprotect(): in the shim that is our own. */
int os_allow(void *address, uint64_t bytes)
{
    return (int)ANSWER(syscall(SYS_mprotect, address, bytes, PROT_READ | PROT_WRITE));
}

int os_take_place(void *from, uint64_t bytes, void *to)
{
    const int64_t got = ANSWER(syscall(SYS_mremap, from, bytes, bytes, MREMAP_MAYMOVE | MREMAP_FIXED, to));
    return got < 0 && got > -4096 ? (int)got : 0;
}

void os_announce(void *address, uint64_t bytes)
{
    (void)ANSWER((intptr_t)mremap(address, bytes, bytes, 0)); /* changes nothing */
}

/* ---------------------------------------------------------------- whose pages */

int os_pagemap_open(void)
{
    return os_open_file("/proc/thread-self/pagemap", OS_READ);
}

int os_pages_own(int pagemap, const void *address, uint32_t count, uint64_t *bits)
{
    enum { EACH = 64 };
    const uint64_t first = (uint64_t)(uintptr_t)address / PAGE_BYTES;
    for (uint32_t done = 0; done < count; done += EACH) {
        uint64_t entry[EACH], word = 0;
        const int64_t got = os_read_at(pagemap, entry, sizeof entry, (first + done) * sizeof entry[0]);
        if (got != sizeof entry)
            return got < 0 ? (int)got : -EIO;
        for (unsigned i = 0; i < EACH; i++) {
            const bool there = (entry[i] >> 63 & 1) != 0, swapped = (entry[i] >> 62 & 1) != 0;
            const bool of_file = (entry[i] >> 61 & 1) != 0;
            word |= (uint64_t)((there || swapped) && !of_file) << i;
        }
        bits[done / EACH] = word;
    }
    return 0;
}

/* ---------------------------------------------------------------- who writes */

int os_watch_open(enum os_watch how)
{
    const bool noting = how == OS_WATCH_NOTING;
    const int flags = O_CLOEXEC | O_NONBLOCK | (noting ? USER_MODE_ONLY : 0);
    const int watch = (int)ANSWER(syscall(SYS_userfaultfd, flags));
    if (watch < 0)
        return watch;
    struct uffdio_api api = {.api = UFFD_API,
                             .features = FEATURE_WP_FILES | FEATURE_WP_UNPOPULATED |
                                         (noting ? FEATURE_WP_ASYNC : UFFD_FEATURE_PAGEFAULT_FLAG_WP)};
    const int error = (int)ANSWER(ioctl(watch, UFFDIO_API, &api));
    if (error != 0)
        os_close(watch);
    return error != 0 ? error : watch;
}

int os_watch_range(int watch, void *address, uint64_t bytes)
{
    struct uffdio_register range = {.range = {.start = (uintptr_t)address, .len = bytes},
                                    .mode = UFFDIO_REGISTER_MODE_WP};
    return (int)ANSWER(ioctl(watch, UFFDIO_REGISTER, &range));
}

int os_watch_protect(int watch, void *address, uint64_t bytes)
{
    struct uffdio_writeprotect range = {.range = {.start = (uintptr_t)address, .len = bytes},
                                        .mode = UFFDIO_WRITEPROTECT_MODE_WP};
    return (int)ANSWER(ioctl(watch, UFFDIO_WRITEPROTECT, &range));
}

void os_watch_release(int watch, void *address, uint64_t bytes)
{
    struct uffdio_range range = {.start = (uintptr_t)address, .len = bytes};
    (void)ANSWER(ioctl(watch, UFFDIO_UNREGISTER, &range));
    (void)ANSWER(ioctl(watch, UFFDIO_WAKE, &range));
}

static int scan_pages(int pagemap, struct scan *scan, void *address, uint32_t count)
{
    scan->size = sizeof *scan;
    scan->start = (uintptr_t)address;
    scan->end = scan->start + count * PAGE_BYTES;
    scan->category_mask = scan->return_mask = PAGE_WRITTEN;
    return (int)ANSWER(ioctl(pagemap, PAGEMAP_SCAN_REQUEST, scan));
}

int os_pages_note(int pagemap, void *address, uint32_t count)
{
    struct scan_region region[SCAN_REGIONS];
    struct scan scan = {
        .flags = SCAN_PROTECT | SCAN_NOTING_ONLY, .regions = (uintptr_t)region, .region_count = SCAN_REGIONS};
    unsigned char *from = address, *end = from + count * PAGE_BYTES;
    while (from < end) { /* it stops when the regions are full */
        const int found = scan_pages(pagemap, &scan, from, (uint32_t)((uint64_t)(end - from) / PAGE_BYTES));
        if (found < 0)
            return found;
        if (found < SCAN_REGIONS || scan.walk_end <= (uintptr_t)from)
            break;
        from = at(scan.walk_end);
    }
    return 0;
}

int os_pages_written(int pagemap, void *address, uint32_t count, uint64_t *bits)
{
    struct scan_region region[SCAN_REGIONS];
    struct scan scan = {.regions = (uintptr_t)region, .region_count = SCAN_REGIONS};
    const uint64_t base = (uintptr_t)address;
    unsigned char *from = address, *end = from + count * PAGE_BYTES;
    memset(bits, 0, divide_up(count, 64) * sizeof *bits);
    while (from < end) {
        const int found = scan_pages(pagemap, &scan, from, (uint32_t)((uint64_t)(end - from) / PAGE_BYTES));
        if (found < 0)
            return found;
        for (int i = 0; i < found; i++)
            for (uint64_t page = (region[i].start - base) / PAGE_BYTES;
                 page < (region[i].end - base) / PAGE_BYTES && page < count; page++)
                bits[page / 64] |= UINT64_C(1) << page % 64;
        if (found < SCAN_REGIONS || scan.walk_end <= (uintptr_t)from)
            break;
        from = at(scan.walk_end);
    }
    return 0;
}

/* ---------------------------------------------------------------- facts */

uint64_t os_mappings_limit(void)
{
    char text[32];
    uint64_t limit = 0;
    if (os_read_text("/proc/sys/vm/max_map_count", text, sizeof text) <= 0)
        return 65530;
    for (const char *digit = text; *digit >= '0' && *digit <= '9'; digit++)
        limit = limit * 10 + (uint64_t)(*digit - '0');
    return limit;
}

uint64_t os_locked_bytes(void)
{
    char text[4096];
    if (os_read_text("/proc/thread-self/status", text, sizeof text) <= 0)
        return 0;
    return os_number_after(text, "VmLck:", 0) * KIBI;
}

static uint64_t hexadecimal(const char **text)
{
    uint64_t value = 0;
    for (;; (*text)++) {
        const char c = **text;
        if (c >= '0' && c <= '9')
            value = value << 4 | (uint64_t)(c - '0');
        else if (c >= 'a' && c <= 'f')
            value = value << 4 | (uint64_t)(c - 'a' + 10);
        else
            return value;
    }
}

int os_each_mapping(int (*visit)(uint64_t start, uint64_t end, bool plain, void *argument), void *argument)
{
    char buffer[4096];
    size_t kept = 0;
    uint64_t offset = 0;
    int answer = 0;
    const int descriptor = os_open_file("/proc/thread-self/maps", OS_READ);
    if (descriptor < 0)
        return descriptor;
    for (;;) {
        const int64_t got = os_read_at(descriptor, buffer + kept, sizeof buffer - 1 - kept, offset);
        if (got <= 0) {
            answer = (int)got;
            break;
        }
        offset += (uint64_t)got;
        kept += (size_t)got;
        buffer[kept] = '\0';
        const char *line = buffer, *end;
        while (answer == 0 && (end = strchr(line, '\n')) != NULL) {
            const char *text = line;
            const uint64_t start = hexadecimal(&text);
            text += *text == '-';
            const uint64_t stop = hexadecimal(&text);
            answer = visit(start, stop, strncmp(text, " rw-p", 5) == 0, argument);
            line = end + 1;
        }
        kept = (size_t)(buffer + kept - line);
        memmove(buffer, line, kept);
        if (answer != 0 || kept == sizeof buffer - 1) /* no line is that long */
            break;
    }
    os_close(descriptor);
    return answer;
}

int os_pages_resident(const void *address, uint64_t count, unsigned char *out)
{
    return (int)ANSWER(mincore(at((uint64_t)(uintptr_t)address), count * PAGE_BYTES, out));
}

int64_t os_read_memory(const void *from, size_t bytes, void *out)
{
    const struct iovec here = {out, bytes}, there = {(void *)(uintptr_t)from, bytes};
    return ANSWER(process_vm_readv(getpid(), &here, 1, &there, 1, 0));
}

int os_interleave(void *address, uint64_t bytes)
{
    unsigned long nodes[1024 / 8 / sizeof(unsigned long)]; /* as many as a kernel can have */
    const unsigned long most = sizeof nodes * 8;
    int error = (int)ANSWER(syscall(SYS_get_mempolicy, NULL, nodes, most, NULL, MPOL_F_MEMS_ALLOWED));
    if (error == 0)
        error = (int)ANSWER(syscall(SYS_mbind, address, bytes, MPOL_INTERLEAVE, nodes, most, 0));
    return error;
}

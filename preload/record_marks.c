/* SPDX-License-Identifier: MIT */
#include "record_marks.h"

#include <pthread.h>
#include <string.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "os.h"
#include "record_file.h"

#define PIECE        ((size_t)RECORD_PIECE_BYTES)
/* Pages whose state is asked for at once. */
#define WINDOW_PAGES ((size_t)1024)

static pthread_mutex_t appending = PTHREAD_MUTEX_INITIALIZER;

/* What is known of a block so far and not in the row's pages yet. */
struct batch {
    uint64_t zeros, short_bytes, read_bytes, unread_bytes;
    uint32_t count;
    uint64_t mark[RECORD_PAGE_MARKS];
};

/* ---------------------------------------------------------------- pages of the file */

/* The last page of the row if it has room, else a new one; NULL: there is no memory. */
static struct record_page *page_with_room(struct record_site *site)
{
    struct record_header *header = record_file.header;
    struct record_page *last = site->last_page != 0 ? &record_file.pages[site->last_page - 1] : NULL;
    const uint32_t index = header->page_count;
    if (last != NULL && last->count < RECORD_PAGE_MARKS)
        return last;
    if (!record_file_room(RECORD_PAGES, index))
        return NULL;
    struct record_page *fresh = &record_file.pages[index];
    memset(fresh, 0, sizeof *fresh);
    __atomic_store_n(&header->page_count, index + 1, __ATOMIC_RELEASE);
    __atomic_store_n(last != NULL ? &last->next : &site->first_page, index + 1, __ATOMIC_RELEASE);
    __atomic_store_n(&site->last_page, index + 1, __ATOMIC_RELEASE);
    return fresh;
}

static void append(uint32_t row, struct batch *batch)
{
    struct record_site *site = &record_file.sites[row - 1];
    const bool empty = batch->count == 0 && batch->zeros == 0;
    pthread_mutex_lock(&appending);
    struct record_page *page = empty ? NULL : page_with_room(site);
    uint32_t done = 0;
    for (; page != NULL && done < batch->count; done++) {
        if (page->count == RECORD_PAGE_MARKS && (page = page_with_room(site)) == NULL)
            break;
        page->mark[page->count] = batch->mark[done];
        __atomic_store_n(&page->count, page->count + 1, __ATOMIC_RELEASE);
        site->marks++;
    }
    if (page != NULL) {
        page->zeros += batch->zeros;
        page->short_bytes += batch->short_bytes;
        site->read_bytes += batch->read_bytes;
    } else {
        batch->unread_bytes += batch->read_bytes;
    }
    pthread_mutex_unlock(&appending);
    if (batch->unread_bytes != 0)
        __atomic_fetch_add(&record_file.header->unread_bytes, batch->unread_bytes, __ATOMIC_RELAXED);
    *batch = (struct batch){0};
}

/* ---------------------------------------------------------------- contents */

/* Reads the pages of a piece that have memory; the others are zero. False: not all could be read. *any: there
 * were some. */
static bool read_piece(uintptr_t start, size_t bytes, const unsigned char *resident, unsigned char *buffer,
                       bool *any)
{
    const uintptr_t end = start + bytes;
    *any = false;
    for (uintptr_t at = start; at < end;) {
        const bool has_memory = (*resident & 1) != 0;
        uintptr_t stop = at;
        while (stop < end && ((*resident & 1) != 0) == has_memory) {
            stop = (uintptr_t)least(align_down(stop, PAGE_BYTES) + PAGE_BYTES, end);
            resident++;
        }
        if (!has_memory)
            memset(buffer + (at - start), 0, stop - at);
        else if (os_read_memory((const void *)at, stop - at, buffer + (at - start)) != (int64_t)(stop - at))
            return false;
        *any |= has_memory;
        at = stop;
    }
    return true;
}

static bool is_zero(const unsigned char *bytes, size_t count)
{
    return bytes[0] == 0 && memcmp(bytes, bytes + 1, count - 1) == 0;
}

static void look_at_piece(struct batch *batch, uintptr_t start, size_t bytes, const unsigned char *resident,
                          void *buffer)
{
    bool any;
    if (!read_piece(start, bytes, resident, buffer, &any)) {
        batch->unread_bytes += bytes;
        return;
    }
    batch->read_bytes += bytes;
    batch->short_bytes += PIECE - bytes;
    if (!any || is_zero(buffer, bytes))
        batch->zeros++;
    else
        batch->mark[batch->count++] = XXH3_64bits(buffer, bytes);
}

/* Closed pages are no gap: whether they have memory is told all the same. Where nothing is mapped the kernel
 * says so for the whole range. */
static bool look_at_window(uint32_t row, struct batch *batch, uintptr_t start, size_t bytes, void *buffer)
{
    unsigned char resident[WINDOW_PAGES + 1];
    const uintptr_t first = align_down(start, PAGE_BYTES);
    const uint64_t pages = divide_up(start + bytes - first, PAGE_BYTES);
    if (os_pages_resident((const void *)first, pages, resident) != 0)
        return false;
    for (size_t at = 0; at < bytes; at += PIECE) {
        const size_t page = (start + at - first) / PAGE_BYTES;
        look_at_piece(batch, start + at, (size_t)least(PIECE, bytes - at), resident + page, buffer);
        if (batch->count == RECORD_PAGE_MARKS)
            append(row, batch);
    }
    return true;
}

void record_marks_take(uint32_t row, const void *address, size_t bytes, void *buffer)
{
    const size_t window = WINDOW_PAGES * PAGE_BYTES; /* whole pieces */
    struct batch batch = {0};
    for (size_t at = 0; at < bytes; at += window) {
        const size_t here = (size_t)least(window, bytes - at);
        if (!look_at_window(row, &batch, (uintptr_t)address + at, here, buffer))
            batch.unread_bytes += here;
    }
    append(row, &batch);
}

void record_marks_lock(void)
{
    pthread_mutex_lock(&appending);
}

void record_marks_unlock(void)
{
    pthread_mutex_unlock(&appending);
}

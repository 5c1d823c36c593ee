/* SPDX-License-Identifier: MIT */
#include "space.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "os.h"
#include "shortage.h"

#define CREDIT_STEP (4 * MEBI)

static bool page_has_memory(const struct view *view, uint64_t page)
{
    const uint64_t word = atomic_load_explicit(&view->reserved[page / 64], memory_order_relaxed);
    return (word >> page % 64 & 1) != 0;
}

/* Sets or clears the bits of [first, end), a word at a time. */
static void mark_pages(const struct view *view, uint64_t first, uint64_t end, bool has_memory)
{
    while (first < end) {
        const uint64_t count = least(64 - first % 64, end - first);
        const uint64_t mask = (count == 64 ? UINT64_MAX : ((uint64_t)1 << count) - 1) << first % 64;
        if (has_memory)
            atomic_fetch_or_explicit(&view->reserved[first / 64], mask, memory_order_relaxed);
        else
            atomic_fetch_and_explicit(&view->reserved[first / 64], ~mask, memory_order_relaxed);
        first += count;
    }
}

/* Uses up credit, or asks how much memory there is and takes some more. */
static bool may_take(const struct space *space, uint64_t bytes)
{
    uint64_t credit = atomic_load_explicit(space->credit, memory_order_relaxed);
    while (credit >= bytes)
        if (atomic_compare_exchange_weak_explicit(space->credit, &credit, credit - bytes,
                                                  memory_order_relaxed, memory_order_relaxed))
            return true;
    const struct os_room room = os_memory_room(space->directory);
    /* a small tmpfs is a promise of its own: let it be filled to the brim. Otherwise pages are in flight
     * between our question and their use */
    const uint64_t margin = room.limit == OS_LIMIT_FILES ? 0 : SHORTAGE_MARGIN;
    if (room.left < bytes || room.left - bytes < margin)
        return false;
    if (room.left - bytes > margin + 64 * CREDIT_STEP)
        atomic_fetch_add_explicit(space->credit, CREDIT_STEP, memory_order_relaxed);
    return true;
}

/* Before Linux 5.14: the same through the file, which is opened for the moment. */
static int populate_through_file(const struct space *space, uint64_t offset, uint64_t bytes)
{
    struct os_file file;
    const int descriptor = os_open_file(space->path, OS_WRITE);
    if (descriptor < 0)
        return -ENOMEM;
    int error = os_stat_file(descriptor, &file);
    if (error == 0 && (file.device != space->device || file.inode != space->inode))
        error = -ENOMEM; /* removed meanwhile: we cannot reach our own file any more */
    if (error == 0)
        error = os_reserve(descriptor, offset, bytes);
    os_close(descriptor);
    return error;
}

static int populate(const struct space *space, uint64_t first, uint64_t end)
{
    const uint64_t offset = first * PAGE_BYTES, bytes = (end - first) * PAGE_BYTES;
    if (!may_take(space, bytes))
        return -ENOMEM;
    int error = os_populate(view_at(space->view, offset), bytes);
    if (error == -EINVAL)
        error = populate_through_file(space, offset, bytes);
    if (error != 0)
        return -ENOMEM;
    mark_pages(space->view, first, end, true);
    return 0;
}

int space_reserve(const struct space *space, uint64_t offset, uint64_t bytes)
{
    uint64_t page = offset / PAGE_BYTES;
    const uint64_t end = divide_up(offset + bytes, PAGE_BYTES);
    while (page < end) {
        if (page_has_memory(space->view, page)) {
            page++;
            continue;
        }
        uint64_t stop = page + 1;
        while (stop < end && !page_has_memory(space->view, stop))
            stop++;
        const int error = populate(space, page, stop);
        if (error != 0)
            return error;
        page = stop;
    }
    return 0;
}

int space_refuse(const struct space *space, uint64_t bytes, const char *segment)
{
    char size[ERROR_SIZE_BYTES], why[SHORTAGE_BYTES];
    return error_set(ENOMEM, "no memory left for %s more in segment '%s': %s", error_size(size, bytes),
                     segment, shortage_of_memory(why, space->directory));
}

/* The bitmap that would say so is itself among these tables, so they are populated each time: the cost
 * is that of a page or two a region, once for each time that a region leaves the pool. */
int space_reserve_tables(const struct space *space, uint32_t first, uint32_t count)
{
    const struct view *view = space->view;
    const uint64_t start = (uint64_t)first << view->region_shift;
    const uint64_t end = (uint64_t)(first + count) << view->region_shift;
    const uint64_t ranges[2][2] = {
        {view_offset(view, view->reserved) + start / PAGE_BYTES / 8,
         view_offset(view, view->reserved) + divide_up(end / PAGE_BYTES, 8)},
        {view_offset(view, &view->quanta[start >> QUANTUM_SHIFT]),
         view_offset(view, view->quanta) + (end >> QUANTUM_SHIFT) * sizeof(struct quantum)},
    };
    for (unsigned i = 0; i < COUNT_OF(ranges); i++) {
        const uint64_t from = align_down(ranges[i][0], PAGE_BYTES);
        const uint64_t bytes = align_up(ranges[i][1], PAGE_BYTES) - from;
        if (!may_take(space, bytes))
            return -ENOMEM;
        int error = os_populate(view_at(view, from), bytes);
        if (error == -EINVAL)
            error = populate_through_file(space, from, bytes);
        if (error != 0)
            return -ENOMEM;
    }
    return 0;
}

bool space_is_reserved(const struct view *view, uint64_t offset, uint64_t bytes)
{
    const uint64_t end = divide_up(offset + bytes, PAGE_BYTES);
    for (uint64_t page = offset / PAGE_BYTES; page < end; page++)
        if (!page_has_memory(view, page))
            return false;
    return true;
}

void space_zero_old(const struct view *view, uint64_t offset, uint64_t bytes)
{
    const uint64_t stop = offset + bytes;
    while (offset < stop) {
        const uint64_t next = least(align_down(offset, PAGE_BYTES) + PAGE_BYTES, stop);
        if (page_has_memory(view, offset / PAGE_BYTES))
            memset(view_at(view, offset), 0, next - offset);
        offset = next;
    }
}

void space_give_back(const struct space *space, uint64_t offset, uint64_t bytes)
{
    const uint64_t first = divide_up(offset, PAGE_BYTES), end = (offset + bytes) / PAGE_BYTES;
    if (first >= end)
        return;
    mark_pages(space->view, first, end, false);
    os_punch(view_at(space->view, first * PAGE_BYTES), (end - first) * PAGE_BYTES);
}

GLANCES uint64_t space_reserved(const struct view *view)
{
    uint64_t pages = 0;
    const uint32_t region_pages = (uint32_t)(((uint64_t)1 << view->region_shift) / PAGE_BYTES);
    for (uint32_t r = view->table_regions; r < view->region_count; r++) {
        if (view->region_owner[r] == OWNER_POOL)
            continue; /* its part of the bitmap may have no memory itself */
        for (uint64_t p = (uint64_t)r * region_pages; p < (uint64_t)(r + 1) * region_pages; p++)
            pages += page_has_memory(view, p);
    }
    return pages * PAGE_BYTES;
}

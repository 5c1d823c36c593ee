/* SPDX-License-Identifier: MIT */
#include "space.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "os.h"
#include "shortage.h"

#define CREDIT_STEP (4 * MEBI)

/* Each step makes all processors put down what they have in hand: it is for blocks where that does not
 * matter. */
#define HUGE_LEAST (4 * MEBI)
#define HUGE_STEP  (32 * MEBI)

/* The first page of [page, end) that has memory, or that has none: `end` when there is no such page. A word
 * at a time: a GiB has a quarter of a million pages. */
GLANCES static uint64_t next_page(const struct view *view, uint64_t page, uint64_t end, bool with_memory)
{
    while (page < end) {
        const uint64_t word = atomic_load_explicit(&view->reserved[page / 64], memory_order_relaxed);
        const uint64_t wanted = (with_memory ? word : ~word) >> page % 64;
        if (wanted != 0)
            return least(page + (uint64_t)__builtin_ctzll(wanted), end);
        page += 64 - page % 64;
    }
    return end;
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

/* As far as it goes, whole huge pages: several times as fast as page by page, and everybody maps them with
 * one entry each. Where memory is in pieces the kernel may take long to find such, so a step that takes as
 * long as page by page might is the last one. Huge pages do not keep to a policy of NUMA nodes: those that
 * are spread are left alone. */
static void populate_huge(const struct space *space, uint64_t offset, uint64_t bytes)
{
    uint64_t at = align_up(offset, OS_HUGE_PAGE_BYTES);
    const uint64_t end = align_down(offset + bytes, OS_HUGE_PAGE_BYTES);
    if (end < at + HUGE_LEAST || space->view->header->interleave != 0)
        return;
    while (at < end) {
        const uint64_t step = least(end - at, HUGE_STEP), begin = os_clock();
        if (os_populate_huge(view_at(space->view, at), step) != 0 ||
            os_clock() - begin > step / OS_HUGE_PAGE_BYTES * OS_HUGE_PAGE_PATIENCE)
            return;
        at += step;
    }
}

static int populate(const struct space *space, uint64_t first, uint64_t end)
{
    const uint64_t offset = first * PAGE_BYTES, bytes = (end - first) * PAGE_BYTES;
    if (!may_take(space, bytes))
        return -ENOMEM;
    populate_huge(space, offset, bytes);
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
    const uint64_t end = divide_up(offset + bytes, PAGE_BYTES);
    uint64_t page = offset / PAGE_BYTES;
    while ((page = next_page(space->view, page, end, false)) < end) {
        const uint64_t stop = next_page(space->view, page, end, true);
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
    return next_page(view, offset / PAGE_BYTES, end, false) == end;
}

void space_zero_old(const struct view *view, uint64_t offset, uint64_t bytes)
{
    const uint64_t stop = offset + bytes, end = divide_up(stop, PAGE_BYTES);
    uint64_t page = offset / PAGE_BYTES;
    while ((page = next_page(view, page, end, true)) < end) {
        const uint64_t old_end = next_page(view, page, end, false);
        const uint64_t from = most(page * PAGE_BYTES, offset), to = least(old_end * PAGE_BYTES, stop);
        memset(view_at(view, from), 0, to - from);
        page = old_end;
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
        const uint64_t end = (uint64_t)(r + 1) * region_pages;
        uint64_t page = (uint64_t)r * region_pages;
        while ((page = next_page(view, page, end, true)) < end) {
            const uint64_t stop = next_page(view, page, end, false);
            pages += stop - page;
            page = stop;
        }
    }
    return pages * PAGE_BYTES;
}

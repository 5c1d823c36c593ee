/* SPDX-License-Identifier: MIT */
#include "dirty.h"

#include <string.h>

#include "base.h"

static uint32_t end_of(struct dirty_range range)
{
    return range.page + range.pages;
}

static struct dirty_range between(uint32_t page, uint32_t end)
{
    return end > page ? (struct dirty_range){page, end - page} : (struct dirty_range){0, 0};
}

static struct dirty_range remove_at(struct dirty *dirty, uint32_t index)
{
    const struct dirty_range removed = dirty->range[index];
    dirty->count--;
    memmove(&dirty->range[index], &dirty->range[index + 1], (dirty->count - index) * sizeof dirty->range[0]);
    return removed;
}

/* Takes those out that touch it, as long as all are not too large together. */
static struct dirty_range join(struct dirty *dirty, struct dirty_range range)
{
    for (uint32_t i = 0; i < dirty->count;) {
        const struct dirty_range other = dirty->range[i];
        if ((end_of(other) == range.page || end_of(range) == other.page) &&
            other.pages + range.pages <= DIRTY_PAGES) {
            range.page = (uint32_t)least(range.page, other.page);
            range.pages += other.pages;
            remove_at(dirty, i);
        } else {
            i++;
        }
    }
    return range;
}

struct dirty_range dirty_keep(struct dirty *dirty, struct dirty_range range)
{
    struct dirty_range oldest = {0, 0};
    if (range.pages == 0 || range.pages > DIRTY_PAGES)
        return range;
    range = join(dirty, range);
    if (dirty->count == DIRTY_RANGES)
        oldest = remove_at(dirty, 0);
    dirty->range[dirty->count++] = range;
    return oldest;
}

bool dirty_touches(const struct dirty *dirty, struct dirty_range range)
{
    for (uint32_t i = 0; i < dirty->count; i++)
        if (dirty->range[i].page < end_of(range) && range.page < end_of(dirty->range[i]))
            return true;
    return false;
}

uint32_t dirty_pages(const struct dirty *dirty)
{
    uint32_t pages = 0;
    for (uint32_t i = 0; i < dirty->count; i++)
        pages += dirty->range[i].pages;
    return pages;
}

struct dirty_range dirty_take(struct dirty *dirty, struct dirty_range used, struct dirty_range *rest)
{
    for (uint32_t i = 0; i < dirty->count; i++) {
        const struct dirty_range range = dirty->range[i];
        const uint32_t first = (uint32_t)most(range.page, used.page);
        const uint32_t end = (uint32_t)least(end_of(range), end_of(used));
        if (first >= end)
            continue;
        remove_at(dirty, i);
        dirty_keep(dirty, between(range.page, first)); /* there is room for one: its own */
        const struct dirty_range right = between(end, end_of(range));
        *rest = dirty->count < DIRTY_RANGES ? dirty_keep(dirty, right) : right;
        return between(first, end);
    }
    *rest = between(0, 0);
    return between(0, 0);
}

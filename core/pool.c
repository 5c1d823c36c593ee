/* SPDX-License-Identifier: MIT */
#include "pool.h"

static bool is_free(const struct view *view, uint32_t region) /* also for a glance without the lock */
{
    return (__atomic_load_n(&view->region_free[region / 64], __ATOMIC_RELAXED) >> region % 64 & 1) != 0;
}

void pool_make(const struct view *view)
{
    for (uint32_t r = 0; r < view->region_count; r++) {
        if (r < view->table_regions)
            view->region_owner[r] = OWNER_TABLES;
        else
            view->region_free[r / 64] |= (uint64_t)1 << r % 64;
    }
    view->pool->free_regions = view->region_count - view->table_regions;
    view->pool->hint = view->table_regions;
}

/* The first free region at or after `from`, or the number of regions. */
static uint32_t next_free(const struct view *view, uint32_t from)
{
    while (from < view->region_count) {
        const uint64_t word = view->region_free[from / 64] >> from % 64;
        if (word != 0)
            return (uint32_t)least(from + (uint32_t)__builtin_ctzll(word), view->region_count);
        from = (from / 64 + 1) * 64;
    }
    return view->region_count;
}

/* How many regions from `first` on are free, up to `enough`. */
static uint32_t free_length(const struct view *view, uint32_t first, uint32_t enough)
{
    uint32_t length = 0;
    while (length < enough && first + length < view->region_count && is_free(view, first + length))
        length++;
    return length;
}

/* Which regions a search takes for free. Of one that somebody has, a stray write may make the bit say that it
 * is free; of one that is free, a death may have left an owner. So the first search believes both, the second
 * the bit. */
enum believed { BIT_AND_OWNER, BIT };

static bool may_take(const struct view *view, uint32_t region, enum believed believed)
{
    return is_free(view, region) && (believed == BIT || view->region_owner[region] == OWNER_POOL);
}

static struct region_run find_run(const struct view *view, uint32_t count, uint32_t alignment, uint32_t from,
                                  uint32_t end, enum believed believed)
{
    for (uint32_t first = next_free(view, from); first < end;) {
        const uint32_t aligned = (uint32_t)align_up(first, alignment);
        if (aligned >= end || count > end - aligned)
            break;
        uint32_t length = 0;
        while (length < count && may_take(view, aligned + length, believed))
            length++;
        if (length == count)
            return (struct region_run){aligned, count};
        first = next_free(view, aligned + length + 1);
    }
    return (struct region_run){0, 0};
}

/* The last free region before `end`, or the number of regions. */
static uint32_t last_free(const struct view *view, uint32_t end)
{
    while (end > 0) {
        const uint32_t first = (end - 1) / 64 * 64;
        const uint64_t before = end % 64 == 0 ? UINT64_MAX : ((uint64_t)1 << end % 64) - 1;
        const uint64_t word = view->region_free[first / 64] & before;
        if (word != 0)
            return first + log2_floor(word);
        end = first;
    }
    return view->region_count;
}

/* The highest one that begins at `from` or later. */
static struct region_run find_last_run(const struct view *view, uint32_t count, uint32_t alignment,
                                       uint32_t from, enum believed believed)
{
    for (uint32_t last = last_free(view, view->region_count); last < view->region_count;) {
        if (last < from || count > last + 1 - from)
            break;
        const uint32_t first = (uint32_t)align_down(last + 1 - count, alignment);
        if (first < from)
            break;
        uint32_t length = 0; /* that may be taken, from the end on */
        while (length < count && may_take(view, first + count - 1 - length, believed))
            length++;
        if (length == count)
            return (struct region_run){first, count};
        last = last_free(view, first + count - 1 - length);
    }
    return (struct region_run){0, 0};
}

static void set_free(const struct view *view, struct transaction *transaction, struct region_run run,
                     bool free)
{
    uint32_t region = run.first;
    const uint32_t end = run.first + run.count;
    while (region < end) { /* a word at a time: a run of 64 regions costs one entry of the log */
        const uint32_t in_word = (uint32_t)least(64 - region % 64, end - region);
        const uint64_t mask = (in_word == 64 ? UINT64_MAX : ((uint64_t)1 << in_word) - 1) << region % 64;
        uint64_t *word = &view->region_free[region / 64];
        UNDO_PUBLISH(transaction, (_Atomic uint64_t *)word, free ? *word | mask : *word & ~mask);
        region += in_word;
    }
}

/* Not logged: of a free region an owner means nothing, and when a run is taken its owners are set while
 * the bits still say free. */
static void set_owner(const struct view *view, struct region_run run, uint32_t owner)
{
    for (uint32_t r = run.first; r < run.first + run.count; r++)
        __atomic_store_n(&view->region_owner[r], owner, __ATOMIC_RELEASE);
}

void pool_hand(const struct view *view, struct region_run run, uint32_t owner)
{
    set_owner(view, run, owner);
}

struct region_run pool_find(const struct view *view, uint32_t count, uint32_t alignment, bool low)
{
    const uint32_t hint = (uint32_t)most(view->pool->hint, view->table_regions);
    const uint32_t low_end = (uint32_t)least(RECORD_LIMIT >> view->region_shift, view->region_count);
    if (count == 0 || count > view->pool->free_regions)
        return (struct region_run){0, 0};
    struct region_run run = {0, 0};
    for (enum believed believed = BIT_AND_OWNER; run.count == 0 && believed <= BIT; believed++)
        run = low ? find_run(view, count, alignment, hint, low_end, believed)
                  : find_last_run(view, count, alignment, hint, believed);
    return run;
}

bool pool_has(const struct view *view, struct region_run run)
{
    uint32_t free = 0;
    if (run.first < view->table_regions || run.first >= view->region_count ||
        run.count > view->region_count - run.first)
        return false;
    while (free < run.count && may_take(view, run.first + free, BIT_AND_OWNER))
        free++;
    return free == run.count;
}

void pool_take(const struct view *view, struct transaction *transaction, struct region_run run,
               uint32_t owner)
{
    struct pool *pool = view->pool;
    set_owner(view, run, owner);
    set_free(view, transaction, run, false);
    UNDO_SET(transaction, &pool->free_regions, pool->free_regions - run.count);
    if (run.first == pool->hint)
        UNDO_SET(transaction, &pool->hint, run.first + run.count);
}

void pool_give(const struct view *view, struct transaction *transaction, struct region_run run)
{
    struct pool *pool = view->pool;
    set_free(view, transaction, run, true);
    UNDO_SET(transaction, &pool->free_regions, pool->free_regions + run.count);
    if (run.first < pool->hint)
        UNDO_SET(transaction, &pool->hint, run.first);
}

void pool_forget(const struct view *view, struct region_run run)
{
    set_owner(view, run, OWNER_POOL);
}

struct region_run pool_next_of(const struct view *view, uint32_t owner, uint32_t from, uint32_t enough)
{
    struct region_run run = {(uint32_t)most(from, view->table_regions), 0};
    while (run.first < view->region_count &&
           (is_free(view, run.first) || view->region_owner[run.first] != owner))
        run.first++;
    while (run.count < enough && run.first + run.count < view->region_count &&
           !is_free(view, run.first + run.count) && view->region_owner[run.first + run.count] == owner)
        run.count++;
    return run;
}

uint32_t pool_next_returning(const struct view *view, uint32_t from, uint32_t *row)
{
    uint32_t region = (uint32_t)most(from, view->table_regions);
    for (; region < view->region_count; region++) {
        *row = __atomic_load_n(&view->region_owner[region], __ATOMIC_ACQUIRE) - OWNER_RETURNING;
        if (*row < view->row_count && !is_free(view, region))
            break;
    }
    return region;
}

uint32_t pool_longest(const struct view *view)
{
    uint32_t longest = 0;
    for (uint32_t r = next_free(view, view->table_regions); r < view->region_count;) {
        const uint32_t length = free_length(view, r, view->region_count);
        longest = length > longest ? length : longest;
        r = next_free(view, r + length);
    }
    return longest;
}

bool pool_is_sound(const struct view *view)
{
    uint32_t free_regions = 0;
    for (uint32_t r = 0; r < view->region_count; r++) {
        const uint32_t owner = view->region_owner[r];
        const bool shard = owner >= OWNER_SHARD && owner < OWNER_SHARD + view->shard_count;
        const bool process = owner >= OWNER_PROCESS && owner < OWNER_PROCESS + view->row_count;
        const bool returning = owner >= OWNER_RETURNING && owner < OWNER_RETURNING + view->row_count;
        if (r < view->table_regions ? owner != OWNER_TABLES || is_free(view, r)
                                    : !is_free(view, r) && !shard && !process && !returning)
            return false;
        free_regions += is_free(view, r);
    }
    return free_regions == view->pool->free_regions && next_free(view, 0) >= view->pool->hint;
}

/* SPDX-License-Identifier: MIT
 *
 * Victim: a stray write hits the tables of the segment that its own blocks lie in, and it goes on allocating,
 * freeing, resizing, forking: `scribble WHERE WHAT`, WHERE one of the names below, WHAT zeros, ones, noise or
 * low (small numbers, which may pass for real ones).
 *
 * `scribble nothing none` only looks on: it waits for a line before it goes on.
 *
 * It must neither crash nor hang, and blocks that were not hit stay whole. Where things lie it is told by the
 * core's own geometry.
 */
#include "child.h"

#include "geometry.h"

enum { BLOCKS = 200 };

static unsigned char *block[BLOCKS];
static struct view view;
static uint64_t state = 88172645463325252;

static uint64_t noise(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    state ^= state << 17;
    return state;
}

static size_t size_of(unsigned i)
{
    return i % 3 == 0 ? 33000 + i * 200 : 24 + i * 60;
}

static bool find_segment(void)
{
    char line[512];
    unsigned long start = 0, stop = 0, end = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        char *dash;
        if (strstr(line, "/dev/shm/shmcore.") == NULL)
            continue;
        const unsigned long from = strtoul(line, &dash, 16);
        stop = strtoul(dash + 1, NULL, 16);
        start = start == 0 ? from : start;
        end = stop;
    }
    if (maps != NULL)
        fclose(maps);
    if (start != 0)
        view_make(&view, (void *)start, end - start);
    return start != 0;
}

static void scribble(void *place, size_t bytes, const char *what)
{
    unsigned char *at = place;
    if (strcmp(what, "zeros") == 0 || strcmp(what, "ones") == 0) {
        memset(at, what[0] == 'z' ? 0 : 0xff, bytes);
        return;
    }
    for (size_t i = 0; i + 8 <= bytes; i += 8) {
        const uint64_t value = what[0] == 'l' ? noise() & UINT64_C(0x0000003f0000007f) : noise();
        memcpy(at + i, &value, 8);
    }
}

/* The tables of quanta and regions that describe regions in use. */
static uint32_t regions_used(void)
{
    uint32_t last = view.table_regions;
    for (uint32_t r = view.table_regions; r < view.region_count; r++)
        if (view.region_owner[r] >= OWNER_SHARD)
            last = r + 1;
    return last;
}

static uint32_t quantum_of(const void *pointer)
{
    return (uint32_t)(view_offset(&view, pointer) >> QUANTUM_SHIFT);
}

/* Slabs and labels of this process, or slabs of the shards, wherever they are. */
static void scribble_kind(uint32_t kind, size_t bytes, const char *what)
{
    const uint32_t each = view_region_quanta(&view), end = regions_used() * each;
    for (uint32_t q = view.table_regions * each; q < end; q++)
        if (view.region_owner[q / each] >= OWNER_SHARD && view.quanta[q].kind == kind)
            scribble(view_at(&view, (uint64_t)q << QUANTUM_SHIFT), bytes, what);
}

/* Heads, bits and infos. */
static void scribble_export_slabs(const char *what)
{
    const uint32_t each = view_region_quanta(&view), end = regions_used() * each;
    for (uint32_t q = view.table_regions * each; q < end; q++) {
        if (view.region_owner[q / each] < OWNER_SHARD || view.quanta[q].kind != QUANTUM_EXPORT_SLAB)
            continue;
        struct export_slab *slab = view_at(&view, (uint64_t)q << QUANTUM_SHIFT);
        scribble(slab, view.export_shapes[slab->slab_class].data, what);
    }
}

static void scribble_records(const char *what)
{
    const uint32_t each = view_region_quanta(&view), end = regions_used() * each;
    for (uint32_t q = view.table_regions * each; q < end; q++) {
        if (view.region_owner[q / each] < OWNER_SHARD || view.quanta[q].kind != QUANTUM_RECORDS)
            continue;
        unsigned char *slab = view_at(&view, (uint64_t)q << QUANTUM_SHIFT);
        const struct slab_shape *shape = &view.shapes[((struct slab *)slab)->slab_class];
        if (shape->records != 0)
            scribble(slab + shape->records, shape->slots * sizeof(struct record), what);
    }
}

static bool hit(const char *where, const char *what)
{
    const uint32_t first = view.table_regions * view_region_quanta(&view);
    const uint32_t used = (regions_used() - view.table_regions) * view_region_quanta(&view);
#define IS(text) (strcmp(where, text) == 0)
    if (IS("header"))
        scribble(view.header, sizeof *view.header, what);
    else if (IS("pool"))
        scribble(view.pool, sizeof *view.pool, what);
    else if (IS("pool-lock"))
        scribble(&view.pool->lock, sizeof view.pool->lock, what);
    else if (IS("pool-undo"))
        scribble(&view.pool->undo, 400, what);
    else if (IS("rows"))
        scribble(view.rows, 16 * sizeof *view.rows, what);
    else if (IS("shards"))
        scribble(view.shards, view.shard_count * sizeof *view.shards, what);
    else if (IS("locks"))
        for (uint32_t s = 0; s < view.shard_count; s++)
            scribble(&view.shards[s].lock, sizeof view.shards[s].lock, what);
    else if (IS("lock-words")) /* as if somebody held them */
        for (uint32_t s = 0; s <= view.shard_count; s++)
            scribble(s < view.shard_count ? &view.shards[s].lock : &view.pool->lock, 16, what);
    else if (IS("directories"))
        for (uint32_t s = 0; s < view.shard_count; s++)
            scribble(&view.shards[s].directory, sizeof view.shards[s].directory, what);
    else if (IS("bins"))
        for (uint32_t s = 0; s < view.shard_count; s++)
            scribble(&view.shards[s].bins, sizeof view.shards[s].bins, what);
    else if (IS("partial"))
        for (uint32_t s = 0; s < view.shard_count; s++)
            scribble(view.shards[s].partial, sizeof view.shards[s].partial, what);
    else if (IS("undo"))
        for (uint32_t s = 0; s < view.shard_count; s++)
            scribble(&view.shards[s].undo, 400, what);
    else if (IS("held"))
        scribble(view.held, view.shard_count * (size_t)view.row_count * sizeof *view.held, what);
    else if (IS("region-owners"))
        scribble(view.region_owner + view.table_regions, regions_used() * sizeof *view.region_owner, what);
    else if (IS("region-free"))
        scribble(view.region_free, (view.region_count + 63) / 64 * sizeof *view.region_free, what);
    else if (IS("quanta"))
        scribble(view.quanta + first, used * sizeof *view.quanta, what);
    else if (IS("quanta-of-one"))
        scribble(view.quanta + quantum_of(block[0]), sizeof *view.quanta, what);
    else if (IS("export-slabs"))
        scribble_kind(QUANTUM_EXPORT_SLAB, 64, what);
    else if (IS("export-slab-bits"))
        scribble_export_slabs(what);
    else if (IS("labels"))
        scribble_kind(QUANTUM_LABELS, QUANTUM_BYTES, what);
    else if (IS("slabs"))
        scribble_kind(QUANTUM_RECORDS, sizeof(struct slab), what);
    else if (IS("records"))
        scribble_records(what);
    else if (IS("buckets"))
        scribble_kind(QUANTUM_TABLE, 4096, what);
    else
        return false;
#undef IS
    return true;
}

static void make(unsigned i)
{
    block[i] = malloc(size_of(i));
    if (block[i] == NULL)
        _exit(9);
    fill(block[i], size_of(i), i);
}

static void go_on(void)
{
    for (unsigned round = 0; round < 3; round++)
        for (unsigned i = 0; i < BLOCKS; i++) {
            if (i % 5 == 4) {
                block[i] = realloc(block[i], size_of(i) * 3);
                if (block[i] == NULL)
                    _exit(10);
                fill(block[i], size_of(i) * 3, i);
            }
            free(block[i]);
            make(i);
        }
}

/* Of the blocks that stay as they were: nobody may have written into them. */
static void keep(unsigned char *kept[BLOCKS])
{
    for (unsigned i = 0; i < BLOCKS; i++) {
        kept[i] = malloc(size_of(i));
        check_routed(kept[i], "the block is routed");
        fill(kept[i], size_of(i), i + 1);
    }
}

int main(int count, char **arguments)
{
    static unsigned char *kept[BLOCKS];
    if (count != 3)
        return 2;
    keep(kept);
    for (unsigned i = 0; i < BLOCKS; i++)
        make(i);
    if (strcmp(arguments[1], "nothing") == 0)
        await_go("ready");
    else if (!find_segment() || !hit(arguments[1], arguments[2]))
        return 2;
    go_on();
    const pid_t child = checked_fork();
    if (child == 0) {
        go_on();
        _exit(0);
    }
    check(ends_well(child), "a child goes on");
    bool good = true;
    for (unsigned i = 0; i < BLOCKS; i++) {
        good = good && is_filled(kept[i], size_of(i), i + 1);
        free(kept[i]);
    }
    check(good, "other blocks are whole");
    puts("done");
    return verdict() == 0 ? 7 : 1;
}

/* SPDX-License-Identifier: MIT
 *
 * The tables, in this order from the start of the file:
 *
 *   header | pool | shards | process rows | held | region owners | region bitmap   (eager: reserved at birth)
 *   reserved bitmap | quanta                                                       (reserved with the
 * regions) … blocks, from the next region on
 *
 * Small segments get small tables: a container's /dev/shm has 64 MB.
 */
#include "geometry.h"

/* So many that owners waste little, so few that taking all of them at once fits the undo log: 64 to a word of
 * the bitmap. */
static uint32_t region_shift_for(uint64_t capacity)
{
    if (capacity < 128 * MEBI)
        return REGION_SHIFT_LEAST;
    uint32_t shift = capacity < GIBI ? 18 : 20;
    while (capacity >> shift > REGIONS_MOST)
        shift++;
    return shift;
}

static uint32_t shards_for(uint64_t capacity)
{
    if (capacity >= 256 * MEBI)
        return SHARDS_MOST;
    return capacity >= 32 * MEBI ? 4 : 1;
}

uint64_t view_round_capacity(uint64_t bytes)
{
    const uint64_t bounded = least(most(bytes, CAPACITY_LEAST), CAPACITY_MOST);
    return align_down(bounded, (uint64_t)1 << region_shift_for(bounded));
}

/* Classes 16, 32, 48, then multiples of 64 up to 512, then four steps to each doubling: whole cache
 * lines from 64 bytes on, so that blocks of two processes never share one by our doing. */
static uint32_t slot_bytes_of(uint32_t slab_class)
{
    static const uint32_t internal[] = {16, 16, 64, 32, 64, 128, 272};
    if (slab_class >= SLAB_DATA_CLASSES)
        return internal[slab_class - SLAB_DATA_CLASSES];
    if (slab_class < 3)
        return 16 * (slab_class + 1);
    if (slab_class < 11)
        return 64 * (slab_class - 2);
    const uint32_t step = slab_class - 11;
    return (512u << (step / 4)) / 4 * (5 + step % 4);
}

static struct slab_shape shape_of(uint32_t slab_class)
{
    struct slab_shape shape = {.slot_bytes = slot_bytes_of(slab_class)};
    const bool recorded = slab_class <= SLAB_EXTENT_SLOTS;
    const uint32_t each = shape.slot_bytes + (recorded ? (uint32_t)sizeof(struct record) : 0);
    const uint32_t start = sizeof(struct slab);
    shape.records = recorded ? start : 0;
    shape.slots = (uint32_t)least(((uint32_t)SLAB_BYTES - start - 63) / each, SLAB_LIVE_WORDS * 64);
    shape.data = (uint32_t)align_up(start + (recorded ? shape.slots * sizeof(struct record) : 0), 64);
    return shape;
}

/* Where the slots of exported blocks can begin when there are so many: after the head, bits and infos. */
static uint64_t export_head(uint64_t slots)
{
    return sizeof(struct export_slab) + divide_up(slots, 64) * 2 * sizeof(uint64_t) +
           slots * sizeof(uint32_t);
}

/* Slots begin where alignment wants them: a slot whose size is a multiple of a power of two is aligned to it,
 * up to a page. */
static struct export_shape export_shape_of(uint32_t slab_class)
{
    const uint32_t slot_bytes = slot_bytes_of(slab_class);
    const uint32_t quanta = slot_bytes <= 4096 ? 4 : 16;
    const uint64_t bytes = (uint64_t)quanta << QUANTUM_SHIFT;
    const uint64_t alignment = least(slot_bytes & (0u - slot_bytes), PAGE_BYTES);
    uint64_t slots = least((bytes - sizeof(struct export_slab)) / slot_bytes, EXPORT_SLOTS_MOST), data;
    while ((data = align_up(export_head(slots), alignment)) + slots * slot_bytes > bytes)
        slots--;
    return (struct export_shape){.slot_bytes = slot_bytes,
                                 .slots = (uint32_t)slots,
                                 .data = (uint32_t)data,
                                 .quanta = quanta,
                                 .words = (uint32_t)divide_up(slots, 64),
                                 .slack_bits = log2_floor(slot_bytes) + 1,
                                 .inverse = divide_up(UINT64_C(1) << EXPORT_INVERSE_SHIFT, slot_bytes)};
}

void view_make(struct view *view, unsigned char *base, uint64_t capacity)
{
    *view = (struct view){.base = base, .capacity = capacity};
    view->region_shift = region_shift_for(capacity);
    view->region_count = (uint32_t)(capacity >> view->region_shift);
    view->shard_count = shards_for(capacity);
    /* whole cache lines of counts for each shard: words of the undo log never straddle two shards */
    view->row_count = (uint32_t)align_down(least(most(capacity / (64 * KIBI), 64), ROWS_MOST), 16);

    uint64_t at = 0;
    view->header = view_at(view, at);
    at += sizeof(struct header);
    view->pool = view_at(view, at);
    at = align_up(at + sizeof(struct pool), 64);
    view->shards = view_at(view, at);
    at = align_up(at + view->shard_count * sizeof(struct shard), 128);
    view->rows = view_at(view, at);
    at += view->row_count * sizeof(struct process_row);
    view->held = view_at(view, at);
    at += (uint64_t)view->shard_count * view->row_count * sizeof *view->held;
    view->region_owner = view_at(view, at);
    at = align_up(at + view->region_count * sizeof *view->region_owner, 8);
    view->region_free = view_at(view, at);
    at = align_up(at + divide_up(view->region_count, 64) * 8, PAGE_BYTES);
    view->eager_bytes = at;
    view->reserved = view_at(view, at);
    at = align_up(at + divide_up(capacity / PAGE_BYTES, 64) * 8, PAGE_BYTES);
    view->quanta = view_at(view, at);
    at += (capacity >> QUANTUM_SHIFT) * sizeof(struct quantum);
    view->table_regions = (uint32_t)divide_up(at, (uint64_t)1 << view->region_shift);

    for (uint32_t c = 0; c < SLAB_CLASSES; c++)
        view->shapes[c] = shape_of(c);
    for (uint32_t c = 0; c < SLAB_DATA_CLASSES; c++)
        view->export_shapes[c] = export_shape_of(c);
}

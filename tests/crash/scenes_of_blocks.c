/* SPDX-License-Identifier: MIT
 *
 * Scenes of named blocks: allocate, attach, deallocate, find.
 */
#include "parts.h"

#include <stdio.h>
#include <string.h>

#define LONG_FRESH                                                                                           \
    "z a name that is much too long for the sixteen bytes that a record has for names, so it lies elsewhere"

static void hold_two(void)
{
    hold("f/small", 100);
    hold("f/second", 100);
}

static void hold_long(void)
{
    hold("f/small", 100);
    hold("f/this name is too long for a record as well, and in a slot of the same class as the others of "
         "this length",
         60);
}

static void hold_large(void)
{
    hold("f/small", 100);
    hold("f/large", 40000);
}

/* Leaves a region and more free in the shard, with old bytes in it. */
static void hold_and_leave_room(void)
{
    hold("f/small", 100);
    void *large = make("f/left", 100 * KIBI);
    drop(large);
}

/* The free slot that is taken next has old bytes in it, wherever a process begins to look for one. */
static void hold_and_leave_slots(void)
{
    static void *left[SLAB_BYTES / 128];
    char name[32];
    hold_small();
    for (unsigned i = 0; i < COUNT_OF(left); i++) {
        snprintf(name, sizeof name, "f/left %u", i);
        left[i] = make(name, 100);
    }
    for (unsigned i = 0; i < COUNT_OF(left); i++)
        drop(left[i]);
}

/* So much is free that the next large block to go takes regions with it. */
static void hold_one_of_300k(void)
{
    hold("f/first of 300 KiB", 300 * KIBI);
}

static void other_joins(void)
{
    join("f/small", 100);
}

static void allocate_small(void)
{
    kept[0] = shmcore_allocate(stage_segment, "zfresh", 100);
}

static void allocate_other_class(void)
{
    kept[0] = shmcore_allocate(stage_segment, "zfresh", 1000);
}

static void allocate_long_name(void)
{
    kept[0] = shmcore_allocate(stage_segment, LONG_FRESH, 60);
}

static void allocate_extent(void)
{
    kept[0] = shmcore_allocate(stage_segment, "zfresh", 40000);
}

static void allocate_four_quanta(void)
{
    kept[0] = shmcore_allocate(stage_segment, "zfresh", 60000);
}

static void allocate_large_extent(void)
{
    kept[0] = shmcore_allocate(stage_segment, "zfresh", 100000);
}

static void allocate_with_salt(void)
{
    bool created;
    kept[0] = export_share(stage_segment, "zfresh", 4711, 100, &created);
}

static void fill_all(void)
{
    char name[32];
    size_t bytes = 400000;
    for (unsigned i = 0; bytes >= 20000; i++) {
        snprintf(name, sizeof name, "zfill%u", i);
        if (shmcore_allocate(stage_segment, name, bytes) == NULL)
            bytes /= 2;
    }
}

static void allocate_in_vain(void)
{
    if (shmcore_allocate(stage_segment, "zfresh", 40000) != NULL)
        _exit(99);
}

static void attach_small(void)
{
    kept[1] = shmcore_allocate(stage_segment, "f/small", 100);
}

static void attach_own(void)
{
    kept[1] = shmcore_allocate(stage_segment, "f/own", 100);
}

static void have_second(void)
{
    kept[0] = join("f/second", 100);
}

static void deallocate(void)
{
    shmcore_deallocate(stage_segment, kept[0]);
}

static void have_own_twice(void)
{
    kept[0] = make("f/own", 100);
    join("f/own", 100);
}

static void survivor_joins_own(void)
{
    hold("f/own", 100);
}

static void have_joined_twice(void)
{
    kept[0] = join("f/small", 100);
    join("f/small", 100);
}

static void have_alone(void)
{
    kept[0] = make("f/alone", 9000);
}

/* Two to a slab of 64 KiB: the survivor fills one, the victim begins the next. */
static void hold_half_slab(void)
{
    hold("f/slab 1", 24000);
}

static void hold_full_slab_and_room(void)
{
    hold("f/slab 1", 24000);
    kept[1] = make("f/slab 2", 24000);
}

static void have_next_slab(void)
{
    kept[0] = make("f/slab 3", 24000);
}

static void survivor_makes_room(void)
{
    drop(kept[1]);
}

static void hold_full_slab_and_much_room(void)
{
    hold_full_slab_and_room();
    kept[2] = make("f/room", 60000);
}

static void survivor_makes_much_room(void)
{
    drop(kept[1]);
    drop(kept[2]);
}

/* With more than one slab that has room the links between them matter; these have two slots. */
static void hold_two_slabs_with_room(void)
{
    static const char *const names[] = {"f/slab 1", "f/goes from slab 1", "f/slab 2", "f/goes from slab 2"};
    for (unsigned i = 0; i < COUNT_OF(names); i++)
        if (i % 2 == 0)
            hold(names[i], 24000);
        else
            kept[i] = make(names[i], 24000);
    drop(kept[1]);
    drop(kept[3]);
}

static void allocate_24k(void)
{
    kept[0] = shmcore_allocate(stage_segment, "zfresh", 24000);
}

static void survivor_fills_it_and_makes_room(void)
{
    hold("f/fills the slab", 24000);
    drop(kept[1]);
}

/* The victim's slab, the second of three, is in the middle of their list. */
static void survivor_makes_room_around(void)
{
    void *fills = make("f/fills slab 2", 24000);
    hold("f/slab 3", 24000);
    void *goes = make("f/goes from slab 3", 24000);
    drop(kept[1]);
    drop(fills);
    drop(goes);
}

/* Free extents of one length, apart from each other, so that they hang in one bin. They are carved from a run
 * that is just too short for its regions to go. */
static void hold_room_and_hole(void)
{
    drop(make("f/room", 25 * QUANTUM_BYTES));
    hold("f/exactly what lies beside the table", 3 * QUANTUM_BYTES);
    hold("f/a", 3 * QUANTUM_BYTES);
    kept[1] = make("f/hole 1", 2 * QUANTUM_BYTES);
}

static void hold_holes(void)
{
    hold_room_and_hole();
    hold("f/b", 3 * QUANTUM_BYTES);
    kept[2] = make("f/hole 2", 2 * QUANTUM_BYTES);
    hold("f/c", 3 * QUANTUM_BYTES);
    drop(kept[1]);
    drop(kept[2]);
}

static void have_three_quanta(void)
{
    kept[0] = make("f/mine", 3 * QUANTUM_BYTES);
}

/* The holes on both sides of the victim's are in the middle of their bin. */
static void survivor_makes_holes(void)
{
    kept[2] = make("f/hole 2", 2 * QUANTUM_BYTES);
    hold("f/b", 3 * QUANTUM_BYTES);
    kept[3] = make("f/hole 3", 2 * QUANTUM_BYTES);
    hold("f/c", 3 * QUANTUM_BYTES);
    kept[4] = make("f/hole 4", 2 * QUANTUM_BYTES);
    hold("f/d", 3 * QUANTUM_BYTES);
    drop(kept[3]);
    drop(kept[1]);
    drop(kept[2]);
    drop(kept[4]);
}

static void hold_hole_apart(void)
{
    hold_room_and_hole();
    hold("f/b", 3 * QUANTUM_BYTES);
}

static void have_two_quanta(void)
{
    kept[0] = make("f/mine", 2 * QUANTUM_BYTES);
}

static void survivor_makes_hole_apart(void)
{
    hold("f/c", 3 * QUANTUM_BYTES);
    drop(kept[1]);
}

static void allocate_two_quanta(void)
{
    kept[0] = shmcore_allocate(stage_segment, "zfresh", 2 * QUANTUM_BYTES);
}

static void hold_small_and_leave(void)
{
    hold_small();
    kept[1] = make("f/first", 100);
}

static void have_joined_first(void)
{
    kept[0] = join("f/first", 100);
}

static void have_300k(void)
{
    kept[0] = make("f/mine of 300 KiB", 300 * KIBI);
}

static void have_40k(void)
{
    kept[0] = make("f/mine of 40 KiB", 40 * KIBI);
}

static void have_long_name(void)
{
    kept[0] = make(LONG_NAME, 80);
}

static void find_small(void)
{
    kept[0] = shmcore_find(stage_segment, "f/small", NULL);
}

static void find_nothing(void)
{
    kept[0] = shmcore_find(stage_segment, "f/nothing of that name", NULL);
}

const struct scene scenes_of_blocks[] = {
    SCENE("allocate new: the first block of all", SMALL, 0, .survivor = hold_nothing,
          .operate = allocate_small, FRESH(100)),
    SCENE("allocate new: a slab has room", SMALL, 0, .survivor = hold_small, .operate = allocate_small,
          FRESH(100)),
    SCENE("allocate new: slot with old bytes", SMALL, 0, .survivor = hold_and_leave_slots,
          .operate = allocate_small, FRESH(100)),
    SCENE("allocate new: slab from the shard's room", SMALL, 0, .survivor = hold_and_leave_room,
          .operate = allocate_other_class, FRESH(1000)),
    SCENE("allocate new: slab from the pool", SMALL, 0, .survivor = hold_small,
          .operate = allocate_other_class, FRESH(1000)),
    SCENE("allocate new: the first long name", SMALL, 0, .survivor = hold_small,
          .operate = allocate_long_name, .fresh = LONG_FRESH, .fresh_bytes = 60),
    SCENE("allocate new: long name", SMALL, 0, .survivor = hold_long, .operate = allocate_long_name,
          .fresh = LONG_FRESH, .fresh_bytes = 60),
    SCENE("allocate new: share with a salt", SMALL, 0, .survivor = hold_small, .operate = allocate_with_salt,
          FRESH(100)),
    SCENE("allocate new: extent in the shard's room", SMALL, 0, .survivor = hold_large,
          .operate = allocate_extent, FRESH(40000)),
    SCENE("allocate new: extent over old memory", SMALL, 0, .survivor = hold_and_leave_room,
          .operate = allocate_four_quanta, FRESH(60000)),
    SCENE("allocate new: extent from the pool", SMALL, 0, .survivor = hold_small,
          .operate = allocate_large_extent, FRESH(100000)),
    SCENE("allocate new: the last slot of one of several slabs", SMALL, 0,
          .survivor = hold_two_slabs_with_room, .operate = allocate_24k, FRESH(24000)),
    SCENE("allocate new: extent from a bin of several", SMALL, 0, .survivor = hold_holes,
          .operate = allocate_two_quanta, FRESH(2 * QUANTUM_BYTES)),
    SCENE("allocate new: four shards", MIDDLE, 0, .survivor = hold_several, .operate = allocate_small,
          FRESH(100)),
    SCENE("allocate new: in vain", SMALL, 0, .survivor = hold_small, .prepare = fill_all,
          .operate = allocate_in_vain),
    SCENE("attach: again, as the first", SMALL, 0, .survivor = hold_small, .prepare = have_own,
          .operate = attach_own),
    SCENE("attach: own slot, first of the slab", SMALL, 0, .survivor = hold_small, .operate = attach_small),
    SCENE("attach: own slot", SMALL, 0, .survivor = hold_two, .other = other_joins, .prepare = have_second,
          .operate = attach_small),
    SCENE("attach: again, in its slot", SMALL, 0, .survivor = hold_small, .prepare = have_joined,
          .operate = attach_small),
    SCENE("deallocate not last: as the first", SMALL, 0, .survivor = hold_small, .prepare = have_own_twice,
          .after = survivor_joins_own, .operate = deallocate),
    SCENE("deallocate not last: the first leaves", SMALL, 0, .survivor = hold_small, .prepare = have_own,
          .after = survivor_joins_own, .operate = deallocate),
    SCENE("deallocate not last: slot counts down", SMALL, 0, .survivor = hold_small,
          .prepare = have_joined_twice, .operate = deallocate),
    SCENE("deallocate not last: slot goes", SMALL, 0, .survivor = hold_small, .other = other_joins,
          .prepare = have_joined, .operate = deallocate),
    SCENE("deallocate last: slab stays", SMALL, 0, .survivor = hold_small, .prepare = have_own,
          .operate = deallocate),
    SCENE("deallocate last: an empty slab stays", SMALL, 0, .survivor = hold_small, .prepare = have_alone,
          .operate = deallocate),
    SCENE("deallocate last: a full slab gets room", SMALL, 0, .survivor = hold_half_slab,
          .prepare = have_next_slab, .operate = deallocate),
    SCENE("deallocate last: slab goes", SMALL, 0, .survivor = hold_full_slab_and_room,
          .prepare = have_next_slab, .after = survivor_makes_room, .operate = deallocate),
    SCENE("deallocate last: slab and regions go", SMALL, 0, .survivor = hold_full_slab_and_much_room,
          .prepare = have_next_slab, .after = survivor_makes_much_room, .operate = deallocate),
    SCENE("deallocate last: extent stays in the shard", SMALL, 0, .survivor = hold_small, .prepare = have_40k,
          .operate = deallocate),
    SCENE("deallocate last: extent, regions go", SMALL, 0, .survivor = hold_one_of_300k, .prepare = have_300k,
          .operate = deallocate),
    SCENE("deallocate last: long name", SMALL, 0, .survivor = hold_long, .prepare = have_long_name,
          .operate = deallocate),
    SCENE("deallocate last: by its slot", SMALL, 0, .survivor = hold_small_and_leave,
          .prepare = have_joined_first, .after = survivor_makes_room, .operate = deallocate),
    SCENE("deallocate last: a full slab gets room beside others", SMALL, 0,
          .survivor = hold_full_slab_and_room, .prepare = have_next_slab,
          .after = survivor_fills_it_and_makes_room, .operate = deallocate),
    SCENE("deallocate last: slab in the middle goes", SMALL, 0, .survivor = hold_full_slab_and_room,
          .prepare = have_next_slab, .after = survivor_makes_room_around, .operate = deallocate),
    SCENE("deallocate last: extent between free ones", SMALL, 0, .survivor = hold_room_and_hole,
          .prepare = have_three_quanta, .after = survivor_makes_holes, .operate = deallocate),
    SCENE("deallocate last: extent into a bin of several", SMALL, 0, .survivor = hold_hole_apart,
          .prepare = have_two_quanta, .after = survivor_makes_hole_apart, .operate = deallocate),
    SCENE("find: a block", SMALL, 0, .survivor = hold_small, .operate = find_small),
    SCENE("find: nothing", SMALL, 0, .survivor = hold_exports, .prepare = have_one_export,
          .operate = find_nothing),
};

const unsigned scenes_of_blocks_count = COUNT_OF(scenes_of_blocks);

/* SPDX-License-Identifier: MIT
 *
 * Scenes of processes and their exported blocks: export, open, close, exit, reap, fork, recover.
 */
#include "parts.h"

#include <string.h>

#include "forked.h"

/* Everything that one can hold. */
static void other_has_much(void)
{
    join("f/small", 100);
    join("f/small", 100);
    make("f/its own", 2000);
    make("f/its large one", 70000);
    make(LONG_NAME, 80);
    label_them();
    export_one(0, 600);
    export_one(1, 40000);
}

static void export_small(void)
{
    kept[0] = export_allocate(stage_segment, &source, 30, 4000, 16, EXPORT_ZERO);
}

/* Slabs of this size have room for 15. */
static void have_full_slab(void)
{
    label_them();
    for (unsigned i = 0; i < 15; i++)
        kept[i] = export_one(i, 4000);
}

static void have_two_slabs(void)
{
    label_them();
    for (unsigned i = 0; i < 16; i++)
        kept[i] = export_one(i, 4000);
}

static void export_return(void)
{
    export_free(stage_segment, kept[0]);
}

static void export_return_all(void)
{
    for (unsigned i = 0; i < 15; i++)
        export_free(stage_segment, kept[i]);
}

static void export_large(void)
{
    kept[0] = export_allocate(stage_segment, &source, 31, 90000, 16, EXPORT_ZERO);
}

static void have_large_export(void)
{
    label_them();
    kept[0] = export_one(1, 90000);
}

static void have_touched_export(void)
{
    label_them();
    kept[0] = export_allocate(stage_segment, &source, 1, 90000, 16, EXPORT_TOUCH);
    MUST(kept[0] != NULL);
    memset(kept[0], 5, 9000);
}

static void have_huge_export(void)
{
    label_them();
    kept[0] = export_allocate(stage_segment, &source, 1, 70 * MEBI, 16, EXPORT_TOUCH);
    MUST(kept[0] != NULL);
    memset(kept[0], 5, 9000);
}

static void retire(void)
{
    export_retire(stage_segment, &source);
}

static void open_second(void)
{
    scene_open();
}

static void close_it(void)
{
    shmcore_close(stage_segment);
}

static void leave(void)
{
    exit(0);
}

static void have_some(void)
{
    have_own();
    have_joined();
    have_one_export();
}

static void reap_dead(void)
{
    reap_some(stage_segment, ROWS_MOST);
}

/* What a process needs that goes on after a death: the pool, the shards, the rows of the dead. */
static void recover_all(void)
{
    struct guarded guarded;
    for (uint32_t s = 0; s < stage_segment->file.view.shard_count; s++)
        if (shard_enter(stage_segment, s, &guarded))
            shard_leave(&guarded);
    if (pool_enter(stage_segment, &guarded))
        pool_leave(&guarded);
    reap_some(stage_segment, ROWS_MOST);
}

static void fork_without_fork(void)
{
    forked_prepare();
    forked_parent();
}

static void have_forked(void)
{
    have_some();
    forked_prepare();
}

static void be_the_child(void)
{
    forked_child();
}

const struct scene scenes_of_processes[] = {
    SCENE("export: first label", SMALL, 0, .survivor = hold_exports, .operate = label_only),
    SCENE("export: second label", SMALL, 0, .survivor = hold_exports, .prepare = label_only,
          .operate = label_only),
    SCENE("export: slot of the first slab", SMALL, 0, .survivor = hold_exports, .prepare = label_only,
          .operate = export_small),
    SCENE("export: slot of a slab with room", SMALL, 0, .survivor = hold_exports, .prepare = have_one_export,
          .operate = export_small),
    SCENE("export: slot, the slab is full", SMALL, 0, .survivor = hold_exports, .prepare = have_full_slab,
          .operate = export_small),
    SCENE("export: slot returned", SMALL, 0, .survivor = hold_exports, .prepare = have_one_export,
          .operate = export_return),
    SCENE("export: slot of a full slab returned", SMALL, 0, .survivor = hold_exports,
          .prepare = have_two_slabs, .operate = export_return),
    SCENE("export: all slots of a slab returned", SMALL, 0, .survivor = hold_exports,
          .prepare = have_two_slabs, .operate = export_return_all),
    SCENE("export: extent", SMALL, 0, .survivor = hold_exports, .prepare = label_only,
          .operate = export_large),
    SCENE("export: extent returned", SMALL, 0, .survivor = hold_exports, .prepare = have_large_export,
          .operate = export_return),
    SCENE("export: touched extent returned", SMALL, 0, .survivor = hold_exports,
          .prepare = have_touched_export, .operate = export_return),
    SCENE("export: regions returned", LARGE, SCENE_FEW, .survivor = hold_small, .prepare = have_huge_export,
          .operate = export_return),
    SCENE("export: thread ends", SMALL, 0, .survivor = hold_exports, .prepare = have_one_export,
          .operate = retire),
    SCENE("open: as second", SMALL, SCENE_OPENS, .survivor = hold_small, .operate = open_second),
    SCENE("open: and reap the dead", SMALL, SCENE_OPENS | SCENE_OTHER_DIES, .survivor = hold_small,
          .other = other_has_much, .operate = open_second),
    SCENE("close: not the last", SMALL, 0, .survivor = hold_exports, .prepare = have_some,
          .operate = close_it),
    SCENE("exit: not the last", SMALL, 0, .survivor = hold_exports, .prepare = have_some, .operate = leave),
    SCENE("reap", SMALL, SCENE_OTHER_DIES, .survivor = hold_small, .other = other_has_much,
          .operate = reap_dead),
    SCENE("reap: four shards", MIDDLE, SCENE_OTHER_DIES, .survivor = hold_several, .other = other_has_much,
          .operate = reap_dead),
    SCENE("fork: the parent", SMALL, 0, .survivor = hold_small, .prepare = have_some,
          .operate = fork_without_fork),
    SCENE("fork: the child", SMALL, 0, .survivor = hold_small, .prepare = have_forked,
          .operate = be_the_child),
    SCENE("recover", SMALL, SCENE_RECOVERS, .operate = recover_all),
    SCENE("open: as creator", SMALL, SCENE_OPENS | SCENE_ALONE, .operate = open_second),
    SCENE("close: the last", SMALL, SCENE_ALONE, .prepare = have_some, .operate = close_it),
    SCENE("exit: the last", SMALL, SCENE_ALONE, .prepare = have_some, .operate = leave),
};

const unsigned scenes_of_processes_count = COUNT_OF(scenes_of_processes);

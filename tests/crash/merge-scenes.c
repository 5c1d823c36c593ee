/* SPDX-License-Identifier: MIT
 *
 * The scenes of merging. What the contents' letters mean is said in merge-actors.c.
 */
#include <stdlib.h>

#include "merge-actors.h"
#include "merge_index_own.h"
#include "private_own.h"

/* ---------------------------------------------------------------- parts */

static void have_a(void)
{
    actor_have('A');
}

static void have_b(void)
{
    actor_have('B');
}

static void have_c(void)
{
    actor_have('C');
}

static void have_d(void)
{
    actor_have('D');
}

static void merge_a(void)
{
    have_a();
    actor_merge();
}

static void merge_b(void)
{
    have_b();
    actor_merge();
}

/* Published, and let go of again. */
static void have_published(void)
{
    merge_a();
    actor_write('D');
    actor_merge();
    actor_write('B');
}

static void merged_then_differs(void)
{
    merge_a();
    actor_write('D');
}

static void merged_then_written(void)
{
    merge_a();
    actor_write('C');
}

static void merged_then_zero(void)
{
    merge_a();
    actor_write('Z');
}

/* Lets go of the first chunk, whose file the second one still needs. */
static void let_go_of_first(void)
{
    actor_write('E');
    actor_merge();
}

static void merge_twice(void)
{
    actor_merge();
    actor_merge();
}

static void leave(void)
{
    exit(0);
}

static void open_and_merge(void)
{
    actor_open();
    merge_a();
}

static void reap(void)
{
    reap_some(actor_segment, ROWS_MOST);
}

static void reap_and_merge(void)
{
    reap();
    actor_merge();
}

static struct merge_index *index_here(void)
{
    return &private_space_for(actor_segment)->index;
}

static uint32_t first_chunk(void)
{
    for (uint32_t chunk = 0; chunk < MERGE_CHUNKS; chunk++)
        if (merge_index_held(index_here(), actor_row(), chunk) != HELD_NOTHING)
            return chunk;
    MUST(false);
    return 0;
}

static void lock_index(void)
{
    const int locked = merge_index_lock(index_here());
    MUST(locked >= 0);
    merge_index_unlock(locked);
}

/* As one who is killed while it copies … */
static void be_publishing(void)
{
    uint32_t number;
    have_a();
    MUST(merge_index_begin(index_here(), actor_row(), first_chunk(), &number) >= 0);
}

/* … and as one who is killed while it lets go of the last copy. */
static void be_closing(void)
{
    merge_a();
    const uint32_t chunk = first_chunk();
    atomic_store(&index_here()->file->held[actor_row()][chunk], HELD_NOTHING);
    atomic_fetch_or(&index_here()->file->chunks[chunk].state, CHUNK_CLOSING);
}

/* ---------------------------------------------------------------- scenes */

static const struct merge_scene scenes[] = {
    {"the index is made", MERGE_FRESH, 'A', .survivor = NULL, .operate = open_and_merge},
    {"publish", 0, 'A', .survivor = have_a, .prepare = have_a, .operate = actor_merge},
    {"publish, and the other has something else", 0, 'C', .survivor = have_c, .prepare = have_b,
     .operate = actor_merge},
    {"publish anew", 0, 'C', .survivor = have_c, .prepare = have_published, .operate = actor_merge},
    {"join", 0, 'A', .survivor = merge_a, .prepare = have_a, .operate = actor_merge},
    {"join with differences", 0, 'B', .survivor = merge_b, .prepare = have_c, .operate = actor_merge},
    {"join in vain", 0, 'A', .survivor = merge_a, .prepare = have_d, .operate = actor_merge},
    {"merge again after writes", 0, 'A', .survivor = merge_a, .prepare = merged_then_written,
     .operate = actor_merge},
    {"let go after writes, publish anew", 0, 'A', .survivor = have_a, .prepare = merged_then_differs,
     .operate = merge_twice},
    {"all is zero again", 0, 'A', .survivor = merge_a, .prepare = merged_then_zero, .operate = actor_merge},
    {"all is zero again, the last holder", 0, 'A', .prepare = merged_then_zero, .operate = actor_merge},
    {"free, not the last holder", 0, 'A', .survivor = merge_a, .prepare = merge_a, .operate = actor_free},
    {"free, the last holder", 0, 'A', .survivor = have_a, .prepare = merge_a, .operate = actor_free},
    {"close, not the last", MERGE_ENDS, 'A', .survivor = merge_a, .prepare = merge_a, .operate = actor_close},
    {"close, the last holder", MERGE_ENDS, 'A', .survivor = have_a, .prepare = merge_a,
     .operate = actor_close},
    {"exit, the last process", MERGE_ENDS | MERGE_ALONE, 'C', .prepare = merge_b, .operate = leave},
    {"reap a holder", MERGE_OTHER_DIES, 'A', .survivor = merge_a, .other = merge_a, .prepare = have_a,
     .operate = reap_and_merge},
    {"reap the last holder", MERGE_OTHER_DIES, 'D', .survivor = have_d, .other = merge_a, .prepare = have_d,
     .operate = reap_and_merge},
    {"reap one who was publishing", MERGE_OTHER_DIES, 'A', .survivor = have_a, .other = be_publishing,
     .prepare = have_a, .operate = reap_and_merge},
    {"reap one who was closing", MERGE_OTHER_DIES, 'A', .survivor = have_a, .other = be_closing,
     .prepare = have_a, .operate = reap_and_merge},
    {"go on from one who was publishing", MERGE_OTHER_DIES, 'A', .survivor = have_a, .other = be_publishing,
     .prepare = have_a, .operate = actor_merge},
    {"go on from one who was closing", MERGE_OTHER_DIES, 'A', .survivor = have_a, .other = be_closing,
     .prepare = have_a, .operate = actor_merge},
    /* nobody dies: at every mark somebody else comes between */
    {"the index is made by two", MERGE_FRESH | MERGE_NEEDS_LOCK, 'A', .operate = open_and_merge,
     .meanwhile = merge_a},
    {"publish, the other publishes", 0, 'A', .survivor = have_a, .prepare = have_a, .operate = actor_merge,
     .meanwhile = actor_merge},
    {"publish, the other has something else", 0, 'C', .survivor = have_c, .prepare = have_published,
     .operate = actor_merge, .meanwhile = actor_merge},
    {"the index stays locked, the other merges", MERGE_LOCKED, 'A', .survivor = have_a, .prepare = have_a,
     .operate = lock_index, .meanwhile = actor_merge},
    {"join, the last holder frees", 0, 'A', .survivor = merge_a, .prepare = have_a, .operate = actor_merge,
     .meanwhile = actor_free},
    {"join, the last holder lets go", 0, 'A', .survivor = merge_a, .prepare = have_a, .operate = actor_merge,
     .meanwhile = let_go_of_first},
    {"free as the last holder, the other joins", 0, 'A', .survivor = have_a, .prepare = merge_a,
     .operate = actor_free, .meanwhile = actor_merge},
    {"close as the last holder, the other joins", MERGE_ENDS, 'A', .survivor = have_a, .prepare = merge_a,
     .operate = actor_close, .meanwhile = actor_merge},
    {"reap the last holder, the other joins", MERGE_OTHER_DIES, 'A', .survivor = have_a, .other = merge_a,
     .prepare = have_b, .operate = reap, .meanwhile = actor_merge},
    {"reap one who was closing, the other joins", MERGE_OTHER_DIES, 'A', .survivor = have_a,
     .other = be_closing, .prepare = have_b, .operate = reap, .meanwhile = actor_merge},
    /* and dies right after that */
    {"free as the last holder, the other joins, then it dies", MERGE_DIES_NEXT, 'A', .survivor = have_a,
     .prepare = merge_a, .operate = actor_free, .meanwhile = actor_merge},
    {"join, the last holder frees, then it dies", MERGE_DIES_NEXT, 'A', .survivor = merge_a,
     .prepare = have_a, .operate = actor_merge, .meanwhile = actor_free},
    {"publish, the other publishes, then it dies", MERGE_DIES_NEXT, 'C', .survivor = have_c,
     .prepare = have_published, .operate = actor_merge, .meanwhile = actor_merge},
    {"reap the last holder, the other joins, then it dies", MERGE_OTHER_DIES | MERGE_DIES_NEXT, 'A',
     .survivor = have_a, .other = merge_a, .prepare = have_b, .operate = reap, .meanwhile = actor_merge},
};

const struct merge_scene *merge_scene_at(unsigned index)
{
    return index < COUNT_OF(scenes) ? &scenes[index] : NULL;
}

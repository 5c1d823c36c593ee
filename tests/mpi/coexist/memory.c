/* SPDX-License-Identifier: MIT
 *
 * Where messages lie: blocks of every kind, merged when they are asked to be, or all the time.
 */
#include "coexist.h"

#include <pthread.h>
#include <stdatomic.h>

#define APART    __attribute__((noinline))
#define PATIENCE 20000u /* ms */
#define TRIES    100u

const char *const kind_names[KINDS] = {"own", "routed", "named", "merged", "private", "MPI's"};
unsigned char *outgoing[KINDS], *incoming[KINDS];

static struct {
    bool shim;
    shmcore_segment *segment;  /* the program's */
    shmcore_segment *of_rules; /* the shim's, NULL without */
    unsigned char *named;      /* of all ranks */
    pthread_t presser;
    _Atomic bool stop;
    unsigned long pressed;
} memory;

/* ---------------------------------------------------------------- taking and giving */

APART static unsigned char *take_routed(size_t bytes)
{
    unsigned char *block = malloc(bytes);
    __asm__ volatile("" : "+r"(block)); /* no jump to malloc */
    return block;
}

/* Not the same as the one above, or the compiler would make one of them. */
APART static unsigned char *take_merged(size_t bytes)
{
    unsigned char *block = calloc(1, bytes);
    __asm__ volatile("" : "+r"(block));
    return block;
}

unsigned char *memory_take(enum kind kind, size_t bytes)
{
    void *block = NULL;
    switch (kind) {
    case KIND_ROUTED:
        return take_routed(bytes);
    case KIND_MERGED:
        return take_merged(bytes);
    case KIND_PRIVATE:
        return shmcore_private(memory.segment, "private", bytes);
    case KIND_MPI:
        return MPI_Alloc_mem((MPI_Aint)bytes, MPI_INFO_NULL, &block) == MPI_SUCCESS ? block : NULL;
    default:
        return NULL;
    }
}

void memory_give(enum kind kind, unsigned char *block)
{
    if (kind == KIND_MPI)
        MPI_Free_mem(block);
    else if (kind == KIND_PRIVATE)
        shmcore_deallocate(memory.segment, block);
    else if (kind == KIND_ROUTED || kind == KIND_MERGED)
        free(block);
}

static void take_all(void)
{
    static unsigned char own[2][BLOCK_BYTES];
    memory.named = shmcore_allocate(memory.segment, "named", (size_t)ranks * 2 * BLOCK_BYTES);
    for (enum kind kind = 0; kind < KINDS; kind++) {
        outgoing[kind] = memory_take(kind, BLOCK_BYTES);
        incoming[kind] = memory_take(kind, BLOCK_BYTES);
    }
    outgoing[KIND_OWN] = own[0];
    incoming[KIND_OWN] = own[1];
    outgoing[KIND_NAMED] = memory.named + (size_t)rank * 2 * BLOCK_BYTES;
    incoming[KIND_NAMED] = outgoing[KIND_NAMED] + BLOCK_BYTES;
}

static bool have_all(void)
{
    bool good = memory.named != NULL;
    for (enum kind kind = 0; kind < KINDS; kind++)
        good = good && outgoing[kind] != NULL && incoming[kind] != NULL;
    return good;
}

/* By the rules, not by the program's own malloc. */
static bool is_routed(void)
{
    shmcore_block block;
    return shmcore_block_of(incoming[KIND_ROUTED], &block) == 0 && block.bytes == BLOCK_BYTES &&
           block.kind == SHMCORE_BLOCK_EXPORT;
}

void memory_begin(bool shim)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.size = 256 * MIB;
    memory.shim = shim;
    memory.segment = shmcore_open("SHARED::coexist", &traits);
    memory.of_rules = shim ? shmcore_open("SHARED::node", NULL) : NULL;
    if (!CHECK(memory.segment != NULL && (memory.of_rules != NULL) == shim, "the segments are there"))
        MPI_Abort(MPI_COMM_WORLD, 1);
    take_all();
    if (!CHECK(have_all(), "blocks of every kind"))
        MPI_Abort(MPI_COMM_WORLD, 1);
    CHECK(!shim || is_routed(), "what a rule is to route is routed");
    for (enum kind kind = 0; kind < KINDS; kind++) {
        content_write(outgoing[kind], ground_of_outgoing(kind, 0), BLOCK_BYTES);
        content_write(incoming[kind], ground_of_incoming(kind, 0), BLOCK_BYTES);
    }
}

void memory_end(void)
{
    MPI_Barrier(MPI_COMM_WORLD);
    for (enum kind kind = 0; kind < KINDS; kind++) {
        memory_give(kind, outgoing[kind]);
        memory_give(kind, incoming[kind]);
    }
    shmcore_close(memory.of_rules);
    shmcore_close(memory.segment);
}

/* ---------------------------------------------------------------- merging */

/* How much of what is merged in the segment is one copy, of all ranks together. */
static int add_merged(const shmcore_merged *merged, void *bytes)
{
    *(size_t *)bytes += merged->merged;
    return 0;
}

/* The four blocks of the two kinds, in all ranks. */
static bool all_is_merged(void)
{
    size_t of_program = 0, of_rules = 0;
    const size_t expected = 2 * BLOCK_BYTES * (size_t)ranks;
    shmcore_for_each_merged(memory.segment, add_merged, &of_program);
    if (memory.shim)
        shmcore_for_each_merged(memory.of_rules, add_merged, &of_rules);
    return of_program >= expected && (!memory.shim || of_rules >= expected);
}

/* Once for each rank that publishes, and once for those that find what it has published. */
static void merge_once(void)
{
    shmcore_merge(memory.segment, NULL);
    if (memory.shim && rank == 0)
        shmcore_ask_merge(memory.of_rules, PATIENCE);
}

/* What cannot be held still at the moment, on a busy machine, can be a moment later. */
bool memory_merge(void)
{
    int good = false;
    for (unsigned tries = 0; tries < TRIES && !good; tries++) {
        MPI_Barrier(MPI_COMM_WORLD); /* all blocks are their ground, and nobody looks any more */
        merge_once();
        MPI_Barrier(MPI_COMM_WORLD);
        good = all_is_merged();
        MPI_Allreduce(MPI_IN_PLACE, &good, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    }
    return good;
}

static void *press(void *unused)
{
    while (!atomic_load(&memory.stop)) {
        memory.pressed += shmcore_merge(memory.segment, NULL) > 0;
        if (memory.shim && rank == 0)
            shmcore_ask_merge(memory.of_rules, PATIENCE);
    }
    return unused;
}

void memory_press(void)
{
    atomic_store(&memory.stop, false);
    memory.pressed = 0;
    if (pthread_create(&memory.presser, NULL, press, NULL) != 0)
        MPI_Abort(MPI_COMM_WORLD, 1);
}

unsigned long memory_release(void)
{
    atomic_store(&memory.stop, true);
    pthread_join(memory.presser, NULL);
    return memory.pressed;
}

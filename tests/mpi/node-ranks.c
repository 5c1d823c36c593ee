/* SPDX-License-Identifier: MIT
 *
 * Victim of nodes.sh: ranks on several nodes that use libshmcore-mpi with the segment of their node.
 *
 *     mpirun … node-ranks filled     who is with whom, and a block that one rank fills and all nodes have
 *     mpirun … node-ranks killed     rank 0 kills rank 1 in the middle of its work; the others go on without
 * it mpirun … node-ranks all-killed they go on until somebody ends them, too
 *
 * It judges nothing but bytes: each rank says a line, rank 0 prints them in order, and the script compares.
 * No rank is told which node it is on; it has its host's name and the segment, as any program has.
 */
#include "shmcore_mpi.h"

#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { LINE = 512, TABLE = 3 << 20, TURNS = 2000 };

static int rank, ranks;
static char host[64];

static _Noreturn void give_up(const char *what, const char *why)
{
    fprintf(stderr, "rank %d on %s: %s: %s\n", rank, host, what, why);
    MPI_Abort(MPI_COMM_WORLD, 1);
    abort();
}

/* Collective over `comm`: a line from each rank, printed by its rank 0. */
static __attribute__((__format__(__printf__, 2, 3))) void say(MPI_Comm comm, const char *format, ...)
{
    char line[LINE], *lines = NULL;
    int own, count;
    va_list values;
    va_start(values, format);
    vsnprintf(line, sizeof line, format, values);
    va_end(values);
    MPI_Comm_rank(comm, &own);
    MPI_Comm_size(comm, &count);
    if (own == 0 && (lines = malloc((size_t)count * LINE)) == NULL)
        give_up("malloc", strerror(errno));
    MPI_Gather(line, LINE, MPI_CHAR, lines, LINE, MPI_CHAR, 0, comm);
    for (int i = 0; own == 0 && i < count; i++)
        printf("%s\n", lines + i * LINE);
    fflush(stdout);
    free(lines);
}

/* The ranks of MPI_COMM_WORLD that a communicator holds, in its order; "-" for none. */
static const char *members(MPI_Comm comm, char text[64])
{
    int size, number[16], in_world[16], length = 0;
    MPI_Group world, group;
    if (comm == MPI_COMM_NULL)
        return "-";
    MPI_Comm_size(comm, &size);
    for (int i = 0; i < size && i < 16; i++)
        number[i] = i;
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Comm_group(comm, &group);
    MPI_Group_translate_ranks(group, size < 16 ? size : 16, number, world, in_world);
    MPI_Group_free(&group);
    MPI_Group_free(&world);
    for (int i = 0; i < size && i < 16; i++)
        length += snprintf(text + length, 64 - (size_t)length, "%s%d", i > 0 ? "," : "", in_world[i]);
    return text;
}

/* ---------------------------------------------------------------- a block that one rank fills */

static uint32_t word_of(size_t at, uint32_t seed)
{
    return (uint32_t)(at * 2654435761u) ^ seed;
}

static int fill(void *block, size_t bytes, void *argument)
{
    int *const calls = argument;
    uint32_t *words = block;
    ++*calls;
    for (size_t i = 0; i < bytes / sizeof *words; i++)
        words[i] = word_of(i, (uint32_t)rank);
    return 0;
}

static bool is_whole(const uint32_t *words, uint32_t seed)
{
    for (size_t i = 0; i < TABLE / sizeof *words; i++)
        if (words[i] != word_of(i, seed))
            return false;
    return true;
}

/* A block of the ranks of `comm`; rank `filler` of MPI_COMM_WORLD is the first of them. */
static void test_block(shmcore_segment *segment, MPI_Comm comm, const char *name, int filler)
{
    char mates[64], leading[64];
    MPI_Comm together, leaders;
    const void *table;
    shmcore_block block;
    int calls = 0;
    if (shmcore_mpi_communicator(segment, comm, &together) != 0 ||
        shmcore_mpi_leaders(segment, comm, &leaders) != 0 ||
        shmcore_mpi_allocate_filled(segment, comm, name, TABLE, fill, &calls, &table) != 0)
        give_up(name, shmcore_mpi_error());
    MPI_Barrier(MPI_COMM_WORLD);
    if (shmcore_block_of(table, &block) != 0)
        give_up(name, shmcore_error());
    say(MPI_COMM_WORLD, "%s: rank %d on %s: with %s, leaders %s, filled %d times, %s, %u references", name,
        rank, host, members(together, mates), members(leaders, leading), calls,
        is_whole(table, (uint32_t)filler) ? "whole" : "wrong", block.refs);
    MPI_Barrier(MPI_COMM_WORLD);
    shmcore_deallocate(segment, (void *)(uintptr_t)table);
}

/* The last rank's node has a block of that name already. */
static void test_refusal(shmcore_segment *segment)
{
    int calls = 0;
    const void *table;
    void *taken = rank == ranks - 1 ? shmcore_allocate(segment, "taken", 100) : NULL;
    MPI_Barrier(MPI_COMM_WORLD);
    const int result =
        shmcore_mpi_allocate_filled(segment, MPI_COMM_WORLD, "taken", TABLE, fill, &calls, &table);
    say(MPI_COMM_WORLD, "taken: rank %d: %d, %s, filled %d times: %s", rank, result,
        errno == EEXIST ? "EEXIST" : strerror(errno), calls, shmcore_mpi_error());
    shmcore_deallocate(segment, taken);
}

static void run_filled(shmcore_segment *segment)
{
    int node_ranks;
    MPI_Comm together, column;
    MPI_Barrier(MPI_COMM_WORLD); /* all have the segment open */
    if (shmcore_mpi_communicator(segment, MPI_COMM_WORLD, &together) != 0)
        give_up("communicator", shmcore_mpi_error());
    MPI_Comm_size(together, &node_ranks);
    test_block(segment, MPI_COMM_WORLD, "world", 0);
    /* One rank of each node, from the last node to the first; as many such at once as a node has ranks. */
    char name[32];
    const int which = rank % node_ranks;
    snprintf(name, sizeof name, "column%d", which);
    MPI_Comm_split(MPI_COMM_WORLD, which, -rank, &column);
    test_block(segment, column, name, ranks - node_ranks + which);
    MPI_Comm_free(&column);
    test_refusal(segment);
}

/* ---------------------------------------------------------------- a rank is killed */

/* What rank 0 and rank 1 know of each other. */
struct meeting {
    _Atomic pid_t prey;
    _Atomic unsigned turns; /* of the prey */
};

/* Blocks of all sizes that come and go, some of names that all ranks of the node use. How many could not be
 * had. */
static unsigned use_once(shmcore_segment *segment, unsigned turn)
{
    void *block[4];
    char name[32];
    unsigned refused = 0;
    for (unsigned i = 0; i < 4; i++) {
        const bool common = i % 2 == 0;
        if (common)
            snprintf(name, sizeof name, "common/%u", (turn + i) % 50);
        else
            snprintf(name, sizeof name, "own/%d/%u/%u", rank, turn, i);
        block[i] = shmcore_allocate(segment, name, common ? 1000 : (size_t)100 << turn % 12);
        if (block[i] == NULL && refused++ == 0)
            fprintf(stderr, "rank %d: %s: %s\n", rank, name, shmcore_error());
    }
    for (unsigned i = 4; i-- > 0;)
        if (block[i] != NULL && shmcore_deallocate(segment, block[i]) != 0 && refused++ == 0)
            fprintf(stderr, "rank %d: %s\n", rank, shmcore_error());
    return refused;
}

static unsigned use(shmcore_segment *segment, unsigned turns)
{
    unsigned refused = 0;
    for (unsigned turn = 0; turn < turns; turn++)
        refused += use_once(segment, turn);
    return refused;
}

/* Rank 1 works until it is killed. */
static _Noreturn void be_killed(shmcore_segment *segment, struct meeting *meeting)
{
    for (unsigned turn = 0;; turn++) {
        use_once(segment, turn);
        atomic_store(&meeting->turns, turn);
    }
}

/* Returns when the prey has ended. */
static void kill_it(struct meeting *meeting)
{
    while (atomic_load(&meeting->turns) < 100)
        sched_yield();
    const int prey = (int)syscall(SYS_pidfd_open, atomic_load(&meeting->prey), 0);
    if (prey < 0)
        give_up("pidfd_open", strerror(errno));
    kill(atomic_load(&meeting->prey), SIGKILL);
    poll(&(struct pollfd){.fd = prey, .events = POLLIN}, 1, -1);
    close(prey);
}

static _Noreturn void run_killed(shmcore_segment *segment, bool all)
{
    MPI_Comm survivors;
    MPI_Comm_split(MPI_COMM_WORLD, rank == 1, rank, &survivors);
    struct meeting *meeting = shmcore_allocate(segment, "meeting", sizeof *meeting);
    void *of_prey = rank == 1 ? shmcore_allocate(segment, "of the prey", 100000) : NULL;
    if (meeting == NULL || (rank == 1 && of_prey == NULL))
        give_up("meeting", shmcore_error());
    if (rank == 1)
        atomic_store(&meeting->prey, getpid());
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == 1)
        be_killed(segment, meeting);
    unsigned refused = 0;
    if (rank == 0)
        kill_it(meeting);
    else
        refused = use(segment, TURNS);
    while (all)
        use(segment, TURNS);
    MPI_Barrier(survivors); /* it is dead, and all know */
    if (rank == 0 && shmcore_collect(NULL, NULL) != 0)
        give_up("shmcore_collect", shmcore_error());
    MPI_Barrier(survivors);
    const bool held = shmcore_find(segment, "of the prey", NULL) != NULL;
    refused += use(segment, TURNS);
    shmcore_deallocate(segment, meeting);
    say(survivors, "killed: rank %d on %s: %u refused, what the dead one held is %s", rank, host, refused,
        held ? "there" : "gone");
    shmcore_close(segment);
    MPI_Barrier(survivors);
    _exit(0); /* MPI_Finalize() would wait for the dead one; who ends without it has the others killed */
}

/* ---------------------------------------------------------------- */

int main(int count, char **words)
{
    MPI_Init(&count, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    gethostname(host, sizeof host - 1);
    if (count != 2)
        give_up("usage", "node-ranks filled|killed|all-killed");
    shmcore_segment *segment = shmcore_open("SHARED::node", NULL);
    if (segment == NULL)
        give_up("SHARED::node", shmcore_error());
    const bool all = strcmp(words[1], "all-killed") == 0;
    if (all || strcmp(words[1], "killed") == 0)
        run_killed(segment, all);
    run_filled(segment);
    shmcore_close(segment);
    MPI_Finalize();
    return 0;
}

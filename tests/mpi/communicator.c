/* SPDX-License-Identifier: MIT
 *
 * Which ranks are together: of one segment, of several that stand for nodes, of such that have nothing but a
 * name in common; in communicators of the program's own; asked for in any order, again, and when segments
 * have come and gone. And one rank for each segment.
 */
#include "ranks.h"

static unsigned everybody(void)
{
    return (1u << ranks) - 1;
}

static unsigned mates(void)
{
    unsigned members = 0;
    for (int i = 0; i < ranks; i++)
        if (node_of(i) == node_of(rank))
            members |= 1u << i;
    return members;
}

/* MPI_COMM_WORLD's communicator of the segment, or MPI_COMM_SELF, which none is, when it fails. */
static MPI_Comm ask(shmcore_segment *segment)
{
    MPI_Comm comm = MPI_COMM_SELF;
    shmcore_mpi_communicator(segment, MPI_COMM_WORLD, &comm);
    return comm;
}

/* ---------------------------------------------------------------- */

static void test_one_segment(void)
{
    MPI_Comm other;
    shmcore_segment *segment = open_part("one", 0, 4 * MIB);
    const MPI_Comm comm = ask(segment);
    CHECK(consists_of(comm, everybody()), "one segment: all ranks, in their order");
    const int made = communicators;
    bool same = true;
    for (int i = 0; i < 100; i++)
        same = ask(segment) == comm && same;
    CHECK(same && communicators == made, "one segment: asked for again, it is the same");
    MPI_Comm_dup(MPI_COMM_WORLD, &other);
    MPI_Comm of_other = MPI_COMM_SELF;
    shmcore_mpi_communicator(segment, other, &of_other);
    CHECK(consists_of(of_other, everybody()) && of_other != comm,
          "a duplicate of MPI_COMM_WORLD has its own");
    MPI_Comm_free(&other);
    CHECK(communicators == made, "which goes with the duplicate");
    shmcore_close(segment);
}

static void test_nodes(void)
{
    MPI_Comm part, comm;
    shmcore_segment *segment = open_part("nodes", node_of(rank), 4 * MIB);
    CHECK(consists_of(ask(segment), mates()), "two nodes: those of the same one");
    MPI_Comm_split(MPI_COMM_WORLD, rank % 2, -rank, &part); /* from each node some, backwards */
    const int made = communicators;
    CHECK(shmcore_mpi_communicator(segment, part, &comm) == 0, "a communicator of every second rank");
    int size, first = -1, expected = 0;
    MPI_Comm_size(comm, &size);
    for (int i = ranks - 1; i >= 0; i--)
        expected += node_of(i) == node_of(rank) && i % 2 == rank % 2;
    int last = rank;
    MPI_Bcast(&last, 1, MPI_INT, 0, comm);
    for (int i = 0; i < ranks; i++)
        if (node_of(i) == node_of(rank) && i % 2 == rank % 2)
            first = i;
    CHECK(size == expected && last == first, "its ranks of the same node, in its order");
    MPI_Comm_free(&part);
    CHECK(communicators < made, "they go with it");
    shmcore_close(segment);
}

/* A name leads to another file when somebody has removed it. */
static void test_same_name(void)
{
    char job[64];
    const shmcore_traits traits = part_traits(job, 0, 0);
    shmcore_segment *segment = NULL;
    if (rank == 0)
        segment = open_part("name", 0, 4 * MIB);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank == ranks - 1)
        shmcore_remove("SHARED::name", &traits);
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank != 0)
        segment = open_part("name", 0, 4 * MIB);
    CHECK(consists_of(ask(segment), rank == 0 ? 1u : everybody() & ~1u),
          "another file of the same name is another");
    shmcore_close(segment);
}

static void test_orders(void)
{
    shmcore_segment *segments[2] = {open_part("a", 0, 4 * MIB), open_part("b", node_of(rank), 4 * MIB)};
    const unsigned members[2] = {everybody(), mates()};
    MPI_Comm comm[2];
    for (int turn = 0; turn < 2; turn++) {
        const int which = (rank + turn) % 2; /* odd ranks ask for b first */
        comm[which] = ask(segments[which]);
    }
    CHECK(consists_of(comm[0], members[0]) && consists_of(comm[1], members[1]),
          "asked for in different orders");
    int sum[2] = {1, 1};
    for (int i = 0; i < 2; i++)
        MPI_Allreduce(MPI_IN_PLACE, &sum[i], 1, MPI_INT, MPI_SUM, comm[i]);
    CHECK(sum[0] == ranks && sum[1] == __builtin_popcount(members[1]), "they are the same in all ranks");
    bool same = true;
    const int made = communicators;
    for (int turn = 0; turn < 8; turn++) {
        const int which = (rank + turn) % 2;
        same = ask(segments[which]) == comm[which] && same;
    }
    CHECK(same && communicators == made, "again in different orders: the same");
    for (int i = 0; i < 2; i++)
        shmcore_close(segments[i]);
}

static void test_come_and_go(void)
{
    shmcore_segment *segment = rank == 0 ? open_part("late", 0, 4 * MIB) : NULL;
    const MPI_Comm early = ask(segment);
    CHECK(consists_of(early, rank == 0 ? 1u : 0u), "ranks that have no segment take part and get none");
    if (rank != 0)
        segment = open_part("late", 0, 4 * MIB);
    const MPI_Comm late = ask(rank == ranks - 1 ? segment : NULL); /* others have it open, but do not ask */
    CHECK(consists_of(late, rank == ranks - 1 ? everybody() : 0u), "who has it opened since is a member");
    CHECK(consists_of(ask(segment), everybody()), "also for those who did not ask");
    if (ranks > 1 && rank == ranks - 1) {
        shmcore_close(segment);
        segment = NULL;
    }
    CHECK(consists_of(ask(segment),
                      segment == NULL ? 0u : everybody() & (ranks > 1 ? ~(1u << (ranks - 1)) : ~0u)),
          "who has closed it is none any more");
    shmcore_close(segment);
    ask(NULL);
    ask(NULL);
    const int made = communicators;
    bool good = true;
    for (int i = 0; i < 100; i++) {
        segment = open_part("often", node_of(rank), 4 * MIB);
        good = consists_of(ask(segment), mates()) && good;
        shmcore_close(segment);
    }
    CHECK(good, "segments that come and go a hundred times");
    ask(NULL);
    CHECK(communicators <= made, "their communicators go with them");
}

static void test_viewers(void)
{
    char job[64];
    shmcore_traits traits = part_traits(job, 0, 0);
    traits.read_only = true;
    shmcore_segment *segment = rank == 0 ? open_part("viewed", 0, 4 * MIB) : NULL;
    MPI_Barrier(MPI_COMM_WORLD);
    if (rank != 0)
        segment = shmcore_open("SHARED::viewed", &traits);
    CHECK(consists_of(ask(segment), everybody()), "who has it open for reading only is a member");
    MPI_Barrier(MPI_COMM_WORLD);
    shmcore_close(segment);
}

static void test_refusals(void)
{
    MPI_Comm comm, half, inter;
    shmcore_segment *segment = open_part("refused", 0, 4 * MIB);
    check_failure(shmcore_mpi_communicator(segment, MPI_COMM_WORLD, rank == ranks - 1 ? NULL : &comm), EINVAL,
                  "a place for the communicator", "one rank gives no place: an error in all");
    shmcore_segment *given = rank == 0 ? (shmcore_segment *)&comm : segment;
    check_failure(shmcore_mpi_communicator(given, MPI_COMM_WORLD, &comm), EINVAL,
                  "rank 0: that is no open segment", "one rank gives no segment: an error in all");
    errno = 0;
    CHECK(shmcore_mpi_communicator(segment, MPI_COMM_NULL, &comm) == -1 && errno == EINVAL, "MPI_COMM_NULL");
    if (ranks > 1) {
        MPI_Comm_split(MPI_COMM_WORLD, rank == 0, 0, &half);
        MPI_Intercomm_create(half, 0, MPI_COMM_WORLD, rank == 0, 1, &inter);
        errno = 0;
        CHECK(shmcore_mpi_leaders(segment, inter, &comm) == -1 && errno == EINVAL, "an intercommunicator");
        PMPI_Comm_free(&inter);
        MPI_Comm_free(&half);
    }
    CHECK(consists_of(ask(segment), everybody()), "after all that it works");
    shmcore_close(segment);
}

static void test_cleanup(void)
{
    shmcore_segment *segment = open_part("cleanup", node_of(rank), 4 * MIB);
    ask(segment);
    CHECK(shmcore_mpi_cleanup() == 0 && communicators == 0, "shmcore_mpi_cleanup frees all");
    CHECK(shmcore_mpi_cleanup() == 0, "and can be called again");
    CHECK(consists_of(ask(segment), mates()), "what is asked for afterwards is made anew");
    shmcore_close(segment);
}

void test_communicator(void)
{
    test_one_segment();
    test_nodes();
    test_same_name();
    test_orders();
    test_come_and_go();
    test_viewers();
    test_refusals();
    test_cleanup();
}

/* ---------------------------------------------------------------- leaders */

void test_leaders(void)
{
    MPI_Comm leaders = MPI_COMM_SELF, again = MPI_COMM_SELF;
    shmcore_segment *segment = open_part("leaders", node_of(rank), 4 * MIB);
    const bool leads = first_on(node_of(rank)) == rank;
    unsigned members = 0;
    for (int i = 0; i < ranks; i++)
        if (first_on(node_of(i)) == i)
            members |= 1u << i;
    CHECK(shmcore_mpi_leaders(segment, MPI_COMM_WORLD, &leaders) == 0 &&
              consists_of(leaders, leads ? members : 0),
          "one leader for each node, the first there");
    const int made = communicators;
    CHECK(shmcore_mpi_leaders(segment, MPI_COMM_WORLD, &again) == 0 && again == leaders &&
              communicators == made,
          "asked for again, it is the same");
    const bool asks = ranks == 1 || rank != 0;
    members = asks && (rank == (ranks > 1) || leads) ? ((members & ~1u) | (ranks > 1 ? 2u : 1u)) : 0;
    CHECK(shmcore_mpi_leaders(asks ? segment : NULL, MPI_COMM_WORLD, &again) == 0,
          "a rank that asks for no segment");
    CHECK(consists_of(again, members), "does not lead");
    check_failure(shmcore_mpi_leaders(segment, MPI_COMM_WORLD, rank == 0 ? NULL : &again), EINVAL,
                  "rank 0: a place", "leaders: one rank gives no place");
    shmcore_close(segment);
}

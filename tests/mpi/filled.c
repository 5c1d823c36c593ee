/* SPDX-License-Identifier: MIT
 *
 * One rank fills, all have it: the contents in every segment, in pieces, how often `fill` is called; and
 * whatever goes wrong in one rank goes wrong in all of them, and leaves nothing.
 */
#include "ranks.h"

#include "filled.h"

#define BYTES 10007

static int calls; /* of fill(), in this rank */

static unsigned char byte_at(size_t at, int seed)
{
    return (unsigned char)(at * 31 + at / 251 + (size_t)seed);
}

static int fill(void *block, size_t bytes, void *argument)
{
    unsigned char *to = block;
    calls++;
    for (size_t i = 0; i < bytes; i++) {
        if (to[i] != 0)
            return EBADMSG; /* it is to be given zeros */
        to[i] = byte_at(i, *(int *)argument);
    }
    return 0;
}

static int fail_to_fill(void *block, size_t bytes, void *argument)
{
    fill(block, bytes, argument);
    return ENODATA;
}

static int fill_oddly(void *block, size_t bytes, void *argument)
{
    (void)block, (void)bytes, (void)argument;
    return -7;
}

static bool is_filled(const unsigned char *block, size_t bytes, int seed)
{
    for (size_t i = 0; i < bytes; i++)
        if (block[i] != byte_at(i, seed))
            return false;
    return true;
}

static int calls_of_all(void)
{
    int sum;
    MPI_Allreduce(&calls, &sum, 1, MPI_INT, MPI_SUM, MPI_COMM_WORLD);
    return sum;
}

/* ---------------------------------------------------------------- */

static void test_contents(shmcore_segment *segment)
{
    static const size_t sizes[] = {BYTES, 0, 1, 999, 1000, 1001, 2000};
    const size_t empty = shmcore_actual_size(segment);
    bool good = true;
    const void *block;
    calls = 0;
    filled_piece_bytes = 1000;
    int seed = 3;
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++, seed++) {
        size_t found = 0;
        block = NULL;
        const int result = shmcore_mpi_allocate_filled(segment, MPI_COMM_WORLD, "table", sizes[i],
                                                       rank == 0 ? fill : NULL, &seed, &block);
        good = good && result == 0 && shmcore_find(segment, "table", &found) == block && found == sizes[i] &&
               is_filled(block, sizes[i], seed);
        good = shmcore_deallocate(segment, (void *)(uintptr_t)block) == 0 && good;
    }
    CHECK(good, "blocks of 0 to some pieces: the same contents everywhere, again under one name");
    CHECK(calls_of_all() == 7 && (calls == 7) == (rank == 0), "filled once each, by rank 0");
    filled_piece_bytes = (size_t)1 << 30;
    CHECK(shmcore_mpi_allocate_filled(segment, MPI_COMM_WORLD, "large", MIB, fill, &seed, &block) == 0 &&
              is_filled(block, MIB, seed),
          "a block of one piece");
    shmcore_block about = {.refs = 0};
    shmcore_block_of(block, &about);
    int here = 0;
    for (int i = 0; i < ranks; i++)
        here += node_of(i) == node_of(rank);
    CHECK((int)about.refs == here, "each rank holds a reference");
    MPI_Barrier(MPI_COMM_WORLD);
    shmcore_deallocate(segment, (void *)(uintptr_t)block);
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(shmcore_actual_size(segment) == empty, "given back, nothing is left");
}

/* Some of the ranks, with a segment each node knows. */
static void test_part_of_the_ranks(shmcore_segment *segment)
{
    MPI_Comm part;
    const void *block = NULL;
    int seed = 77;
    calls = 0;
    MPI_Comm_split(MPI_COMM_WORLD, rank > 0, -rank, &part); /* the last one is rank 0 there */
    const bool good =
        rank == 0 || (shmcore_mpi_allocate_filled(segment, part, "part", BYTES, fill, &seed, &block) == 0 &&
                      is_filled(block, BYTES, seed));
    CHECK(good && calls == (rank > 0 && rank == ranks - 1), "in a communicator without rank 0");
    if (rank > 0)
        shmcore_deallocate(segment, (void *)(uintptr_t)block);
    MPI_Comm_free(&part);
    MPI_Barrier(MPI_COMM_WORLD);
}

static void test_failures(shmcore_segment *segment)
{
    const size_t empty = shmcore_actual_size(segment);
    const int last = ranks - 1;
    int seed = 1;
    const void *block = NULL;
    const void *const untouched = block;
#define FILL(segment, name, bytes, fill)                                                                     \
    shmcore_mpi_allocate_filled(segment, MPI_COMM_WORLD, name, bytes, fill, &seed, &block)
    check_failure(FILL(segment, "t", BYTES, fail_to_fill), ENODATA, "rank 0: the function that fills 't'",
                  "fill fails: the same error in all ranks");
    check_failure(FILL(segment, "t", BYTES, fill_oddly), EIO, "rank 0", "fill returns what is no errno");
    check_failure(FILL(segment, "t", BYTES, NULL), EINVAL, "rank 0: there is no function",
                  "there is no fill");
    check_failure(FILL(rank == last ? NULL : segment, "t", BYTES, fill), EINVAL, "a segment is needed",
                  "one rank has no segment");
    check_failure(FILL(rank == last ? (shmcore_segment *)&seed : segment, "t", BYTES, fill), EINVAL,
                  "no open segment", "one rank gives what is no segment");
    check_failure(FILL(segment, rank == last ? NULL : "t", BYTES, fill), EINVAL, "a name and a place",
                  "one rank gives no name");
    if (ranks > 1) {
        check_failure(FILL(segment, rank == last ? "u" : "t", BYTES, fill), EINVAL,
                      "it asks for 'u' of 10007", "one rank gives another name");
        check_failure(FILL(segment, "t", rank == last ? BYTES + 1 : BYTES, fill), EINVAL,
                      "it asks for 't' of 10008", "one rank gives another size");
    }
    check_failure(FILL(segment, "", BYTES, fill), EINVAL, "rank 0: ", "a name that is none");
    char long_name[300];
    memset(long_name, 'n', sizeof long_name);
    long_name[299] = '\0';
    check_failure(FILL(segment, long_name, BYTES, fill), ENAMETOOLONG, "rank 0: ", "a name that is too long");
    void *taken = rank == last ? shmcore_allocate(segment, "t", 10) : NULL;
    check_failure(FILL(segment, "t", BYTES, fill), EEXIST, "has a block 't' already",
                  "the name is taken on one node");
    shmcore_deallocate(segment, taken);
    check_failure(FILL(segment, "t", (size_t)1 << 50, fill), ENOMEM, "rank 0: ", "no room on any node");
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(block == untouched && shmcore_actual_size(segment) == empty, "nothing is left of what has failed");
    CHECK(FILL(segment, "t", BYTES, fill) == 0 && is_filled(block, BYTES, 1), "after all that it works");
    shmcore_deallocate(segment, (void *)(uintptr_t)block);
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(shmcore_actual_size(segment) == empty, "and nothing is left of that either");
}

/* One node has too little room, or a rank that may not write. */
static void test_one_node_fails(void)
{
    char job[64];
    const void *block;
    int seed = 1;
    const int node = node_of(rank), last_node = node_of(ranks - 1);
    shmcore_segment *segment = open_part("small", node, node == last_node ? 4 * MIB : 16 * MIB);
    const size_t empty = shmcore_actual_size(segment);
    check_failure(FILL(segment, "t", 6 * MIB, fill), ENOMEM, "rank ",
                  "no room on one node: an error in all ranks");
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(shmcore_actual_size(segment) == empty, "no room on one node: nothing is left on any");
    shmcore_traits traits = part_traits(job, node, 0);
    traits.read_only = true;
    shmcore_segment *viewed = rank == ranks - 1 ? shmcore_open("SHARED::small", &traits) : segment;
    check_failure(FILL(viewed, "t", 100, fill), EROFS, "reading only",
                  "one rank may only read: an error in all ranks");
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(shmcore_actual_size(segment) == empty, "one rank may only read: nothing is left");
    if (viewed != segment)
        shmcore_close(viewed);
    shmcore_close(segment);
}

void test_filled(void)
{
    shmcore_segment *segment = open_part("filled", node_of(rank), 16 * MIB);
    MPI_Barrier(MPI_COMM_WORLD);
    test_contents(segment);
    test_part_of_the_ranks(segment);
    test_failures(segment);
    test_one_node_fails();
    shmcore_close(segment);
}

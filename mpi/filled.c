/* SPDX-License-Identifier: MIT
 *
 * A block with the same contents in every segment: made everywhere, filled once, broadcast among the leaders.
 *
 * Each step ends with an agreement, so that all ranks go on to the next one or none does. That nobody has the
 * block yet is looked at between two of them: before the first, a rank may still hold one of the same name
 * that others have given back already; after the second, others make the new one.
 */
#include "filled.h"

#include "request.h"
#include "rounds.h"
#include "shmcore_mpi.h"
#include "verdict.h"

#include <errno.h>
#include <string.h>

size_t filled_piece_bytes = (size_t)1 << 30;

/* What one rank asks for. */
struct demand {
    shmcore_segment *segment;
    MPI_Comm comm;
    const char *name;
    size_t bytes;
};

/* What must be the same in all ranks. */
struct wording {
    uint64_t bytes;
    char name[SHMCORE_NAME_MAX + 2]; /* longer ones are refused, so what is cut does not matter */
};

static int fails(int code, const char *says)
{
    verdict_fail(code, "%s", says);
    return code;
}

/* errno for what this rank alone can tell. */
static int check_arguments(const struct demand *demand, int rank, shmcore_mpi_fill *fill, const void **block)
{
    if (demand->segment == NULL)
        return fails(EINVAL, "a segment is needed for the block");
    if (demand->name == NULL || block == NULL)
        return fails(EINVAL, "a name and a place for the block's address are needed");
    return rank == 0 && fill == NULL ? fails(EINVAL, "there is no function that fills the block") : 0;
}

static int check_wording(const struct demand *demand, const struct wording *wanted)
{
    if (strncmp(demand->name, wanted->name, sizeof wanted->name - 1) == 0 && demand->bytes == wanted->bytes)
        return 0;
    verdict_fail(EINVAL, "it asks for '%.255s' of %zu bytes, and rank 0 for '%.255s' of %zu", demand->name,
                 demand->bytes, wanted->name, (size_t)wanted->bytes);
    return EINVAL;
}

/* The same block in all ranks, and a new one? */
static int check_block(const struct demand *demand)
{
    struct wording wanted = {.bytes = demand->bytes};
    strncpy(wanted.name, demand->name, sizeof wanted.name - 1);
    if (verdict_of_mpi(MPI_Bcast(&wanted, sizeof wanted, MPI_BYTE, 0, demand->comm)) != 0)
        return -1;
    int code = check_wording(demand, &wanted);
    if (code == 0 && shmcore_find(demand->segment, demand->name, NULL) != NULL) {
        verdict_fail(EEXIST, "segment '%s' has a block '%s' already", shmcore_segment_name(demand->segment),
                     demand->name);
        code = EEXIST;
    }
    return verdict_agree(demand->comm, code);
}

static int allocate(const struct demand *demand, void **pointer)
{
    *pointer = shmcore_allocate(demand->segment, demand->name, demand->bytes);
    return verdict_agree(demand->comm, *pointer != NULL ? 0 : fails(errno, shmcore_error()));
}

static int fill_once(const struct demand *demand, int rank, void *pointer, shmcore_mpi_fill *fill,
                     void *argument)
{
    int code = rank == 0 ? fill(pointer, demand->bytes, argument) : 0;
    if (code < 0)
        code = EIO;
    if (code != 0)
        verdict_fail(code, "the function that fills '%s' has failed: %s", demand->name, strerror(code));
    return verdict_agree(demand->comm, code);
}

static int broadcast(const struct demand *demand, MPI_Comm leaders, void *pointer)
{
    int code = 0;
    for (size_t at = 0; leaders != MPI_COMM_NULL && at < demand->bytes && code == 0;) {
        const size_t left = demand->bytes - at;
        const size_t piece = left < filled_piece_bytes ? left : filled_piece_bytes;
        if (verdict_of_mpi(MPI_Bcast((char *)pointer + at, (int)piece, MPI_BYTE, 0, leaders)) != 0)
            code = EIO;
        at += piece;
    }
    return verdict_agree(demand->comm, code);
}

int shmcore_mpi_allocate_filled(shmcore_segment *segment, MPI_Comm comm, const char *name, size_t bytes,
                                shmcore_mpi_fill *fill, void *argument, const void **block)
{
    const struct demand demand = {.segment = segment, .comm = comm, .name = name, .bytes = bytes};
    void *pointer = NULL;
    int rank;
    if (!request_is_possible(comm) || verdict_of_mpi(MPI_Comm_rank(comm, &rank)) != 0)
        return -1;
    int code = check_arguments(&demand, rank, fill, block);
    const uint64_t asked = request_identity(segment, &code);
    const struct round *round = rounds_find(comm, asked, ROUNDS_FOR_MATES, code);
    if (round == NULL || check_block(&demand) != 0)
        return -1;
    if (allocate(&demand, &pointer) == 0 && fill_once(&demand, rank, pointer, fill, argument) == 0 &&
        broadcast(&demand, round->leaders, pointer) == 0) {
        *block = pointer;
        return 0;
    }
    const int why = errno;
    shmcore_deallocate(segment, pointer); /* the sentence stays: that one is of another library */
    errno = why;
    return -1;
}

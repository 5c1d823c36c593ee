/* SPDX-License-Identifier: MIT
 *
 * The public functions about communicators: what is asked for, and what of a round answers it.
 */
#include "request.h"
#include "rounds.h"
#include "shmcore_mpi.h"
#include "verdict.h"

#include <errno.h>

bool request_is_possible(MPI_Comm comm)
{
    int begun = 0, over = 0, inter = 0;
    if (MPI_Initialized(&begun) != MPI_SUCCESS || !begun || MPI_Finalized(&over) != MPI_SUCCESS || over) {
        verdict_fail(EINVAL, "MPI %s", over ? "has been finalised" : "has not been initialised");
        return false;
    }
    if (comm == MPI_COMM_NULL) {
        verdict_fail(EINVAL, "the communicator is MPI_COMM_NULL");
        return false;
    }
    if (verdict_of_mpi(MPI_Comm_test_inter(comm, &inter)) != 0)
        return false;
    if (inter)
        verdict_fail(EINVAL,
                     "the communicator is an intercommunicator; merge it first (MPI_Intercomm_merge)");
    return !inter;
}

uint64_t request_identity(shmcore_segment *segment, int *code)
{
    const uint64_t identity = segment != NULL ? shmcore_identity(segment) : 0;
    if (segment != NULL && identity == 0 && *code == 0) {
        verdict_fail(EINVAL, "%s", shmcore_error());
        *code = EINVAL;
    }
    return identity;
}

static const struct round *find(shmcore_segment *segment, MPI_Comm comm, enum rounds_use use,
                                const MPI_Comm *out)
{
    int code = 0;
    if (!request_is_possible(comm))
        return NULL;
    if (out == NULL) {
        verdict_fail(EINVAL, "a place for the communicator is needed");
        code = EINVAL;
    }
    const uint64_t asked = request_identity(segment, &code);
    return rounds_find(comm, asked, use, code);
}

int shmcore_mpi_communicator(shmcore_segment *segment, MPI_Comm comm, MPI_Comm *out)
{
    const struct round *round = find(segment, comm, ROUNDS_FOR_MEMBERS, out);
    if (round == NULL)
        return -1;
    *out = segment != NULL ? round_members(round, shmcore_identity(segment)) : MPI_COMM_NULL;
    return 0;
}

int shmcore_mpi_leaders(shmcore_segment *segment, MPI_Comm comm, MPI_Comm *out)
{
    const struct round *round = find(segment, comm, ROUNDS_FOR_MATES, out);
    if (round == NULL)
        return -1;
    *out = round->leaders;
    return 0;
}

int shmcore_mpi_cleanup(void)
{
    int begun = 0, over = 0;
    if (MPI_Initialized(&begun) != MPI_SUCCESS || !begun)
        return 0; /* so nothing has been made */
    if (MPI_Finalized(&over) != MPI_SUCCESS || over)
        return verdict_fail(EINVAL, "MPI has been finalised, and all communicators are freed");
    rounds_drop_all();
    return 0;
}

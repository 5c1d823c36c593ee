/* SPDX-License-Identifier: MIT
 *
 * The same as table_ranks, as an MPI program: all phases end with a collective operation.
 *
 *     mpirun -n 4 table_ranks_mpi [-m MIB] …       (-h says what there is)
 */
#include "ranks.h"

#include <mpi.h>

void company_meet(void)
{
    MPI_Barrier(MPI_COMM_WORLD);
}

void company_add(uint64_t *values, size_t count)
{
    MPI_Allreduce(MPI_IN_PLACE, values, (int)count, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
}

/* There is no process that could look while they all work. */
uint64_t company_peak(void)
{
    return 0;
}

int main(int count, char **words)
{
    struct ranks_options options;
    int rank, ranks, status = 2;
    MPI_Init(&count, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (ranks <= RANKS_MOST && ranks_options(count, words, &options)) {
        options.ranks = (unsigned long)ranks;
        status = ranks_run(&options, (unsigned)rank);
    }
    if (status != 0)
        MPI_Abort(MPI_COMM_WORLD, status);
    MPI_Finalize();
    return 0;
}

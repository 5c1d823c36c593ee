# shellcheck shell=bash
# SPDX-License-Identifier: MIT
#
# MPI programs, with mpirun and its daemons under the shim as well. To be sourced after real.sh.
#
# The cases are called by their names, which ShellCheck does not see.
# shellcheck disable=SC2034,SC2317

needs+=([mpi]="mpirun mpicc" [hpcc]="mpirun hpcc")
title+=([mpi]='MPI program, 4 ranks: collectives, large messages' [hpcc]='HPCC with HPL, 2 ranks')
expected+=([mpi]='^rank 3 of 4: ' [hpcc]='^Success=1')
input_writers+=(write_mpi)

write_mpi() { # write_mpi DIRECTORY
    cat >"$1/exchange.c" <<'SOURCE'
#include <mpi.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>

enum { LARGE = 1 << 20, TURNS = 12 };

static uint64_t digest(const uint64_t *values, size_t count)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < count; i++)
        sum = (sum ^ values[i]) * 1099511628211u;
    return sum;
}

int main(int argc, char **argv)
{
    int rank, ranks;
    MPI_Init(&argc, &argv);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    uint64_t *table = malloc(LARGE * sizeof *table), sum = 0;
    for (size_t i = 0; i < LARGE; i++)
        table[i] = i * 2654435761u % 1000003 + (uint64_t)rank;
    for (int turn = 0; turn < TURNS; turn++) {
        size_t count = (size_t)LARGE >> turn;
        uint64_t *from = malloc(count * sizeof *from), *all = calloc(count * (size_t)ranks, sizeof *all);
        MPI_Sendrecv(table, (int)count, MPI_UINT64_T, (rank + 1) % ranks, turn, from, (int)count, MPI_UINT64_T,
                     (rank + ranks - 1) % ranks, turn, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
        MPI_Allgather(from, (int)count, MPI_UINT64_T, all, (int)count, MPI_UINT64_T, MPI_COMM_WORLD);
        MPI_Allreduce(MPI_IN_PLACE, from, (int)count, MPI_UINT64_T, MPI_SUM, MPI_COMM_WORLD);
        sum ^= digest(from, count) + digest(all, count * (size_t)ranks);
        free(from);
        free(all);
        MPI_Barrier(MPI_COMM_WORLD);
    }
    char line[80], *lines = rank == 0 ? malloc(sizeof line * (size_t)ranks) : NULL;
    snprintf(line, sizeof line, "rank %d of %d: %016llx", rank, ranks, (unsigned long long)(sum + digest(table, LARGE)));
    MPI_Gather(line, sizeof line, MPI_CHAR, lines, sizeof line, MPI_CHAR, 0, MPI_COMM_WORLD);
    for (int i = 0; rank == 0 && i < ranks; i++)
        puts(lines + i * (int)sizeof line);
    free(lines);
    free(table);
    MPI_Finalize();
    return 0;
}
SOURCE
}

case_mpi() {
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 TMPDIR=$PWD
    mpicc -O1 -o exchange "$DATA/exchange.c" && mpirun -n 4 ./exchange
}

case_hpcc() {
    export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1 OMPI_MCA_rmaps_base_oversubscribe=1 TMPDIR=$PWD
    export OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1
    sed -e '6s/^[0-9]*/600/' -e '11s/^[0-9]*/1/' -e '12s/^[0-9]*/2/' /usr/share/doc/hpcc/examples/_hpccinf.txt >hpccinf.txt
    mpirun -n 2 hpcc
    grep -E '^Success=|^(HPL|PTRANS|Star|MPI)[A-Za-z_]*(N|NB|nprow|npcol|residual|error|Errors|ErrorsFraction)=|PASSED|FAILED' hpccoutf.txt |
        sed -E 's/=[0-9.]+e-[0-9]+$/=tiny/; s/^.*(PASSED|FAILED).*$/\1/'
}

/* SPDX-License-Identifier: MIT
 *
 * The functions of the library for languages that know communicators by the numbers of Fortran. Nothing but
 * the conversion: C's own handles are pointers in one MPI and numbers in another, and cannot be spelt
 * elsewhere.
 */
#include "shmcore_mpi.h"

typedef int make(shmcore_segment *, MPI_Comm, MPI_Comm *);

static int make_by_number(make *made_by, shmcore_segment *segment, MPI_Fint comm, MPI_Fint *out)
{
    MPI_Comm made = MPI_COMM_NULL;
    const int result = made_by(segment, MPI_Comm_f2c(comm), out != NULL ? &made : NULL);
    if (result == 0)
        *out = MPI_Comm_c2f(made);
    return result;
}

int shmcore_mpi_communicator_f(shmcore_segment *segment, MPI_Fint comm, MPI_Fint *out)
{
    return make_by_number(shmcore_mpi_communicator, segment, comm, out);
}

int shmcore_mpi_leaders_f(shmcore_segment *segment, MPI_Fint comm, MPI_Fint *out)
{
    return make_by_number(shmcore_mpi_leaders, segment, comm, out);
}

int shmcore_mpi_allocate_filled_f(shmcore_segment *segment, MPI_Fint comm, const char *name, size_t bytes,
                                  shmcore_mpi_fill *fill, void *argument, const void **block)
{
    return shmcore_mpi_allocate_filled(segment, MPI_Comm_f2c(comm), name, bytes, fill, argument, block);
}

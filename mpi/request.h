/* SPDX-License-Identifier: MIT
 *
 * What every collective function of the library looks at first.
 */
#ifndef SHMCORE_MPI_REQUEST_H
#define SHMCORE_MPI_REQUEST_H

#include "shmcore.h"

#include <mpi.h>
#include <stdbool.h>

/* Can the ranks of `comm` be asked anything? False, with the error set, in all of them. */
bool request_is_possible(MPI_Comm comm);

/* 0 for NULL; also, with *code set, for a handle that is none. */
uint64_t request_identity(shmcore_segment *segment, int *code);

#endif

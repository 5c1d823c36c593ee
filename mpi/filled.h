/* SPDX-License-Identifier: MIT
 *
 * The size of the pieces in which shmcore_mpi_allocate_filled() broadcasts: what MPI counts is an int. Tests
 * make them small; it is the same in all ranks.
 */
#ifndef SHMCORE_MPI_FILLED_H
#define SHMCORE_MPI_FILLED_H

#include <stddef.h>

extern size_t filled_piece_bytes;

#endif

/* SPDX-License-Identifier: MIT
 *
 * What is said of a failure, and that all ranks say the same.
 *
 * A rank that finds something wrong must not leave while others wait in the next collective call. So each
 * says at agreed points whether all is well, and when it is not, all get the errno and the sentence of the
 * first rank that was not content.
 */
#ifndef SHMCORE_MPI_VERDICT_H
#define SHMCORE_MPI_VERDICT_H

#include <mpi.h>

/* Keeps the sentence for this thread, sets errno to `code`, returns -1. */
int verdict_fail(int code, const char *format, ...) __attribute__((__format__(__printf__, 2, 3)));

/* 0 for MPI_SUCCESS; else EIO with what MPI says of it. */
int verdict_of_mpi(int result);

/* Collective. `code` 0: this rank is content; else it has just called verdict_fail() with it. 0: all are;
 * else -1 with the error set. */
int verdict_agree(MPI_Comm comm, int code);

#endif

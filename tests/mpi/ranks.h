/* SPDX-License-Identifier: MIT
 *
 * What the parts of the MPI test share: verdicts that all ranks come to together, segments that stand for
 * nodes, and how many communicators there are.
 *
 * All ranks make the same CHECKs in the same order, also when one has failed. Rank 0 prints a line for each,
 * "ok - …" or "not ok - …".
 */
#ifndef TEST_MPI_RANKS_H
#define TEST_MPI_RANKS_H

#include "shmcore_mpi.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MIB ((size_t)1 << 20)

extern int rank, ranks;
extern int failures; /* verdicts that were not good; the same in all ranks */

/* Collective: is it so in all ranks? `what` is that of rank 0. */
bool check(bool good, const char *what, const char *condition, int line);
#define CHECK(condition, what) check(condition, what, #condition, __LINE__)

/* A call that is to fail everywhere, with this errno and, in all ranks, the same sentence, which has `says`
 * in it. */
void check_failure(int result, int code, const char *says, const char *what);

/* The segment SHARED::NAME of the part `part` of this test's job: each part is a node of its own as far as
 * segments go. Ends the test when it cannot be had. */
shmcore_segment *open_part(const char *name, int part, size_t size);
shmcore_traits part_traits(char job[64], int part, size_t size);

/* Which of two nodes this rank is on when the ranks are dealt out in order; and the first rank there. */
int node_of(int of_rank);
int first_on(int node);

/* Does the communicator hold these ranks of MPI_COMM_WORLD, in this order? A bit for each; 0: MPI_COMM_NULL.
 */
bool consists_of(MPI_Comm comm, unsigned members);

/* Communicators that have been made, and not freed, by the library and by the test. */
extern int communicators;

void test_communicator(void);
void test_leaders(void);
void test_filled(void);
void test_sharing(size_t mib);

#endif

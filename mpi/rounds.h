/* SPDX-License-Identifier: MIT
 *
 * Who is together: what the ranks of a communicator have found out in common, and the communicators made from
 * it.
 *
 * In a *round* each rank says which segment it asks for, and then, for each segment that anybody has asked
 * for, whether it has that open itself. From this follow, for each such segment, its members; for the segment
 * that this rank has asked for, its *mates*, who have asked for the same one; and the leaders, the first of
 * each group of mates. Rounds are kept with the program's communicator, as an attribute of it, and serve
 * again while they hold: each rank looks which of them still do, and one that does for all is used. All ranks
 * keep the same rounds in the same places, for they make, use and drop each of them together.
 *
 * For one segment and the same members there is one communicator, in whatever round: a new round takes it
 * from one of before, if there is one in which all ranks stand to that segment as they do now. So ranks that
 * get it in different calls get the same one.
 *
 * A round in which no rank has a segment open any more is dropped, with its communicators, and where there
 * are too many, one of which a rank has closed what it had asked for; so are all, with the program's
 * communicator, and at MPI_Finalize() through an attribute of MPI_COMM_SELF.
 *
 * The lock guards the list of all that is kept, and is never held during a call that other ranks take part
 * in.
 */
#ifndef SHMCORE_MPI_ROUNDS_H
#define SHMCORE_MPI_ROUNDS_H

#include <mpi.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* A segment that somebody has asked for; MPI_COMM_NULL: this rank had it not open. */
struct tie {
    uint64_t identity;
    MPI_Comm members;
};

struct round {
    bool used;
    uint64_t asked;   /* by this rank; 0: for none */
    struct tie *ties; /* in the order of identities */
    size_t count;
    MPI_Comm mates, leaders; /* MPI_COMM_NULL: this rank has asked for none, or does not lead */
    bool mates_are_members;  /* the same communicator */
};

/* What makes a round of before serve again: that it tells the members of the segment asked for, or that this
 * rank asked for the same one. */
enum rounds_use { ROUNDS_FOR_MEMBERS, ROUNDS_FOR_MATES };

/* Collective. `asked`: the identity of a segment that this rank has open, or 0. `code` as for
 * verdict_agree(). NULL with the error set. */
const struct round *rounds_find(MPI_Comm comm, uint64_t asked, enum rounds_use use, int code);

MPI_Comm round_members(const struct round *round, uint64_t identity);

/* Drops everything. */
void rounds_drop_all(void);

#endif

/* SPDX-License-Identifier: MIT
 *
 * What a rank does: builds its replica, writes a little to it, reads it, and says with the others how much
 * memory that takes. How ranks are made and speak with each other is for whoever calls it: table_ranks.c with
 * processes of its own, table_ranks_mpi.c with MPI.
 */
#ifndef RANKS_H
#define RANKS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { RANKS_MOST = 256, RANKS_VALUES_MOST = 4 * RANKS_MOST };

struct ranks_options {
    unsigned long ranks;
    size_t mebibytes;   /* of one replica */
    double differ;      /* percent of the pages that differ from the start */
    double write;       /* percent of the pages that are written to in the end */
    double patience;    /* seconds to wait for memory to become less, after it did so the last time */
    uint64_t enough;    /* MiB: all ranks together need not take less, beside what they made different */
    const char *member; /* for table_ranks.c */
    bool pause;
};

/* Reads the command line; prints the usage and returns false when it is wrong. */
bool ranks_options(int count, char **words, struct ranks_options *out);

/* The whole of it. Returns an exit status. */
int ranks_run(const struct ranks_options *options, unsigned rank);

/* ---------------------------------------------------------------- what the caller has */

/* Returns when all ranks have called it. */
void company_meet(void);

/* The same; each value is the sum of all ranks' then. At most RANKS_VALUES_MOST. */
void company_add(uint64_t *values, size_t count);

/* KiB: the most that the ranks have ever taken together (Pss), as far as somebody was looking; 0: nobody was.
 */
uint64_t company_peak(void);

#endif

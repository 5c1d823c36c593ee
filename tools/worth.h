/* SPDX-License-Identifier: MIT
 *
 * What one copy instead of many would save, told from fingerprints.
 *
 * Pure. A mark is that of 64 KiB of memory; marks that are equal stand for equal memory. A process that has a
 * piece three times has it at three places, and each place can be shared only with another process: so pieces
 * are compared as bags, not as sets. Memory is shared within a host. Pieces of zeros are told apart, for they
 * are given back rather than shared.
 */
#ifndef SHMPRELOAD_WORTH_H
#define SHMPRELOAD_WORTH_H

#include "records.h"

/* What one process holds. */
struct worth_part {
    size_t process, host;
    const struct record_marks *marks;
    uint64_t peak_bytes;
    uint64_t read_bytes; /* that the marks were taken of, over its whole life */
};

struct worth {
    size_t processes;
    size_t processes_most; /* of one host that had pieces */
    uint64_t peak_bytes;   /* of all processes */
    uint64_t pieces;       /* with a mark */
    uint64_t identical;    /* pieces that another process of the host has, too */
    uint64_t zeros;
    uint64_t saved_bytes; /* at the peak, were each piece kept once on each host */
};

/* `parts` are sorted by process; one process may have several. */
struct worth worth_of(const struct worth_part *parts, size_t count);

/* Of a hundred pieces; -1 where there is nothing that could be compared. */
double worth_share(const struct worth *worth);

uint64_t worth_add(uint64_t left, uint64_t right); /* UINT64_MAX is the end */

#endif

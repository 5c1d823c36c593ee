/* SPDX-License-Identifier: MIT
 *
 * A record file, read and proven: what comes out of here may be used without a further look.
 *
 * The parts are copied before they are looked at, because the process that writes them may still run. Not one
 * number of the file is believed: a row whose frames or fingerprints point outside is left out and counted; a
 * file whose header does not fit its length is refused with a sentence. Each page of fingerprints belongs to
 * one row at most, so a damaged chain costs no more than the file is long.
 */
#ifndef SHMPRELOAD_RECORDS_H
#define SHMPRELOAD_RECORDS_H

#include "config/record.h"

#include <stdbool.h>
#include <stddef.h>

/* The fingerprints of one row. */
struct record_marks {
    uint64_t *mark;
    size_t count;
    uint64_t zeros;       /* pieces of nothing but zeros: without a mark */
    uint64_t short_bytes; /* that the pieces are shorter than whole ones, together */
};

struct record {
    char *path;
    struct record_header header; /* its strings end */
    struct record_module *modules;
    struct record_site *sites;  /* the good ones */
    struct record_marks *marks; /* one for each site */
    size_t module_count, site_count;
    size_t damaged_sites; /* left out */
};

/* Copies `bytes` at `offset` of whatever is read; false: they are not there. */
typedef bool record_source(void *from, uint64_t offset, void *to, size_t bytes);

/* Reads a record of `length` bytes. NULL, or a sentence why it cannot be used; then nothing is to be
 * released. */
const char *record_read(struct record *record, record_source *source, void *from, uint64_t length);

/* The same for a file; false after a message. */
bool record_open(struct record *record, const char *path);

/* Does the file begin as a record does? No message where there is none. */
bool record_is_one(const char *path);

void record_release(struct record *record);

#endif

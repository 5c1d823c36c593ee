/* SPDX-License-Identifier: MIT
 *
 * The file of a record (config/record.h): its name, its mapping, memory behind what is used of it.
 *
 * The file is as long as what is in use, and memory is reserved before a row is written: a disk that is full
 * means rows that are not made, never SIGBUS. The mapping is as long as a record can get. No file is ever
 * written over: where there is one of that name, this process takes another name.
 *
 * No descriptor is kept; the file is opened again to grow and must then still be the same. Whoever asks for
 * room holds the lock of the part it is for.
 */
#ifndef SHM_RECORD_FILE_H
#define SHM_RECORD_FILE_H

#include "base.h"
#include "config/record.h"

struct record_file {
    struct record_header *header; /* NULL: there is none */
    struct record_module *modules;
    struct record_site *sites;
    struct record_page *pages;
};
extern INTERNAL struct record_file record_file;

/* At bring-up. `name` may hold %p, %h and %r; `rank` may be NULL. What is relative is so to where the program
 * is now. */
void record_file_plan(const char *name, const char *rank);

/* Makes the file of this process and fills in what its header says of it; in a forked child the parent's is
 * let go of. False: after a message. */
bool record_file_make(size_t least_bytes, const char *program);

enum record_part { RECORD_MODULES, RECORD_SITES, RECORD_PAGES, RECORD_PARTS };

/* Is there memory for the entry of this index, or can be? */
bool record_file_room(enum record_part part, uint32_t index);

/* Cuts off what is reserved beyond what is used, as the counts in the header have it. The locks of all parts
 * are held. */
void record_file_trim(void);

#endif

/* SPDX-License-Identifier: MIT
 *
 * What records say, put together: joined stacks with names, places, the rules worth having, and their policy
 * as text. No output is made here.
 */
#ifndef SHMPRELOAD_ADVICE_H
#define SHMPRELOAD_ADVICE_H

#include "symbols.h"
#include "wording.h"

struct advice {
    struct record *records;
    size_t record_count;
    struct stacks stacks;
    struct symbols *symbols;
    void *memory;                  /* of `wrappers` */
    const struct policy *wrappers; /* what `wrapper` directives there are */
    struct places places;
    struct wording wording;
    char *policy;  /* the text, see advice_policy.h */
    bool unproven; /* together, the rules take something else than each alone */
    uint64_t peak_bytes, saved_bytes;
    size_t processes; /* of programs that are not ignored */
};

/* Reads those that can be read, after a message for each other; 0, or -1 when none can. */
int advice_read_records(struct advice *advice, char *const *paths, size_t count);

/* Joins them and finds names, those of inlined functions as well, since rules match them; advice_find() does
 * it, too. */
void advice_name_stacks(struct advice *advice);

/* Places and rules. */
void advice_find(struct advice *advice, uint64_t least_saving);
void advice_release(struct advice *advice);

/* Text for people; new strings. */
char *advice_site_text(const struct place *place);  /* function, with callers where they matter */
char *advice_where_text(const struct place *place); /* file:line, else module!0xoffset */

#endif

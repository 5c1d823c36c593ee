/* SPDX-License-Identifier: MIT
 *
 * What is to be known of the records before their numbers are believed: sentences.
 */
#ifndef SHMPRELOAD_NOTES_H
#define SHMPRELOAD_NOTES_H

#include "advice.h"

struct notes {
    char **items;
    size_t count;
};

void notes_find(struct notes *notes, const struct advice *advice);
void notes_release(struct notes *notes);

#endif

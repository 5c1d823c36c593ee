/* SPDX-License-Identifier: MIT
 *
 * The files that a program is made of when it starts: itself, and the libraries that the loader would load.
 * The loader is asked, as ldd(1) does; not one instruction of the program is run.
 */
#ifndef SHMPRELOAD_LOADED_H
#define SHMPRELOAD_LOADED_H

#include <stddef.h>

struct loaded {
    char **paths; /* the program first */
    size_t count;
};

/* 0, or -1 after a message. */
int loaded_find(struct loaded *loaded, const char *program);
void loaded_release(struct loaded *loaded);

#endif

/* SPDX-License-Identifier: MIT
 *
 * Which segment a name on the command line means. Segments of different jobs and users may share a
 * name, so the name alone can be ambiguous; then the candidates are listed and nothing is guessed.
 */
#ifndef SHMPRELOAD_SEGMENTS_H
#define SHMPRELOAD_SEGMENTS_H

#include "shmcore.h"
#include "tool.h"

struct segment_list {
    struct shmcore_segment_info *items;
    size_t count;
};

/* All segments of the directory, of --job if that is given, and called `name` unless it is NULL.
 * 0, or -1 after a message. */
int segments_list(const struct options *options, const char *name, struct segment_list *list);

/* The one that is meant: the only one of its name, or the only one with living processes, or the one
 * of the job we are in. 0, or -1 after a message. */
int segments_choose(const struct options *options, const char *name, struct shmcore_segment_info *info);

/* What names that segment to the library; valid as long as *info. */
struct shmcore_traits segments_traits(const struct shmcore_segment_info *info);

/* Chooses and attaches for reading only; NULL after a message. */
shmcore_segment *segments_view(const struct options *options, const char *name);

/* The user's name, or the number where there is no name; the caller's to free. */
char *segments_user(uid_t uid);

#endif

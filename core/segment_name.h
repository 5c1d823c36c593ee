/* SPDX-License-Identifier: MIT
 *
 * What a segment is called: the rules for names, the job that keeps jobs apart, and the name of the file that
 * follows from both. No file is looked at here.
 */
#ifndef SHM_SEGMENT_NAME_H
#define SHM_SEGMENT_NAME_H

#include <stdbool.h>
#include <sys/types.h>

#define SEGMENT_NAME_BYTES 96u /* with the NUL */

/* 0, or -1 with error_set() done: the rules for names. */
int segment_check_name(const char *name);

/* The form in which a job id is kept and is part of a file name: itself, or, when it is long or holds what a
 * name cannot, its beginning and a hash. */
void segment_set_job(char out[64], const char *id);

/* The job id of the environment this process was started with, "" if there is none; found out once, because a
 * program may give up the right to look. 0, or -1 with error_set() done: it cannot be told. */
int segment_find_job(char out[64]);

/* Finds it out without a look at /proc: before the program begins, this is the environment it is started
 * with. */
void segment_learn_job(const char *const *environment);

/* Does the file name belong to a segment; of whom, which job, which name? */
bool segment_parse_file_name(const char *file_name, uid_t *uid, char job[64], char name[96]);

/* The path of a segment's file. */
void segment_path(char out[512], const char *directory, uid_t uid, const char *job, const char *name);

#endif

/* SPDX-License-Identifier: MIT
 *
 * The settings: the only reader of the environment and of policy files.
 *
 * Reads SHM_POLICY, SHM_RECORD, SHM_RECORD_SIZE, SHM_LOG, SHM_LOG_FILE and SHM_MERGE_HOLD with
 * secure_getenv(), so a setuid program has none. Uses only system calls: it runs before the program has a
 * heap.
 */
#ifndef SHM_SETTINGS_H
#define SHM_SETTINGS_H

#include <stddef.h>

enum settings_log { SETTINGS_LOG_ERROR, SETTINGS_LOG_WARN, SETTINGS_LOG_INFO, SETTINGS_LOG_DEBUG };

/* The best way that merge may use to keep memory from being written while it swaps it. SCAN and COMPARE park
 * the program's threads, and ask the kernel or compare once more for what was written before that. */
enum settings_hold { SETTINGS_HOLD_BEST, SETTINGS_HOLD_SCAN, SETTINGS_HOLD_COMPARE };

/* What a record looks at when nothing else is said. */
#define SETTINGS_RECORD_LEAST ((size_t)64 << 10)

struct settings {
    enum settings_log log;
    enum settings_hold hold;
    const char *log_file; /* points into the environment or is NULL; may hold %p for the pid */
    const char
        *check_file;    /* SHM_POLICY_CHECK: `shmpreload check` wants to know which sites match; or NULL */
    const char *rank;   /* the MPI rank as the launcher says it, NULL outside MPI */
    const char *policy; /* the text: in the environment, or in the memory given; NULL: none */
    size_t policy_length;
    const char *policy_file; /* NULL when the text itself was in the variable */
    const char *record_file; /* SHM_RECORD: as log_file, also with %h and %r; NULL: nothing is recorded */
    size_t record_least;     /* SHM_RECORD_SIZE: smaller requests are not looked at */
    char problem[512];       /* "" or one sentence on what is wrong with the settings; then policy is NULL
                              * unless only another variable than SHM_POLICY was wrong */
};

/* Fills *settings. A file named by SHM_POLICY=@path is read into `memory` (it must be a regular file
 * of at most POLICY_TEXT_MAX bytes; opened O_NONBLOCK|O_CLOEXEC so that a FIFO cannot hang us). */
void settings_read(struct settings *settings, char *memory, size_t bytes);

#endif

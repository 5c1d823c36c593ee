/* SPDX-License-Identifier: MIT
 *
 * A policy as the user gave it: the text itself, @file, or (on the command line) the path of a file
 * that exists; and what the parser says of it.
 *
 * A file that has been read is also known by its absolute path, because the program that gets it as
 * @path may have changed its directory by the time the shim reads it.
 */
#ifndef SHMPRELOAD_SOURCE_H
#define SHMPRELOAD_SOURCE_H

#include "config/policy.h"
#include "tool.h"

#include <stdio.h>

struct source {
    char *setting;     /* what SHM_POLICY must hold */
    char *label;       /* how messages call it: the file as given, or "policy" */
    bool perhaps_path; /* text that could have been meant as the path of a file, but there is none */
    char *text;
    size_t length;
    void *memory;                /* of the parsed policy */
    const struct policy *policy; /* NULL: bad, see error */
    struct policy_error error;
};

/* Reads and parses. `bare_path`: the argument may be a path without the @. 0 (source->policy may still
 * be NULL), or -1 after a message when there is no text to parse. Release in either case. */
int source_read(struct source *source, const char *argument, bool bare_path);
void source_release(struct source *source);

/* `LABEL:LINE:COLUMN: message`, the line, and a caret under the column; for a single word also that it
 * is no file. */
void source_print_error(const struct source *source, FILE *stream);

#endif

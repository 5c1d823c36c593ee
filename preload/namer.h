/* SPDX-License-Identifier: MIT
 *
 * From a call site and a thread to the label that its blocks are named by. Pure.
 *
 * A template is text with {placeholders}. All but {seq} and {size} are known when a thread first comes by a
 * site; they are filled in here and the two are left as holes, see core/label.h. What a template does not
 * say but uniqueness needs is appended: the thread (but for the first), and for exported blocks the rank
 * or pid. A template without {seq} names one block in a process's life plainly, later ones with #N.
 */
#ifndef SHM_NAMER_H
#define SHM_NAMER_H

#include "base.h"

struct namer_facts {
    const char *module;
    const char *function; /* NULL: unknown; "?" is put */
    uint64_t offset;      /* in the function, or in the module when the function is unknown */
    const char *thread;   /* "" for the first one, else its place in the tree of creation: "2", "2.1" */
    const char *rank;     /* NULL outside MPI */
    int32_t pid;
    bool exported;
};

/* Writes the label to out[bytes]; returns its length, 0 when it does not fit. *counts: it has a hole for
 * {seq}. */
size_t namer_label(const char *template, const struct namer_facts *facts, char *out, size_t bytes,
                   bool *counts);

/* Does the template name the module, so that a hidden part can keep equal names of different programs apart?
 */
bool namer_is_automatic(const char *template);

#endif

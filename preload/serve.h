/* SPDX-License-Identifier: MIT
 *
 * What the verbs do: a request and the rule that matched it → a block with a name in a segment.
 *
 * Segments are opened at the first request that wants them, so that a program no rule ever matches leaves no
 * trace. One that cannot be opened is not tried again. Runs inside the shim (see router.h).
 */
#ifndef SHM_SERVE_H
#define SHM_SERVE_H

#include "config/policy.h"
#include "site.h"

struct request {
    enum policy_call call;
    size_t bytes, alignment; /* alignment 0: malloc's */
    bool zero;
    const void *caller;
    const void *frame; /* of a function that returns there, or of one it calls; NULL: that of who is asked */
};

/* How the rule's exported blocks are made: export_flags. */
unsigned serve_export_flags(const struct policy_rule *rule, bool zero);

/* By rule `index` of the policy. True: the answer is in *out (NULL: out of memory by rule, errno is set), and
 * *created says whether the bytes are this process's to fill. False: the next allocator is to serve it; errno
 * is kept. */
bool serve_request(const struct site *site, uint16_t index, const struct request *request, void **out,
                   bool *created);

/* At bring-up. `rank` may be NULL. */
void serve_begin(const struct policy *policy, const char *rank);

/* Around fork(). */
void serve_fork_prepare(void);
void serve_fork_parent(void);
void serve_fork_child(void);

#endif

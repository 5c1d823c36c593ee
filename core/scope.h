/* SPDX-License-Identifier: MIT
 *
 * Whose a segment is: of all processes of the node, or of those of one socket or NUMA domain, its *domain*.
 *
 * The domain of a process follows from the processors that it may run on (its affinity, that of its first
 * thread) and from what the kernel says of them in /sys. It is known only when all of them are in one domain:
 * a process that may run in several is refused, never put into one by chance, for where it happens to run at
 * the moment says nothing of the next. A domain's segment has the domain in its name, so it has a file of its
 * own and lists under it: the segment SHARED::table of socket 1 is SHARED::table@socket1.
 *
 * Processors that are offline are in nobody's way. Nothing is kept: each question looks again. On which
 * memory the pages lie is not decided here.
 */
#ifndef SHM_SCOPE_H
#define SHM_SCOPE_H

#include "base.h"
#include "segment_name.h"
#include "shmcore.h"

#define SCOPE_PROCESSORS 8192u

/* A set of processors, a bit each. */
struct scope_processors {
    uint64_t bits[SCOPE_PROCESSORS / 64];
};

/* The number of the domain that all of `processors` are in, as `system` (/sys/devices/system, or what a test
 * has made) tells. 0, or -1 with error_set() done: EINVAL: they are in several; ENOTSUP: it does not tell. */
int scope_domain(enum shmcore_scope scope, const struct scope_processors *processors, const char *system,
                 uint32_t *domain);

/* The name of the segment that this process means by `name`, a valid one, in that scope. A name that has a
 * domain of that kind already stays as it is. 0, or -1 with error_set() done. */
int scope_name(char out[SEGMENT_NAME_BYTES], const char *name, enum shmcore_scope scope);

#endif

/* SPDX-License-Identifier: MIT
 *
 * The library of fork-late: keeps a block and, in its destructor, forks; parent and child write to the block
 * in turns.
 */
#include "child.h"

static unsigned char *kept;
static size_t kept_bytes;

void late_keep(void *block, size_t bytes);

void late_keep(void *block, size_t bytes)
{
    kept = block;
    kept_bytes = bytes;
    fill(kept, kept_bytes, 1);
}

static bool is_apart_in_child(const struct turns *turns)
{
    wait_for(turns->to_child); /* the parent has written */
    bool good = is_filled(kept, kept_bytes, 1);
    fill(kept, kept_bytes, 3);
    pass_on(turns->to_parent);
    kept = realloc(kept, 2 * kept_bytes);
    good = good && kept != NULL && is_filled(kept, kept_bytes, 3);
    return good;
}

static __attribute__((destructor)) void fork_late(void)
{
    const struct turns turns = make_turns();
    const pid_t child = checked_fork();
    if (child == 0)
        _exit(is_apart_in_child(&turns) ? 0 : 1);
    fill(kept, kept_bytes, 2);
    pass_on(turns.to_child);
    wait_for(turns.to_parent);
    check(is_filled(kept, kept_bytes, 2), "the parent does not see what the child writes");
    check(ends_well(child), "the child does not see what the parent writes, and can resize the block");
    fflush(stdout);
}

/* SPDX-License-Identifier: MIT
 *
 * Victim: blocks under `share` stay shared after a fork, in both directions, and outlive the one who made
 * them.
 */
#include "child.h"

enum { BYTES = 50000 };

static unsigned char *common(size_t bytes)
{
    unsigned char *block = malloc(bytes);
    return hide(block);
}

static int in_child(const struct turns *turns, unsigned char *large, unsigned char *small)
{
    bool good = true;
    wait_for(turns->to_child);
    good = good && is_filled(large, BYTES, 2) && is_filled(small, 50, 3);
    fill(large, BYTES, 4);
    fill(small, 50, 5);
    pass_on(turns->to_parent);
    wait_for(turns->to_child); /* the parent has freed them */
    good = good && is_filled(large, BYTES, 4) && is_filled(small, 50, 5);
    free(large);
    free(small);
    return good ? 0 : 1;
}

int main(void)
{
    const struct turns turns = make_turns();
    unsigned char *large = common(BYTES), *small = common(50);
    check(from_shim(large) && from_shim(small), "both are shared");
    fill(large, BYTES, 1);
    const pid_t child = checked_fork();
    if (child == 0)
        return in_child(&turns, large, small);
    fill(large, BYTES, 2);
    fill(small, 50, 3);
    pass_on(turns.to_child);
    wait_for(turns.to_parent);
    check(is_filled(large, BYTES, 4) && is_filled(small, 50, 5), "the parent sees what the child wrote");
    free(large);
    free(small);
    pass_on(turns.to_child);
    check(ends_well(child), "the child saw what the parent wrote, and keeps the blocks");
    return verdict();
}

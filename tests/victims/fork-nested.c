/* SPDX-License-Identifier: MIT
 *
 * Victim: a child of a child of a child; each generation writes, allocates and frees, and none sees the
 * others.
 */
#include "child.h"

enum { GENERATIONS = 4, BYTES = 70000 };

static int generation(unsigned depth, unsigned char *inherited)
{
    bool good = is_filled(inherited, BYTES, depth);
    unsigned char *own = malloc(BYTES), *small = malloc(60);
    check_routed(own, "what a child allocates is routed");
    fill(own, BYTES, depth + 100);
    fill(small, 60, depth + 200);
    fill(inherited, BYTES, depth + 1);
    if (depth < GENERATIONS) {
        const pid_t child = checked_fork();
        if (child == 0)
            return generation(depth + 1, inherited);
        fill(inherited, BYTES, 77);
        good = ends_well(child) && is_filled(inherited, BYTES, 77) && good;
    }
    good = good && is_filled(own, BYTES, depth + 100) && is_filled(small, 60, depth + 200);
    free(own);
    free(small);
    free(inherited);
    if (depth == 1)
        check(good, "four generations keep to themselves");
    return good ? verdict() : 1;
}

int main(void)
{
    unsigned char *block = malloc(BYTES);
    check_routed(block, "the block is routed");
    fill(block, BYTES, 1);
    return generation(1, block);
}

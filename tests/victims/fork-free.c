/* SPDX-License-Identifier: MIT
 *
 * Victim: a child frees and resizes what it has inherited, and so does the parent; both go on allocating.
 */
#include "child.h"

enum { BLOCKS = 60 };

static unsigned char *block[BLOCKS];

static size_t size_of(unsigned i)
{
    return i % 3 == 0 ? 40 + i : i % 3 == 1 ? 3000 + i * 10 : 40000 + i * 3000;
}

/* Every fourth is freed, every fourth grows, every fourth shrinks. */
static bool turn_over(unsigned seed)
{
    bool good = true;
    for (unsigned i = 0; i < BLOCKS; i++) {
        size_t bytes = size_of(i);
        good = good && is_filled(block[i], bytes, i);
        if (i % 4 == 0) {
            free(block[i]);
            block[i] = malloc(bytes);
        } else if (i % 4 == 1) {
            block[i] = realloc(block[i], bytes * 3);
            good = good && is_filled(block[i], bytes, i);
        } else if (i % 4 == 2) {
            block[i] = realloc(block[i], bytes / 3);
            good = good && is_filled(block[i], bytes / 3, i);
            block[i] = realloc(block[i], bytes);
        }
        fill(block[i], bytes, seed + i);
    }
    return good;
}

static bool all_are(unsigned seed)
{
    bool good = true;
    for (unsigned i = 0; i < BLOCKS; i++)
        good = good && is_filled(block[i], size_of(i), seed + i);
    return good;
}

static void free_all(void)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        free(block[i]);
}

static int in_child(const struct turns *turns)
{
    wait_for(turns->to_child); /* the parent has turned its blocks over */
    const bool good = turn_over(30);
    pass_on(turns->to_parent);
    wait_for(turns->to_child); /* and freed them */
    const bool whole = all_are(30);
    free_all();
    return good && whole ? 0 : 1;
}

int main(void)
{
    const struct turns turns = make_turns();
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = malloc(size_of(i));
        check_routed(block[i], "the block is routed");
        fill(block[i], size_of(i), i);
    }
    const pid_t child = checked_fork();
    if (child == 0)
        return in_child(&turns);
    check(turn_over(90), "the parent's blocks after the fork");
    pass_on(turns.to_child);
    wait_for(turns.to_parent);
    check(all_are(90), "what the child frees stays the parent's");
    free_all();
    pass_on(turns.to_child);
    check(ends_well(child), "what the parent frees stays the child's");
    return verdict();
}

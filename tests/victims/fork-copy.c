/* SPDX-License-Identifier: MIT
 *
 * Victim: parent and child go on writing the same blocks in turns; neither may see what the other writes.
 */
#include "child.h"

enum { BLOCKS = 7, ROUNDS = 4 };

static const size_t sizes[BLOCKS] = {1, 100, 4000, 5000, 33000, 300000, 3000000};
static unsigned char *block[BLOCKS];

static void write_all(unsigned seed)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        fill(block[i], sizes[i], seed + i);
}

static bool all_are(unsigned seed)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        if (!is_filled(block[i], sizes[i], seed + i))
            return false;
    return true;
}

static int in_child(const struct turns *turns)
{
    bool good = all_are(1);
    for (unsigned round = 0; round < ROUNDS; round++) {
        wait_for(turns->to_child);
        good = good && all_are(round == 0 ? 1 : 100 + round - 1);
        write_all(100 + round);
        pass_on(turns->to_parent);
    }
    return good ? 0 : 1;
}

int main(void)
{
    const struct turns turns = make_turns();
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = malloc(sizes[i]);
        check_routed(block[i], "the block is routed");
    }
    write_all(1);
    const pid_t child = checked_fork();
    if (child == 0)
        return in_child(&turns);
    check(all_are(1), "after the fork");
    for (unsigned round = 0; round < ROUNDS; round++) {
        write_all(50 + round);
        pass_on(turns.to_child);
        wait_for(turns.to_parent);
        check(all_are(50 + round), "the parent does not see what the child wrote");
    }
    check(ends_well(child), "the child does not see what the parent wrote");
    for (unsigned i = 0; i < BLOCKS; i++)
        free(block[i]);
    return verdict();
}

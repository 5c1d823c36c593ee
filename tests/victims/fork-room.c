/* SPDX-License-Identifier: MIT
 *
 * Victim: makes 120 blocks of 1 MiB, forks and frees them while the child lives on with what it has
 * inherited; then the child is killed, and it allocates and frees a little. Waits for the test in between,
 * twice in the end: others look for the dead then.
 */
#include "child.h"

#include <signal.h>

enum { BLOCKS = 120, BYTES = 1 << 20 };

static unsigned char *block[BLOCKS];

static void *large_block(void)
{
    unsigned char *made = malloc(BYTES);
    return hide(made);
}

static bool all_are(unsigned seed)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        if (!is_filled(block[i], BYTES, seed + i))
            return false;
    return true;
}

static _Noreturn void be_child(const struct turns *turns)
{
    bool good = true;
    for (;;) {
        wait_for(turns->to_child);
        good = good && all_are(1);
        if (good)
            pass_on(turns->to_parent);
    }
}

int main(void)
{
    const struct turns turns = make_turns();
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = large_block();
        check_routed(block[i], "the block is routed");
        fill(block[i], BYTES, 1 + i);
    }
    const pid_t child = checked_fork();
    if (child == 0)
        be_child(&turns);
    for (unsigned i = 0; i < BLOCKS; i++)
        free(block[i]);
    await_go("freed");
    pass_on(turns.to_child);
    wait_for(turns.to_parent);
    kill(child, SIGKILL);
    check(!ends_well(child), "the child lived until it was killed");
    free(large_block());
    await_go("alone");
    free(large_block());
    await_go("cleared");
    return verdict();
}

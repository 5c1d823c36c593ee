/* SPDX-License-Identifier: MIT
 *
 * Victim: `fork-orphan GENERATIONS` makes forty large blocks and a common one, and forks so many times in a
 * line; all but the last generation are killed at once. The last one waits for that, says `ready`, waits for
 * the test, and finds everything as it was at the fork. With VICTIM_EXITS the others end by themselves.
 */
#include "child.h"

#include <signal.h>

enum { BLOCKS = 40, BYTES = 1 << 20, COMMON = 200000 };

static unsigned char *block[BLOCKS], *common_block;

static unsigned char *large_block(void)
{
    unsigned char *made = malloc(BYTES);
    return hide(made);
}

static unsigned char *common(void)
{
    unsigned char *made = malloc(COMMON);
    return hide(made);
}

static unsigned char *own(void)
{
    unsigned char *made = malloc(300000);
    return hide(made);
}

static bool all_are(unsigned seed)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        if (!is_filled(block[i], BYTES, seed + i))
            return false;
    return true;
}

static void write_all(unsigned seed)
{
    for (unsigned i = 0; i < BLOCKS; i++)
        fill(block[i], BYTES, seed + i);
}

static int last_one(const int gone[2])
{
    char byte;
    unsigned char *mine = own();
    fill(mine, 300000, 7);
    check(read(gone[0], &byte, 1) == 0, "the others are gone");
    await_go("ready");
    check(all_are(1), "what was inherited is as it was");
    check(is_filled(common_block, COMMON, 3), "the common block is as it was");
    write_all(50);
    fill(common_block, COMMON, 5);
    await_go("written");
    check(all_are(50) && is_filled(common_block, COMMON, 5) && is_filled(mine, 300000, 7),
          "what was written is there");
    for (unsigned i = 0; i < BLOCKS; i++)
        free(block[i]);
    free(common_block);
    free(mine);
    return verdict();
}

int main(int count, char **arguments)
{
    int gone[2];
    if (count != 2 || pipe(gone) != 0)
        return 2;
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = large_block();
        check_routed(block[i], "the block is routed");
    }
    write_all(1);
    common_block = common();
    check_routed(common_block, "the common block is routed");
    fill(common_block, COMMON, 3);
    for (int generation = 0; generation < atoi(arguments[1]); generation++) {
        if (checked_fork() == 0)
            continue;
        if (getenv("VICTIM_EXITS") != NULL)
            return 0;
        kill(getpid(), SIGKILL);
    }
    close(gone[1]); /* the others hold it until they are gone */
    return last_one(gone);
}

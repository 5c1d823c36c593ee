/* SPDX-License-Identifier: MIT
 *
 * Victim: `merge-listing [DIFFERENCE]` has a block of 6 MiB and a hundred of 64 KiB that are the same in
 * every process with the same DIFFERENCE, which is the first byte of the last page of the large one. It holds
 * them until it may go on.
 */
#include "victim.h"

enum { LARGE = 6 << 20, SMALL = 64 << 10, SMALLS = 100, PAGE = 4096, SEED = 5 };

int main(int argc, char **argv)
{
    unsigned char *small[SMALLS];
    unsigned char *large = hide(malloc(LARGE));
    if (large == NULL)
        return 2;
    fill(large, LARGE, SEED);
    large[LARGE - PAGE] = (unsigned char)(argc > 1 ? atoi(argv[1]) : 0);
    for (int i = 0; i < SMALLS; i++) {
        small[i] = hide(malloc(SMALL));
        if (small[i] == NULL)
            return 2;
        fill(small[i], SMALL, (unsigned)i);
    }
    await_go("ready");
    check(is_filled(large, LARGE - PAGE, SEED), "the large block is whole");
    for (int i = 0; i < SMALLS; i++) {
        if (!is_filled(small[i], SMALL, (unsigned)i))
            check(false, "each small block is whole");
        free(small[i]);
    }
    free(large);
    return verdict();
}

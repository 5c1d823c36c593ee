/* SPDX-License-Identifier: MIT
 *
 * Victim: a server that began as root makes a block that could be merged, and becomes nobody. Says `ready`
 * and waits.
 */
#include "victim.h"

#include <sys/prctl.h>

enum { BYTES = 6 << 20, NOBODY = 65534, SEED = 3 };

/* The call site. */
static unsigned char *table(size_t bytes)
{
    unsigned char *block = malloc(bytes);
    if (block == NULL)
        exit(2);
    return hide(block);
}

int main(void)
{
    unsigned char *block = table(BYTES);
    fill(block, BYTES, SEED);
    check(setgid(NOBODY) == 0 && setuid(NOBODY) == 0, "it is nobody");
    prctl(PR_SET_DUMPABLE, 1); /* as servers do that want to leave core files: so /proc/self stays readable */
    await_go("ready");
    check(is_filled(block, BYTES, SEED), "the block is whole");
    free(block);
    return verdict();
}

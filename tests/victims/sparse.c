/* SPDX-License-Identifier: MIT
 *
 * Victim: a block of 64 MiB of which one byte is written.
 */
#include "victim.h"

int main(void)
{
    char *block = malloc((size_t)64 << 20);
    if (block == NULL)
        return 2;
    block[1000] = 1;
    await_go("ready");
    free(block);
    return 0;
}

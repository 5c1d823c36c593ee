/* SPDX-License-Identifier: MIT
 *
 * Victim: `become COMMAND…` makes a block, says `ready`, waits, and becomes COMMAND: the same process, with
 * nothing in it of what was there.
 */
#include "victim.h"

static char *meeting_point(void)
{
    char *block = calloc(1, 200000);
    return hide(block);
}

int main(int count, char **arguments)
{
    char *block = meeting_point();
    if (count < 2 || block == NULL)
        return 2;
    strcat(block, "before exec");
    await_go("ready");
    execvp(arguments[1], arguments + 1);
    return 127;
}

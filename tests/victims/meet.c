/* SPDX-License-Identifier: MIT
 *
 * Victim: `meet TEXT` makes a block, says where it lies and what is in it, writes TEXT behind that, and
 * waits; then says what is in it now.
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
    printf("main %#lx\nblock %p\nfound '%s'\n", (unsigned long)(uintptr_t)main, (void *)block, block);
    strcat(block, arguments[1]);
    await_go("ready");
    printf("now '%s'\n", block);
    free(block);
    return 0;
}

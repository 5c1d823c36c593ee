/* SPDX-License-Identifier: MIT
 *
 * Victim: two programs that differ in nothing but a text, TWIN_MARK, so that their call sites look alike.
 */
#include "victim.h"

static char *make(void)
{
    char *block = malloc(500);
    return hide(block);
}

int main(void)
{
    char *block = make();
    strcpy(block, TWIN_MARK);
    await_go("ready");
    check(strcmp(block, TWIN_MARK) == 0, "the block is still mine");
    free(block);
    return verdict();
}

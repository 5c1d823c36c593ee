/* SPDX-License-Identifier: MIT
 *
 * Victim: opens the shim's segment itself before the shim does, closes it again while blocks of the shim lie
 * there, and goes on using them.
 */
#include "victim.h"

#include "shmcore.h"

static char *make(size_t bytes)
{
    char *block = malloc(bytes);
    return hide(block);
}

int main(void)
{
    shmcore_segment *segment = shmcore_open("SHARED::node", NULL);
    check(segment != NULL, "the program opens the segment");
    char *before = make(200000);
    memset(before, 1, 200000);
    check(shmcore_close(segment) == 0, "and closes it");
    memset(before, 2, 200000);
    char *after = make(200000);
    memset(after, 3, 200000);
    check(before[199999] == 2 && after[199999] == 3, "blocks stay");
    segment = shmcore_open("SHARED::node", NULL);
    check(segment != NULL && shmcore_close(segment) == 0, "once more");
    free(before);
    free(after);
    return victim_failures;
}

/* SPDX-License-Identifier: MIT
 *
 * Victim: `drop UID` becomes that user, as a server does that was started by root, and only then asks for
 * memory; says `ready` and waits.
 */
#include "victim.h"

#include <grp.h>

enum { BYTES = 100000 };

static void *store(void)
{
    void *block = malloc(BYTES);
    return hide(block);
}

int main(int count, char **arguments)
{
    const unsigned id = count > 1 ? (unsigned)strtoul(arguments[1], NULL, 10) : 0;
    if (id == 0 || setgroups(0, NULL) != 0 || setgid(id) != 0 || setuid(id) != 0)
        return 2;
    unsigned char *block = store();
    check_routed(block, "the block is routed");
    fill(block, BYTES, 3);
    await_go("ready");
    check(is_filled(block, BYTES, 3), "contents");
    free(block);
    return verdict();
}

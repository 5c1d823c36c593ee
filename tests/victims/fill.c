/* SPDX-License-Identifier: MIT
 *
 * Victim: `fill COUNT BYTES [PAUSE]` makes so many blocks, writes them and looks at them again; says how many
 * it did not get, and with what errno. Before the block number PAUSE, or after the last one, it says `ready`
 * and waits. With VICTIM_ROUTED some must come from the shim and some not.
 */
#include "victim.h"

static void *store(size_t bytes)
{
    void *block = malloc(bytes);
    return hide(block);
}

int main(int count, char **arguments)
{
    enum { MOST = 4096 };
    static unsigned char *block[MOST];
    unsigned missing = 0, taken = 0, wrong_errno = 0, spoilt = 0;
    if (count < 3)
        return 2;
    const unsigned wanted = (unsigned)strtoul(arguments[1], NULL, 10);
    const size_t bytes = (size_t)strtoul(arguments[2], NULL, 10);
    const unsigned pause = count > 3 ? (unsigned)strtoul(arguments[3], NULL, 10) : MOST + 1;
    for (unsigned i = 0; i < wanted && i < MOST; i++) {
        if (i == pause)
            await_go("ready");
        errno = 0;
        block[i] = store(bytes);
        if (block[i] == NULL) {
            missing++;
            wrong_errno += errno != ENOMEM;
            continue;
        }
        taken += from_shim(block[i]);
        fill(block[i], bytes, i);
    }
    if (pause == wanted)
        await_go("ready");
    for (unsigned i = 0; i < wanted && i < MOST; i++) {
        spoilt += block[i] != NULL && !is_filled(block[i], bytes, i);
        free(block[i]);
    }
    printf("missing: %s\n", missing == 0 ? "none" : missing == wanted ? "all" : "some");
    check(wrong_errno == 0, "what is missing is ENOMEM");
    check(spoilt == 0, "contents");
    const char *expected = getenv("VICTIM_ROUTED");
    const char *found = taken == 0 ? "none" : taken == wanted ? "all" : "some";
    if (expected != NULL && strcmp(expected, found) != 0)
        printf("NO  routed: %s\n", found);
    return verdict();
}

/* SPDX-License-Identifier: MIT
 *
 * Victim: every descriptor that the process may have is in use when it asks for memory; then it closes them
 * and asks again. `descriptors late`: it has one block before. Says which numbers it got, so that a
 * descriptor that somebody else holds shows.
 */
#include "victim.h"

#include <fcntl.h>
#include <sys/resource.h>

enum { BLOCKS = 40, BYTES = 100000, MOST = 256 };

static void *store(size_t bytes)
{
    void *block = malloc(bytes);
    return hide(block);
}

static void some_blocks(const char *when)
{
    unsigned char *block[BLOCKS];
    bool good = true;
    unsigned routed = 0;
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = store(BYTES);
        if (block[i] == NULL)
            exit(2);
        fill(block[i], BYTES, i);
        routed += from_shim(block[i]);
    }
    for (unsigned i = 0; i < BLOCKS; i++) {
        good = good && is_filled(block[i], BYTES, i);
        free(block[i]);
    }
    check(good, when);
    const char *expected = getenv("VICTIM_ROUTED");
    if (expected != NULL && strcmp(expected, routed == 0 ? "none" : routed == BLOCKS ? "all" : "some") != 0)
        printf("NO  %u of %d routed, %s\n", routed, BLOCKS, when);
}

int main(int count, char **arguments)
{
    static int taken[MOST];
    struct rlimit limit = {MOST, MOST};
    unsigned number = 0, closed = 0;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        return 2;
    void *early = count > 1 && strcmp(arguments[1], "late") == 0 ? store(BYTES) : NULL;
    while (number < MOST && (taken[number] = open("/dev/null", O_RDONLY)) >= 0)
        number++;
    check(errno == EMFILE, "no descriptor is left");
    printf("from %d to %d\n", taken[0], taken[number - 1]);
    some_blocks("contents without a descriptor");
    for (unsigned i = 0; i < number; i++)
        closed += close(taken[i]) == 0;
    check(closed == number, "each was mine to close");
    some_blocks("contents with descriptors");
    printf("again %d\n", open("/dev/null", O_RDONLY));
    free(early);
    return verdict();
}

/* SPDX-License-Identifier: MIT
 *
 * Victim: every descriptor that the process may have is in use when it asks for memory; then it closes them
 * and asks again. `descriptors late`: it has one block before. Says which numbers it got, so that a
 * descriptor that somebody else holds shows.
 */
#include "some-blocks.h"

#include <fcntl.h>
#include <sys/resource.h>

enum { MOST = 256 };

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

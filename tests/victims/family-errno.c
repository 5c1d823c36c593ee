/* SPDX-License-Identifier: MIT
 *
 * Victim: errno is left alone by what succeeds, by free() above all.
 */
#include "victim.h"

#include <malloc.h>

static void errno_after_free(void *block, const char *what)
{
    check_routed(block, "the block is routed");
    errno = 77;
    free(block);
    const int after = errno;
    check(after == 77, what);
}

int main(void)
{
    int after[6];
    errno = 77;
    void *small = malloc(100);
    after[0] = errno;
    errno = 77;
    void *large = malloc(300000);
    after[1] = errno;
    errno = 77;
    void *zero = calloc(3, 50);
    after[2] = errno;
    errno = 77;
    void *grown = realloc(malloc(10), 5000);
    after[3] = errno;
    errno = 77;
    void *aligned = memalign(256, 1000);
    after[4] = errno;
    errno = 77;
    free(NULL);
    after[5] = errno;
    check(after[0] == 77, "the first malloc");
    check(after[1] == 77, "a large malloc");
    check(after[2] == 77, "calloc");
    check(after[3] == 77, "realloc");
    check(after[4] == 77, "memalign");
    check(after[5] == 77, "free(NULL)");
    errno_after_free(small, "free of a small block");
    errno_after_free(large, "free of a large block");
    errno_after_free(zero, "free of a calloc block");
    errno_after_free(grown, "free of a realloc block");
    errno_after_free(aligned, "free of an aligned block");
    return verdict();
}

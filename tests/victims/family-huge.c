/* SPDX-License-Identifier: MIT
 *
 * Victim: sizes that cannot be, from every entry point.
 */
#include "victim.h"

#include <malloc.h>

static void refused(void *block, const char *what)
{
    const int error = errno;
    check(block == NULL && error == ENOMEM, what);
    free(block);
    errno = 0;
}

static void all(size_t bytes)
{
    void *block = malloc(10), *moved;
    void *posix = &posix;
    printf("SIZE_MAX - %zu\n", SIZE_MAX - bytes);
    memset(block, 0x42, 10);
    errno = 0;
    refused(malloc(bytes), "malloc");
    refused(calloc(1, bytes), "calloc");
    refused(realloc(NULL, bytes), "realloc of NULL");
    moved = realloc(block, bytes);
    check(moved == NULL && errno == ENOMEM && is_all(block, 10, 0x42), "realloc");
    errno = 0;
    refused(memalign(4096, bytes), "memalign");
    refused(aligned_alloc(64, bytes), "aligned_alloc");
    refused(valloc(bytes), "valloc");
    refused(pvalloc(bytes), "pvalloc");
    refused(reallocarray(NULL, bytes, 2), "reallocarray");
    errno = 0;
    check(posix_memalign(&posix, 64, bytes) == ENOMEM && posix == &posix, "posix_memalign");
    free(block);
}

static void failed_realloc(size_t bytes)
{
    volatile size_t impossible = SIZE_MAX / 2 - 100;
    unsigned char *block = malloc(bytes);
    fill(block, bytes, 9);
    errno = 0;
    void *moved = realloc(block, impossible);
    const int error = errno;
    check(moved == NULL && error == ENOMEM, "an impossible realloc is ENOMEM");
    check(is_filled(block, bytes, 9), "and the old block is as it was");
    free(block);
}

int main(void)
{
    volatile size_t most = SIZE_MAX;
    static const size_t below[] = {0, 1, 15, 4094, 4095, 4096, 65535, SIZE_MAX / 2 - 1, SIZE_MAX / 2};
    for (size_t i = 0; i < sizeof below / sizeof below[0]; i++)
        all(most - below[i]);
    for (size_t bytes = 1; bytes < 300000; bytes = bytes * 3 + 1)
        failed_realloc(bytes);
    void *after = malloc(1000);
    check(after != NULL, "a sane malloc afterwards");
    check_routed(after, "which is routed");
    free(after);
    return verdict();
}

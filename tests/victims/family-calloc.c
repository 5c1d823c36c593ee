/* SPDX-License-Identifier: MIT
 *
 * Victim: calloc gives zeros, also where memory was used before, and refuses products that overflow.
 */
#include "victim.h"

enum { LIVE = 40 };

static bool one_round(size_t bytes)
{
    unsigned char *block[LIVE];
    bool zero = true;
    for (int i = 0; i < LIVE; i++) {
        block[i] = calloc(bytes / 4, 4);
        if (block[i] == NULL)
            return false;
        check_routed(block[i], "calloc is routed");
        zero = zero && is_all(block[i], bytes, 0);
        memset(block[i], 0xff, bytes);
    }
    for (int i = 0; i < LIVE; i++)
        free(block[i]);
    return zero;
}

static void refused(size_t count, size_t each)
{
    errno = 0;
    void *block = calloc(count, each);
    check(block == NULL && errno == ENOMEM, "a product that overflows is ENOMEM");
    free(block);
}

int main(void)
{
    static const size_t sizes[] = {4, 24, 100, 1000, 4096, 32768, 40000, 200000};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
        for (int round = 0; round < 3; round++)
            check(one_round(sizes[i]), "calloc gives zeros");
    void *dirty = malloc(1000);
    memset(dirty, 0xff, 1000);
    free(hide(dirty));
    void *clean = calloc(1, 1000);
    check(is_all(clean, 1000, 0), "calloc after a dirty free gives zeros");
    free(clean);
    volatile size_t most = SIZE_MAX;
    refused(most, 2);
    refused(most / 2 + 1, 2);
    refused((size_t)1 << 33, (size_t)1 << 33);
    refused(3, most / 2);
    return verdict();
}

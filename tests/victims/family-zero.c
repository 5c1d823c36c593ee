/* SPDX-License-Identifier: MIT
 *
 * Victim: requests for nothing.
 */
#include "victim.h"

#include <malloc.h>

int main(void)
{
    void *first = malloc(0), *second = malloc(0);
    check(first != NULL && second != NULL, "malloc(0) is not NULL");
    check(first != second, "two malloc(0) are two blocks");
    check_routed(first, "malloc(0) is routed");
    void *none = calloc(0, 16), *of_none = calloc(16, 0);
    check(none != NULL && of_none != NULL && none != of_none, "calloc of nothing is a block");
    void *fresh = realloc(NULL, 0);
    check(fresh != NULL, "realloc(NULL, 0) is a block");
    void *aligned = memalign(64, 0);
    check(aligned != NULL && (uintptr_t)aligned % 64 == 0, "memalign(64, 0) is an aligned block");
    void *posix = NULL;
    check(posix_memalign(&posix, 64, 0) == 0, "posix_memalign(64, 0) succeeds");
    void *grown = realloc(hide(first), 100);
    check(grown != NULL, "realloc of malloc(0) grows");
    fill(grown, 100, 1);
    check(is_filled(grown, 100, 1), "what it grew to can be written");
    errno = 0;
    check(realloc(hide(grown), 0) == NULL, "realloc(p, 0) frees");
    check(errno == 0, "realloc(p, 0) is no error");
    void *large = malloc(200000);
    check(realloc(hide(large), 0) == NULL, "realloc(p, 0) of a large block frees");
    void *blocks[] = {second, none, of_none, fresh, aligned, posix};
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        free(blocks[i]);
    return verdict();
}

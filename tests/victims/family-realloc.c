/* SPDX-License-Identifier: MIT
 *
 * Victim: realloc keeps the contents, whichever way the size goes.
 *
 * With `cross` as its argument it counts the moves between allocators as well: a rule for some sizes only
 * makes blocks cross in both directions.
 */
#include "victim.h"

static int to_shim, to_own;

static bool resize(unsigned char **block, size_t from, size_t to)
{
    const bool was_shim = from_shim(*block);
    unsigned char *moved = realloc(*block, to);
    if (moved == NULL)
        return false;
    to_shim += !was_shim && from_shim(moved);
    to_own += was_shim && !from_shim(moved);
    const bool kept = is_filled(moved, from < to ? from : to, 3);
    fill(moved, to, 3);
    *block = moved;
    return kept;
}

static void chain(const size_t *sizes, size_t count, const char *what)
{
    unsigned char *block = realloc(NULL, sizes[0]);
    bool kept = block != NULL;
    if (kept)
        fill(block, sizes[0], 3);
    for (size_t i = 1; i < count && kept; i++)
        kept = resize(&block, sizes[i - 1], sizes[i]);
    check(kept, what);
    free(block);
}

#define CHAIN(what, ...)                                                                                     \
    do {                                                                                                     \
        static const size_t sizes[] = {__VA_ARGS__};                                                         \
        chain(sizes, sizeof sizes / sizeof sizes[0], what);                                                  \
    } while (0)

int main(int count, char **arguments)
{
    CHAIN("growing", 1, 10, 100, 500, 2000, 9000, 30000, 50000, 200000, 1000000, 5000000);
    CHAIN("shrinking", 5000000, 1000000, 200000, 50000, 30000, 9000, 2000, 500, 100, 10, 1);
    CHAIN("up and down", 500, 2000, 500, 50000, 100, 3000000, 2000, 100, 60000, 500, 70000, 3000000, 10);
    CHAIN("the same size", 700, 700, 700);
    unsigned char *block = malloc(10);
    bool kept = block != NULL;
    fill(block, 10, 3);
    for (size_t bytes = 11; bytes < 3000 && kept; bytes++)
        kept = resize(&block, bytes - 1, bytes);
    check(kept, "growing byte by byte");
    free(block);
    if (count > 1 && strcmp(arguments[1], "cross") == 0 && getenv("VICTIM_ROUTED") != NULL &&
        (to_shim == 0 || to_own == 0))
        check(false, "blocks cross between allocators in both directions");
    return verdict();
}

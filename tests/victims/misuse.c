/* SPDX-License-Identifier: MIT
 *
 * Victim: frees what it must not. `misuse double|interior|resize BYTES`: five times from one place.
 */
#include "victim.h"

static void wrong_free(void *pointer)
{
    free(hide(pointer));
}

static void *wrong_resize(void *pointer, size_t bytes)
{
    return realloc(hide(pointer), bytes);
}

int main(int count, char **arguments)
{
    if (count != 3)
        return 2;
    const size_t bytes = (size_t)strtoul(arguments[2], NULL, 10);
    unsigned char *block = malloc(bytes), *neighbour = malloc(bytes);
    check_routed(block, "the block is routed");
    fill(block, bytes, 1);
    fill(neighbour, bytes, 2);
    const bool interior = strcmp(arguments[1], "interior") == 0, resize = strcmp(arguments[1], "resize") == 0;
    if (!interior)
        free(hide(block));
    for (size_t i = 0; i < 5; i++)
        if (resize)
            free(wrong_resize(block, bytes * 2));
        else
            wrong_free(block + (interior ? 16 + i * (bytes / 8) : 0));
    check(is_filled(neighbour, bytes, 2), "the neighbour is whole");
    if (interior) {
        check(is_filled(block, bytes, 1), "the block is whole");
        free(block);
    }
    unsigned char *one = malloc(bytes), *two = malloc(bytes);
    check(one != NULL && two != NULL && one != two && one != neighbour && two != neighbour,
          "blocks made later are blocks of their own");
    free(one);
    free(two);
    free(neighbour);
    puts("done");
    return verdict() == 0 ? 7 : 1;
}

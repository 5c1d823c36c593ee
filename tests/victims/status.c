/* SPDX-License-Identifier: MIT
 *
 * Victim: `status CODE [FILE]` ends with that code; says what number the first file that it opens has. FILE
 * is made and stays open to the end. `status CODE - wait` says `ready` and waits.
 */
#include "victim.h"

#include <fcntl.h>

static void *work(size_t bytes)
{
    void *block = malloc(bytes);
    return hide(block);
}

int main(int count, char **arguments)
{
    const char *path = count > 2 && strcmp(arguments[2], "-") != 0 ? arguments[2] : "/dev/null";
    const int number = open(path, O_RDWR | O_CREAT | O_TRUNC, 0600);
    printf("the first file is %d\n", number);
    for (size_t bytes = 10; bytes < 1000000; bytes *= 7) {
        void *block = work(bytes);
        fill(block, bytes, 3);
        check(is_filled(block, bytes, 3), "memory");
        free(block);
    }
    if (count > 3)
        await_go("ready");
    return count > 1 ? atoi(arguments[1]) : 0;
}

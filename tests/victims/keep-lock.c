/* SPDX-License-Identifier: MIT
 *
 * Not a victim but a culprit: `keep-lock FILE` opens a file, takes its lock, says `ready`, and keeps it until
 * it is told to go.
 */
#include "victim.h"

#include <fcntl.h>
#include <sys/file.h>

int main(int count, char **arguments)
{
    const int descriptor = count > 1 ? open(arguments[1], O_RDWR | O_CLOEXEC) : -1;
    if (descriptor < 0 || flock(descriptor, LOCK_EX) != 0)
        return 2;
    await_go("ready");
    return 0;
}

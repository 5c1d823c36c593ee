/* SPDX-License-Identifier: MIT
 *
 * A library that, when asked to, says `exiting` in its destructor and waits. Libraries end in the reverse
 * order of their beginning: those that the program needs after those that are preloaded.
 */
#include "late.h"

#include <string.h>
#include <unistd.h>

static int asked;

void wait_at_the_end(void)
{
    asked = 1;
}

static __attribute__((destructor)) void end(void)
{
    static const char word[] = "exiting\n";
    char byte = 0;
    if (!asked || write(STDOUT_FILENO, word, strlen(word)) < 0)
        return;
    while (byte != '\n' && read(STDIN_FILENO, &byte, 1) == 1)
        continue;
}

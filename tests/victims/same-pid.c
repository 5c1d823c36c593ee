/* SPDX-License-Identifier: MIT
 *
 * Not a victim but a starter of one: `same-pid PID COMMAND…` runs COMMAND as the process PID, whose former
 * bearer is gone. Needs the right to write /proc/sys/kernel/ns_last_pid; exits with 77 when it has not, or
 * when somebody else got the number each time.
 */
#include "victim.h"

#include <fcntl.h>
#include <sys/wait.h>

static bool next_is(pid_t pid)
{
    char text[16];
    const int length = snprintf(text, sizeof text, "%d", (int)pid - 1);
    const int descriptor = open("/proc/sys/kernel/ns_last_pid", O_WRONLY | O_CLOEXEC);
    const bool written = descriptor >= 0 && write(descriptor, text, (size_t)length) == length;
    close(descriptor);
    return written;
}

int main(int count, char **arguments)
{
    if (count < 3)
        return 2;
    const pid_t wanted = (pid_t)atoi(arguments[1]);
    for (int tries = 0; tries < 100 && next_is(wanted); tries++) {
        int status = 0;
        const pid_t child = fork();
        if (child == 0 && getpid() == wanted)
            execv(arguments[2], arguments + 2);
        if (child == 0)
            _exit(127);
        if (child < 0 || waitpid(child, &status, 0) != child)
            return 2;
        if (child == wanted)
            return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
    }
    return 77;
}

/* SPDX-License-Identifier: MIT
 *
 * Victim: programs started in every way: fork and exec, vfork and exec, posix_spawn, system, popen; and exec
 * without a fork at the end. Each is this victim again, `fork-exec child`.
 */
#include "child.h"

#include <spawn.h>

enum { BYTES = 50000 };

extern char **environ;

static int as_child(void)
{
    unsigned char *block = malloc(BYTES);
    check_routed(block, "the child program's block is routed");
    fill(block, BYTES, 9);
    puts(is_filled(block, BYTES, 9) ? "a child program" : "NO  contents of a child program");
    free(block);
    return verdict();
}

static pid_t by_fork(char **command)
{
    const pid_t child = checked_fork();
    if (child == 0) {
        execv("/proc/self/exe", command);
        _exit(127);
    }
    return child;
}

static pid_t by_vfork(char **command)
{
    fflush(stdout);
    const pid_t child = vfork();
    if (child == 0) {
        execv("/proc/self/exe", command);
        _exit(127);
    }
    return child;
}

static pid_t by_spawn(char **command)
{
    pid_t child = -1;
    fflush(stdout);
    return posix_spawn(&child, "/proc/self/exe", NULL, NULL, command, environ) == 0 ? child : -1;
}

static void by_shell(void)
{
    char line[256] = "";
    fflush(stdout);
    check(system("echo by system; exit 3") == 3 << 8, "system");
    FILE *stream = popen("echo by popen; exit 4", "r");
    check(stream != NULL && fgets(line, sizeof line, stream) != NULL && strcmp(line, "by popen\n") == 0,
          "popen");
    check(stream != NULL && pclose(stream) == 4 << 8, "pclose");
}

int main(int count, char **arguments)
{
    static char word[] = "child";
    char *command[] = {arguments[0], word, NULL};
    if (count > 1)
        return as_child();
    unsigned char *block = malloc(BYTES), *small = malloc(50);
    check_routed(block, "the block is routed");
    fill(block, BYTES, 1);
    fill(small, 50, 2);
    for (int i = 0; i < 3; i++) {
        check(ends_well(by_fork(command)), "fork and exec");
        check(ends_well(by_vfork(command)), "vfork and exec");
        check(ends_well(by_spawn(command)), "posix_spawn");
        by_shell();
        check(is_filled(block, BYTES, 1) && is_filled(small, 50, 2), "the parent's blocks are whole");
    }
    if (verdict() != 0)
        return verdict();
    fflush(stdout);
    execv("/proc/self/exe", command);
    return 3;
}

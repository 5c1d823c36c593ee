/* SPDX-License-Identifier: MIT
 *
 * Victim: says all that a process can easily find out about itself, before and after it allocates:
 * descriptors, signals, environment, threads, limits. `quiet exit N` and `quiet signal N` end as they say;
 * `quiet threads` starts one and looks again.
 */
#include "victim.h"

#include <dirent.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>

extern char **environ;

/* The numbers in a directory such as /proc/self/fd, but for the one that is open to read it. */
static void numbers(const char *path, bool as_count)
{
    unsigned count = 0;
    DIR *directory = opendir(path);
    if (directory == NULL)
        return;
    for (struct dirent *entry = readdir(directory); entry != NULL; entry = readdir(directory)) {
        if (entry->d_name[0] == '.' || (!as_count && atoi(entry->d_name) == dirfd(directory)))
            continue;
        count++;
        if (!as_count)
            printf(" %s:%d", entry->d_name, fcntl(atoi(entry->d_name), F_GETFD));
    }
    if (as_count)
        printf(" %u", count);
    printf("\n");
    closedir(directory);
}

static void signals(void)
{
    sigset_t blocked, pending;
    stack_t stack;
    sigprocmask(SIG_SETMASK, NULL, &blocked);
    sigpending(&pending);
    sigaltstack(NULL, &stack);
    for (int number = 1; number <= SIGRTMAX; number++) {
        struct sigaction action;
        if (sigaction(number, NULL, &action) != 0)
            continue;
        printf(" %d%s%s%s%s", number,
               action.sa_handler == SIG_DFL   ? ""
               : action.sa_handler == SIG_IGN ? "i"
                                              : "h",
               action.sa_flags != 0 ? "f" : "", sigismember(&blocked, number) == 1 ? "b" : "",
               sigismember(&pending, number) == 1 ? "p" : "");
    }
    printf("\naltstack %d\n", stack.ss_flags);
}

static bool is_ours(const char *variable)
{
    return strncmp(variable, "LD_PRELOAD=", 11) == 0 || strncmp(variable, "SHM_", 4) == 0 ||
           strncmp(variable, "VICTIM_", 7) == 0 || strncmp(variable, "_=", 2) == 0;
}

static void others(void)
{
    char name[64] = "", directory[4096];
    struct rlimit files, core;
    cpu_set_t processors;
    const mode_t mask = umask(0);
    umask(mask);
    prctl(PR_GET_NAME, name);
    getrlimit(RLIMIT_NOFILE, &files);
    getrlimit(RLIMIT_CORE, &core);
    sched_getaffinity(0, sizeof processors, &processors);
    printf("umask %o, name %s, dumpable %d, files %lu, core %lu, processors %d, directory %s\n",
           (unsigned)mask, name, prctl(PR_GET_DUMPABLE), (unsigned long)files.rlim_cur,
           (unsigned long)core.rlim_cur, CPU_COUNT(&processors), getcwd(directory, sizeof directory));
}

static void everything(const char *when)
{
    printf("%s\ndescriptors", when);
    numbers("/proc/self/fd", false);
    printf("threads");
    numbers("/proc/self/task", true);
    printf("signals");
    signals();
    for (char **variable = environ; *variable != NULL; variable++)
        if (!is_ours(*variable))
            printf("environment %s\n", *variable);
    others();
    const int number = open("/dev/null", O_RDONLY);
    printf("the next file is %d\n", number);
    close(number);
}

static void allocate(void)
{
    for (size_t bytes = 1; bytes < 2000000; bytes *= 3) {
        void *block = malloc(bytes), *zero = calloc(1, bytes);
        check_routed(block, "the block is routed");
        block = realloc(block, bytes * 2);
        free(hide(zero));
        free(hide(block));
    }
}

static void *in_thread(void *argument)
{
    allocate();
    everything(argument);
    return NULL;
}

int main(int count, char **arguments)
{
    static char word[] = "in a thread";
    pthread_t thread;
    everything("at the start");
    allocate();
    everything("after allocating");
    if (count > 1 && strcmp(arguments[1], "threads") == 0 &&
        pthread_create(&thread, NULL, in_thread, word) == 0)
        pthread_join(thread, NULL);
    fflush(stdout);
    if (count > 2 && strcmp(arguments[1], "signal") == 0)
        raise(atoi(arguments[2]));
    return count > 2 ? atoi(arguments[2]) : verdict();
}

/* SPDX-License-Identifier: MIT
 *
 * The library is looked for beside the command before the place it was configured for, so that a
 * build tree and a moved installation use their own.
 */
#include "launch.h"

#include "tool.h"

#include <errno.h>
#include <limits.h>
#include <spawn.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

/* Relative to the directory of the command, unless absolute; in this order. */
static const char *const places[] = {
    "../preload/libshmpreload.so", /* the build tree */
    SHMPRELOAD_LIBRARY_RELATIVE,
    SHMPRELOAD_LIBRARY,
};

static char *directory_of_command(void)
{
    char *path = realpath("/proc/self/exe", NULL);
    char *slash = path ? strrchr(path, '/') : NULL;
    if (slash)
        *slash = '\0';
    return path;
}

/* The absolute path of the shim, or NULL after a message. */
static char *find_library(void)
{
    char *library = NULL, *directory = directory_of_command();
    for (size_t i = 0; i < sizeof places / sizeof places[0] && !library; i++) {
        bool relative = places[i][0] != '/';
        char *place =
            formatted("%s%s%s", relative && directory ? directory : "", relative ? "/" : "", places[i]);
        library = realpath(place, NULL);
        free(place);
    }
    free(directory);
    if (!library)
        complain("cannot find libshmpreload.so, neither beside this command nor at %s", SHMPRELOAD_LIBRARY);
    return library;
}

static int set(const char *name, const char *value)
{
    if (setenv(name, value, 1) == 0)
        return 0;
    complain("cannot set %s: %s", name, strerror(errno));
    return -1;
}

static int set_preload(const char *library)
{
    const char *others = getenv("LD_PRELOAD");
    if (library[strcspn(library, ": \t\n")] != '\0') {
        complain("the path '%s' holds a blank or a colon, which LD_PRELOAD cannot express", library);
        return -1;
    }
    char *value = formatted("%s%s%s", library, others && *others ? ":" : "", others ? others : "");
    int result = set("LD_PRELOAD", value);
    free(value);
    return result;
}

int launch_environment(const char *policy, const char *log)
{
    char *library = find_library();
    if (!library)
        return -1;
    int result = set_preload(library);
    free(library);
    if (result == 0 && policy)
        result = set("SHM_POLICY", policy);
    if (result == 0 && log)
        result = set("SHM_LOG", log);
    return result;
}

int launch_become(char **argv)
{
    enum { STATUS_NOT_EXECUTABLE = 126, STATUS_NOT_FOUND = 127 }; /* as env(1) has them */
    execvp(argv[0], argv);
    int error = errno;
    complain("cannot run '%s': %s", argv[0], strerror(error));
    return error == ENOENT ? STATUS_NOT_FOUND : STATUS_NOT_EXECUTABLE;
}

void launch_hold_signals(struct launch_hold *hold)
{
    static const int endings[] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    sigemptyset(&hold->held);
    sigaddset(&hold->held, SIGCHLD);
    for (size_t i = 0; i < sizeof endings / sizeof endings[0]; i++) {
        struct sigaction action;
        sigaction(endings[i], NULL, &action);
        if (action.sa_handler != SIG_IGN)
            sigaddset(&hold->held, endings[i]);
    }
    signal(SIGCHLD, SIG_DFL); /* inherited as ignored, it would reap the program before we can ask */
    sigprocmask(SIG_BLOCK, &hold->held, &hold->before);
}

void launch_release_signals(const struct launch_hold *hold)
{
    sigprocmask(SIG_SETMASK, &hold->before, NULL);
}

static int start(char **argv, bool output_to_error, const struct launch_hold *hold, pid_t *pid)
{
    extern char **environ;
    posix_spawnattr_t attributes;
    posix_spawn_file_actions_t actions;
    required(posix_spawnattr_init(&attributes) == 0 ? &attributes : NULL);
    required(posix_spawn_file_actions_init(&actions) == 0 ? &actions : NULL);
    posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK);
    posix_spawnattr_setsigmask(&attributes, &hold->before);
    int error =
        output_to_error ? posix_spawn_file_actions_adddup2(&actions, STDERR_FILENO, STDOUT_FILENO) : 0;
    if (error == 0)
        error = posix_spawnp(pid, argv[0], &actions, &attributes, argv, environ);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    if (error == 0)
        return 0;
    complain("cannot run '%s': %s", argv[0], strerror(error));
    return -1;
}

/* The terminal sends its signals to the program as well; what somebody sent to us alone is handed on. */
static void hand_on(pid_t pid, const siginfo_t *signal)
{
    if (signal->si_code == SI_USER || signal->si_code == SI_QUEUE || signal->si_code == SI_TKILL)
        kill(pid, signal->si_signo);
}

/* How long from now; false: it is over. */
static bool time_until(const struct timespec *deadline, struct timespec *left)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    left->tv_sec = deadline->tv_sec - now.tv_sec;
    left->tv_nsec = deadline->tv_nsec - now.tv_nsec;
    if (left->tv_nsec < 0) {
        left->tv_sec--;
        left->tv_nsec += 1000000000;
    }
    return left->tv_sec >= 0;
}

/* The next signal that is held, or 0 when the time is over; once, then it waits for ever. */
static int next_signal(const struct launch_hold *hold, const struct timespec *deadline, siginfo_t *signal)
{
    struct timespec left;
    if (deadline == NULL)
        return sigwaitinfo(&hold->held, signal);
    if (!time_until(deadline, &left))
        return 0;
    const int got = sigtimedwait(&hold->held, signal, &left);
    return got < 0 && errno == EAGAIN ? 0 : got;
}

int launch_and_wait(char **argv, bool output_to_error, unsigned seconds, const struct launch_hold *hold,
                    struct launch_end *end)
{
    pid_t pid;
    struct timespec deadline;
    clock_gettime(CLOCK_MONOTONIC, &deadline);
    deadline.tv_sec += seconds;
    *end = (struct launch_end){0};
    if (start(argv, output_to_error, hold, &pid) < 0)
        return -1;
    while (waitpid(pid, &end->status, WNOHANG) == 0) {
        siginfo_t signal;
        const int got = next_signal(hold, seconds > 0 && !end->late ? &deadline : NULL, &signal);
        if (got == 0) {
            end->late = true;
            kill(pid, SIGTERM);
        }
        if (got <= 0 || got == SIGCHLD)
            continue;
        if (end->signal != 0)
            break; /* asked twice */
        end->signal = signal.si_signo;
        hand_on(pid, &signal);
    }
    return 0;
}

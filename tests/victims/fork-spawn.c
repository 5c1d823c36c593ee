/* SPDX-License-Identifier: MIT
 *
 * Victim: posix_spawn with file actions and attributes, and a child of vfork, with allocations all along: in
 * the lists of actions, in the child before it execs, and in other threads.
 */
#include "child.h"

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <spawn.h>
#include <stdatomic.h>

enum { BYTES = 50000, ROUNDS = 20, ACTIONS = 40 };

extern char **environ;

static atomic_bool over, spoilt;

static void *churn(void *argument)
{
    unsigned seed = 1;
    (void)argument;
    while (!atomic_load(&over)) {
        const size_t bytes = 1 + ++seed * 131 % 50000;
        unsigned char *block = malloc(bytes);
        fill(block, bytes, seed);
        block = realloc(block, bytes * 2);
        if (!is_filled(block, bytes, seed))
            atomic_store(&spoilt, true);
        free(block);
    }
    return NULL;
}

/* The child reads what it is told from descriptor 77, which the actions have made for it. */
static int as_child(void)
{
    char word[8] = "";
    unsigned char *block = malloc(BYTES);
    check_routed(block, "the child program's block is routed");
    fill(block, BYTES, 9);
    const bool good = is_filled(block, BYTES, 9) && read(77, word, 5) == 5 && strcmp(word, "hello") == 0;
    free(block);
    return good ? verdict() : 1;
}

static bool by_spawn(char **command)
{
    posix_spawn_file_actions_t actions;
    posix_spawnattr_t attributes;
    sigset_t none;
    pid_t child;
    int pipe_ends[2];
    bool good = pipe(pipe_ends) == 0 && write(pipe_ends[1], "hello", 5) == 5;
    sigemptyset(&none);
    good = good && posix_spawn_file_actions_init(&actions) == 0 && posix_spawnattr_init(&attributes) == 0;
    for (int i = 0; good && i < ACTIONS; i++) { /* the list and each of its paths are allocated */
        good = posix_spawn_file_actions_addopen(&actions, 100 + i, "/dev/null", O_RDWR, 0) == 0;
        free(malloc((size_t)(100 + i * 1000)));
    }
    good = good && posix_spawn_file_actions_adddup2(&actions, pipe_ends[0], 77) == 0 &&
           posix_spawn_file_actions_addclose(&actions, pipe_ends[1]) == 0 &&
           posix_spawnattr_setsigmask(&attributes, &none) == 0 &&
           posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETSIGMASK) == 0 &&
           posix_spawn(&child, "/proc/self/exe", &actions, &attributes, command, environ) == 0 &&
           ends_well(child);
    posix_spawn_file_actions_destroy(&actions);
    posix_spawnattr_destroy(&attributes);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return good;
}

/* It shares its parent's memory, so whatever it allocates and frees is its parent's. */
static bool by_vfork(char **command)
{
    int pipe_ends[2];
    unsigned char *volatile made = NULL;
    if (pipe(pipe_ends) != 0 || write(pipe_ends[1], "hello", 5) != 5)
        return false;
    const pid_t child = vfork();
    if (child == 0) {
        free(malloc(300));
        free(malloc(300000));
        made = malloc(BYTES);
        fill(made, BYTES, 3);
        if (dup2(pipe_ends[0], 77) == 77)
            execv("/proc/self/exe", command);
        _exit(127);
    }
    const bool good = ends_well(child) && is_filled(made, BYTES, 3);
    free(made);
    close(pipe_ends[0]);
    close(pipe_ends[1]);
    return good;
}

int main(int count, char **arguments)
{
    static char word[] = "child";
    char *command[] = {arguments[0], word, NULL};
    pthread_t thread;
    if (count > 1)
        return as_child();
    unsigned char *block = malloc(BYTES);
    check_routed(block, "the block is routed");
    fill(block, BYTES, 1);
    if (pthread_create(&thread, NULL, churn, NULL) != 0)
        return 2;
    for (int i = 0; i < ROUNDS; i++) {
        check(by_spawn(command), "posix_spawn with file actions");
        check(by_vfork(command), "a child of vfork that allocates");
    }
    atomic_store(&over, true);
    pthread_join(thread, NULL);
    check(is_filled(block, BYTES, 1) && !atomic_load(&spoilt), "the parent's blocks are whole");
    free(block);
    return verdict();
}

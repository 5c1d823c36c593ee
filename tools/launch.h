/* SPDX-License-Identifier: MIT
 *
 * Programs under the shim: its library, the environment that loads it, starting and waiting.
 */
#ifndef SHMPRELOAD_LAUNCH_H
#define SHMPRELOAD_LAUNCH_H

#include <signal.h>
#include <stdbool.h>

/* Sets LD_PRELOAD (the shim first, then what was there), SHM_POLICY unless `policy` is NULL, and SHM_LOG
 * unless `log` is NULL, in this process's environment. 0, or -1 after a message. */
int launch_environment(const char *policy, const char *log);

/* Becomes argv, found on PATH. Returns an exit status, after a message, when that cannot be. */
int launch_become(char **argv);

/* From hold to release, the signals that ask to end are kept for launch_and_wait(), so that nothing
 * is left behind; those that were ignored stay so. */
struct launch_hold {
    sigset_t before, held;
};
void launch_hold_signals(struct launch_hold *hold);
void launch_release_signals(const struct launch_hold *hold);

struct launch_end {
    int status; /* as waitpid() gives it */
    int signal; /* a signal that asked us to end, 0: none */
    bool late;  /* it was asked to end because its time was over */
};

/* Runs argv (found on PATH) to its end, handing on the signals that only we got. A second signal stops
 * the waiting. `output_to_error`: the program's standard output goes to standard error. After `seconds` it is
 * asked to end with SIGTERM; 0: never. 0, or -1 after a message when it could not be started. */
int launch_and_wait(char **argv, bool output_to_error, unsigned seconds, const struct launch_hold *hold,
                    struct launch_end *end);

#endif

/* SPDX-License-Identifier: MIT
 *
 * Other processes for the tests: started, spoken with, stopped, killed. None outlives the test.
 *
 * In a child no cmocka assertion may be used: it would jump back into the child's copy of the test.
 */
#ifndef SHM_TEST_CHILD_H
#define SHM_TEST_CHILD_H

#include <stdbool.h>
#include <sys/types.h>

struct child {
    pid_t pid;
    int link; /* to the other side; closed by exec */
};

/* Forks. The child runs body(self, argument) and ends with its result as exit status. */
struct child child_start(int (*body)(struct child *self, void *argument), void *argument);

/* One character to, or from, the other side; hearing waits, and '\0' means that it has gone. */
void child_say(const struct child *child, char word);
char child_hear(const struct child *child);

/* Waits until the child has ended, and leaves it a zombie. */
void child_await(const struct child *child);
/* Waits until the child has been stopped by a signal. */
void child_stop(const struct child *child);

/* Waits and buries it: its exit status, or minus the signal that ended it. */
int child_end(struct child *child);
/* SIGKILL, then the same. */
void child_kill(struct child *child);

#endif

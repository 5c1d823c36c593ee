/* SPDX-License-Identifier: MIT
 *
 * What the core of this process is told about other processes and the time. The linker puts these between the
 * core and its os.c (--wrap), so that a victim that is only stopped can be judged as if it had been killed.
 */
#ifndef SHM_TEST_HOOKS_H
#define SHM_TEST_HOOKS_H

#include "os.h"

struct hooks {
    int32_t dead;   /* this process is gone; 0: none */
    uint64_t ahead; /* so many ns later it is */
    bool impatient; /* pauses take no time */
};
extern struct hooks hooks;

#endif

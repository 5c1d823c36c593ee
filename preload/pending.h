/* SPDX-License-Identifier: MIT
 *
 * Shared blocks that the program has freed while a process that does not run (SIGSTOP, a debugger) kept their
 * part of the segment locked. free() cannot fail and must not wait, so they are kept here and freed when the
 * lock can be had again: at the next free() of a shared block that succeeds, or at the end.
 *
 * Any thread; no lock, no allocation. When it is full the block stays until the process ends, as everything
 * it holds does. A forked child inherits what is pending together with references of its own.
 */
#ifndef SHM_PENDING_H
#define SHM_PENDING_H

#include <stdbool.h>

/* False: there is no room. */
bool pending_put(void *block);

/* Calls release(block) for what is pending until that returns false; that one stays. */
void pending_drain(bool (*release)(void *block));

#endif

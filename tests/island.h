/* SPDX-License-Identifier: MIT
 *
 * A /dev/shm of the test's own: a small tmpfs in a mount namespace that no other process sees, so that a
 * test may fill it, leave wrecks in it, and be killed.
 */
#ifndef SHM_TEST_ISLAND_H
#define SHM_TEST_ISLAND_H

#include <stdbool.h>
#include <stdint.h>

/* Moves this process there. False: not allowed here; *why says what was refused. */
bool island_make(uint64_t bytes, const char **why);

#endif

/* SPDX-License-Identifier: MIT
 *
 * Huge pages of shared memory, as the kernel shows them.
 */
#ifndef SHM_TEST_HUGE_H
#define SHM_TEST_HUGE_H

#include <stdint.h>

/* Bytes of the mapping that holds `address` which this process has mapped in huge pages. */
uint64_t huge_bytes_at(const void *address);

#endif

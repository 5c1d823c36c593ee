/* SPDX-License-Identifier: MIT
 *
 * The two functions that libFuzzer calls. feed.c calls them as well, for the inputs that once were found.
 */
#ifndef SHM_FUZZ_FEEDING_H
#define SHM_FUZZ_FEEDING_H

#include <stddef.h>
#include <stdint.h>

__attribute__((visibility("default"))) int LLVMFuzzerInitialize(int *argc, char ***argv);
__attribute__((visibility("default"))) int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#endif

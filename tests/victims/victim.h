/* SPDX-License-Identifier: MIT
 *
 * What the victims have in common. A victim prints facts that hold with any allocator, one a line, so that
 * its output is the same with and without the shim; "NO" begins a line that says something is wrong. With
 * VICTIM_ROUTED in its environment it also checks that memory comes from where the test expects it.
 */
#ifndef SHM_VICTIM_H
#define SHM_VICTIM_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static int victim_failures;

/* Segments lie between these addresses, in every process. */
static inline bool from_shim(const void *pointer)
{
    return (uintptr_t)pointer - UINT64_C(0x210000000000) < UINT64_C(0x080000000000);
}

static inline void check(bool good, const char *what)
{
    if (!good)
        victim_failures++;
    printf("%s %s\n", good ? "yes" : "NO ", what);
}

/* Checked only where the test says that everything is routed. */
static inline void check_routed(const void *pointer, const char *what)
{
    if (getenv("VICTIM_ROUTED") != NULL && !from_shim(pointer))
        check(false, what);
}

/* Hides from the compiler where a pointer comes from, so that it neither warns nor leaves anything out. */
static inline void *hide(void *pointer)
{
    void *volatile hidden = pointer;
    return hidden;
}

/* Prints `word` and waits for a line from the test. */
static inline void await_go(const char *word)
{
    char byte = 0;
    printf("%s\n", word);
    fflush(stdout);
    while (byte != '\n' && read(STDIN_FILENO, &byte, 1) == 1)
        continue;
}

static inline void fill(void *memory, size_t bytes, unsigned seed)
{
    unsigned char *at = memory;
    for (size_t i = 0; i < bytes; i++)
        at[i] = (unsigned char)(seed + i * 7 + i / 251);
}

static inline bool is_filled(const void *memory, size_t bytes, unsigned seed)
{
    const unsigned char *at = memory;
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != (unsigned char)(seed + i * 7 + i / 251))
            return false;
    return true;
}

static inline bool is_all(const void *memory, size_t bytes, int value)
{
    const unsigned char *at = memory;
    for (size_t i = 0; i < bytes; i++)
        if (at[i] != (unsigned char)value)
            return false;
    return true;
}

static inline int verdict(void)
{
    return victim_failures == 0 ? 0 : 1;
}

#endif

/* SPDX-License-Identifier: MIT
 *
 * The registers of a thread that a signal has interrupted, and a system call that such a handler makes for
 * it. What a register is called, each kind of machine has its own word for: those are in os.c.
 */
#ifndef SHM_OS_CONTEXT_H
#define SHM_OS_CONTEXT_H

#include "base.h"

struct os_registers {
    int64_t *result; /* of the system call, when it was in one */
    int64_t *place;  /* the next instruction */
    uint64_t stack;
    uint64_t argument[6]; /* of a system call */
};

/* False: not known for this kind of machine. */
bool os_registers_of(void *context, struct os_registers *out);

/* The bytes of the instruction that makes a system call. */
#define OS_CALL_BYTES 2u
bool os_is_call(const unsigned char code[OS_CALL_BYTES]);

/* Makes a system call so that a signal handler can tell that it interrupted this one. */
int64_t os_call_again(int64_t number, const uint64_t argument[6]);
bool os_in_call_again(uint64_t place);

#endif

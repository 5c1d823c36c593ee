/* SPDX-License-Identifier: MIT
 *
 * The stack of a call → its row in the record.
 *
 * Programs allocate again and again from where they just did. So each thread remembers what its last walks
 * read of the stack: while that is what it was, the row is, too, and comparing it costs a small part of a
 * walk.
 */
#ifndef SHM_RECORD_STACK_H
#define SHM_RECORD_STACK_H

#include "base.h"

/* The row, counted from 1, of the call that returns to `caller`; 0: the record has no room for it. `frame`:
 * __builtin_frame_address(0) of a function that returns there, or that such a function called. The thread is
 * inside the shim; errno is kept. */
uint32_t record_stack_row(const void *frame, const void *caller);

/* For RECORD_PIECE_BYTES, of this thread; NULL: no memory. */
void *record_stack_buffer(void);

/* Modules were unloaded, or the record is another one. */
void record_stack_forget(void);

#endif

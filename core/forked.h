/* SPDX-License-Identifier: MIT
 *
 * What a fork does to the blocks of all open segments: handlers for before it and after it on either side.
 * The child gets its own view of exported blocks (enum fork_view) and references of its own to the others.
 */
#ifndef SHM_FORKED_H
#define SHM_FORKED_H

#include "forked_lapse.h"

/* Of the last fork of this thread, in the parent and in the child. */
enum forked_lapse forked_worst(void);

void forked_prepare(void);
void forked_parent(void);
void forked_child(void);

/* Registers the handlers, once; does nothing after forked_take_over(). */
void forked_register(void);

/* The caller has fork handlers of his own, which call the three. */
void forked_take_over(void);

#endif

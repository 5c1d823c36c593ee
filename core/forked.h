/* SPDX-License-Identifier: MIT
 *
 * What a fork does to the blocks of all open segments: handlers for before it and after it on either side.
 * The child gets private copies of exported blocks and references of its own to the others.
 */
#ifndef SHM_FORKED_H
#define SHM_FORKED_H

void forked_prepare(void);
void forked_parent(void);
void forked_child(void);

/* Registers the handlers, once; does nothing after forked_take_over(). */
void forked_register(void);

/* The caller has fork handlers of his own, which call the three. */
void forked_take_over(void);

#endif

/* SPDX-License-Identifier: MIT
 *
 * A library whose destructor runs after that of a preloaded one: see late.c.
 */
void wait_at_the_end(void);

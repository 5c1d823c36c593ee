/* SPDX-License-Identifier: MIT
 *
 * When merge rules are acted on: a thread of our own that looks for memory that has gone quiet and answers
 * `shmpreload merge`, and the collectives of MPI.
 *
 * The thread is started when a merge rule has first matched. It blocks all signals, has a table of
 * descriptors of its own where the kernel can (Linux 5.9), so that the program neither sees nor closes what
 * it opens, spends at most one percent of a processor while nothing changes, and goes when it is the last one
 * left, so that a program whose first thread has ended still ends with its last. A forked child gets one when
 * it allocates by a merge rule itself.
 */
#ifndef SHM_MERGER_H
#define SHM_MERGER_H

/* Inside the shim. */
void merger_start(void);

/* After a collective operation of MPI, in the thread that called it. */
void merger_after_collective(void);

/* In a forked child. */
void merger_after_fork(void);

#endif

/* SPDX-License-Identifier: MIT
 *
 * All other threads of this process stand still for a moment.
 *
 * Each gets a signal whose handler waits until the moment is over; system calls that it breaks off go on as
 * if nothing had been (see os_resume_call()). "All" is proven: the list of threads is read until it shows no
 * one who is not parked, and one who is parked creates no more. It fails, and harms nobody, when a thread
 * blocks the signal (it may be waiting for all signals, and must never see ours), or does not come in time
 * (asleep in the kernel where no signal wakes, or stopped).
 *
 * The signal is one that does nothing where nobody handles it: SIGURG, else SIGWINCH, whichever the program
 * has left alone. For a thread that calls exec just when it is sent the signal carries it, pending, into the
 * new program, and any other would end that. It stays ours once taken, unless the program takes it away. One
 * that comes from elsewhere (a terminal, a socket) is as good as ignored: the handler goes on with the call.
 *
 * While they stand still the caller must take no lock, and call nothing that might: its holder may be parked.
 * One moment at a time: passes over several segments may want one at once, and whoever comes second waits for
 * the end of the first (it may be parked meanwhile). Threads that other processes run in this memory
 * (vfork) are not seen; the parent of one cannot be parked, so it fails then.
 */
#ifndef SHM_PARK_H
#define SHM_PARK_H

#include "base.h"

enum park_answer {
    PARKED,
    PARK_BLOCKED, /* a thread blocks the signal */
    PARK_LATE,    /* a thread did not come in time */
    PARK_NEVER,   /* neither signal is free, or this kind of machine cannot */
    PARK_IN_USE,  /* a thread's stack lies in the range */
};

/* PARKED: the others stand still until park_end(). Otherwise they do not. No thread's stack lies in the
 * range. */
enum park_answer park_begin(const void *address, uint64_t bytes);
void park_end(void);

/* The calling thread is the library's own: it writes to nothing of the program's, blocks all signals, and
 * goes on while others stand still. One for each copy of the library in a process; it gets a name by which
 * the other copies know it. */
void park_except_this(void);

/* In a forked child, which has one thread. */
void park_after_fork(void);

#endif

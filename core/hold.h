/* SPDX-License-Identifier: MIT
 *
 * Nobody writes to a range of this process's private memory while it is replaced by something equal.
 *
 * Two ways, the best that the process may use:
 *
 * userfaultfd: the pages are write-protected, and every writer, the kernel and other processes included,
 * waits in its page fault. Needs a privilege on most systems.
 *
 * Parking: the other threads stand still (park.h). What they wrote between the comparison and then is found
 * by PAGEMAP_SCAN (Linux 6.7), or by comparing again. Other processes' process_vm_writev is kept out by a
 * gate, see private.h.
 *
 *   hold_watch()     from here on writes are noticed; compare at leisure
 *   hold_begin()     from here on there are none
 *   hold_written()   which pages have been written in between
 *   hold_end()       all go on
 *
 * Between begin and end no lock may be taken that a thread of the program might hold, and nothing allocated.
 * What neither way sees: devices that write into memory (RDMA, O_DIRECT reads in flight), io_uring into
 * buffers that are registered with it (hold_open() refuses a process that has a ring), and, while parking,
 * ptrace and /proc/PID/mem.
 */
#ifndef SHM_HOLD_H
#define SHM_HOLD_H

#include "base.h"

enum hold_way { HOLD_USERFAULT, HOLD_SCAN, HOLD_COMPARE };

struct hold {
    enum hold_way way;
    int watch;   /* descriptor, -1 */
    int pagemap; /* descriptor */
};

enum hold_answer {
    HOLD_YES,
    HOLD_LATER, /* a thread could not be parked this time */
    HOLD_NO,    /* not this range, or not this process */
};

/* Opens what is needed, at most as good as `best`. False: memory of this process cannot be replaced safely.
 */
bool hold_open(struct hold *hold, enum hold_way best);
void hold_close(struct hold *hold);

enum hold_answer hold_watch(struct hold *hold, void *address, uint64_t bytes);
enum hold_answer hold_begin(struct hold *hold, void *address, uint64_t bytes);
/* A bit for each page; all of them where that is not known. */
void hold_written(struct hold *hold, void *address, uint32_t count, uint64_t *bits);
void hold_end(struct hold *hold, void *address, uint64_t bytes);
/* Instead of begin and end. */
void hold_forget(struct hold *hold, void *address, uint64_t bytes);

#endif

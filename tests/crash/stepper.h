/* SPDX-License-Identifier: MIT
 *
 * Runs another process instruction by instruction and says when what the segment or the kernel would see of
 * it has changed: the bytes of the segment, or the list of robust locks by which the kernel finds what a
 * dying process held.
 *
 * How a change is seen without looking at a whole segment after each instruction: the segment is
 * write-protected in the victim. The first store to a page faults, the page becomes writable and is compared
 * with what it was after each instruction from then on. A long stretch without any change is passed over: all
 * is protected again and the victim runs until the processor reports its next store or system call, so no
 * store can be missed. At the end everything is compared once more.
 *
 * A system call is one instruction here, as it is to a debugger. Those that could touch the segment are let
 * through with the protection lifted.
 */
#ifndef SHM_TEST_STEPPER_H
#define SHM_TEST_STEPPER_H

#include <sys/types.h>

#include "base.h"

/* The kernel's struct robust_list_head as it lies in the victim. */
struct robust_head {
    uint64_t next;
    int64_t futex_offset;
    uint64_t pending;
};

struct stepper {
    pid_t pid;
    const volatile int *finished; /* set by the victim at the end */
    uint64_t base, bytes;         /* the segment in the victim; 0: not mapped */
    const unsigned char *now;     /* the same memory in this process */
    unsigned char *seen;          /* as it was after the last step */
    uint32_t *hot;                /* pages that are writable in the victim */
    uint32_t hot_count;
    uint64_t robust_at; /* where the head lies in the victim */
    struct robust_head robust;
    uint64_t changed_page, changed_at; /* the last page that changed, and the instruction after */
    uint32_t quiet;                    /* steps without a change */
    bool call_changed;                 /* the last step was a system call that may have changed files */
    uint64_t mapped_at, mapped_bytes;  /* and it was the mapping of a shared file: where it lies now */
    unsigned long boundaries, passed_over;
    const char *trouble; /* after STEP_FAILED */
};

enum step { STEP_SAME, STEP_CHANGED, STEP_ENDED, STEP_FAILED };

/* To be called first in main(): NULL, or why nobody can be traced here. Starts the program again with what
 * the C library has to be told before it begins. */
const char *stepper_set_up(char **arguments);

/* In the victim: asks to be traced and stops. False: not permitted. */
bool stepper_offer(void);
/* In the victim: the operation begins with the next instruction. */
static inline void stepper_here(void)
{
    __asm__ volatile("int3");
}

/* Waits for a victim that has offered itself; then lets it run. */
bool stepper_adopt(pid_t pid);
/* Waits until the victim is at stepper_here(), then takes over. `now`: the segment in this process; `bytes`
 * 0: the victim has none yet. False: it did not get there. */
bool stepper_begin(struct stepper *stepper, pid_t pid, uint64_t base, uint64_t bytes,
                   const unsigned char *now, const volatile int *finished);
/* One instruction, or one stretch that changes nothing. */
enum step stepper_next(struct stepper *stepper);
/* The victim has mapped the segment. */
bool stepper_map(struct stepper *stepper, uint64_t base, uint64_t bytes, const unsigned char *now);
/* After STEP_ENDED: has any byte changed without having been seen? */
bool stepper_missed_something(struct stepper *stepper);
/* Before a real death: the kernel will want to write to the locks. */
bool stepper_unprotect(struct stepper *stepper);
/* Forgets; the victim goes on as it is, or is dead. */
void stepper_end(struct stepper *stepper);

#endif

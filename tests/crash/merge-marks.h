/* SPDX-License-Identifier: MIT
 *
 * Runs another process from one mark to the next. A mark is a moment at which what others could see of it has
 * changed, or is about to: before and after each store into the index of merged memory, and after each system
 * call that makes, changes, locks, maps or removes a file. Between two marks a process computes, reads, and
 * changes its own memory, so to die at any instruction in between is to die at the mark before.
 *
 * Stores are found by taking the index's pages away from the process: each store faults, the page becomes
 * writable for one instruction, and is taken away again.
 */
#ifndef SHM_TEST_MERGE_MARKS_H
#define SHM_TEST_MERGE_MARKS_H

#include <sys/types.h>

#include "base.h"

enum mark { MARK_BEFORE_STORE, MARK_AFTER_STORE, MARK_CALL, MARK_ENDED, MARK_FAILED };

struct marks {
    pid_t pid;
    bool every_call;     /* each system call is a mark */
    uint64_t index;      /* where it has the index, 0: nowhere */
    uint64_t storing;    /* the address that it is about to store to */
    bool inside;         /* a system call */
    unsigned locks;      /* on files that it holds */
    uint64_t number;     /* of the system call */
    uint64_t at;         /* the last instruction, from the start of the program */
    const char *trouble; /* after MARK_FAILED */
};

/* In the process to be run: the first mark is here. */
static inline void marks_here(void)
{
    __asm__ volatile("int3");
}

/* Takes over a traced process that comes to marks_here(); `index`: where it has the index already. */
bool marks_begin(struct marks *marks, pid_t pid, uint64_t index);
enum mark marks_next(struct marks *marks);
/* It goes on by itself, and is not traced any more. */
bool marks_release(struct marks *marks);

#endif

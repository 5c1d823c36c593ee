/* SPDX-License-Identifier: MIT */
#include "merge-marks.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/user.h>
#include <sys/wait.h>

#include "merge_layout.h"

#define CALL_STOP (SIGTRAP | 0x80)

/* A system call for the other process to be sent through: it has the same code at the same addresses. */
__asm__(".pushsection .text\n"
        "marks_call: syscall\n"
        "nop\n"
        ".popsection\n");
extern const char marks_call[], __executable_start[];

static enum mark failed(struct marks *marks, const char *why)
{
    marks->trouble = why;
    return MARK_FAILED;
}

/* ---------------------------------------------------------------- protection */

static bool wait_for_stop(const struct marks *marks, int *status)
{
    return waitpid(marks->pid, status, __WALL) == marks->pid;
}

static bool step(const struct marks *marks, int *status)
{
    return ptrace(PTRACE_SINGLESTEP, marks->pid, NULL, NULL) == 0 && wait_for_stop(marks, status) &&
           WIFSTOPPED(*status);
}

/* Makes the stopped process change the protection of a range, after which it is where it was. */
static bool protect(const struct marks *marks, uint64_t address, uint64_t bytes, uint64_t how)
{
    struct user_regs_struct kept, changed;
    int status;
    if (ptrace(PTRACE_GETREGS, marks->pid, NULL, &kept) != 0)
        return false;
    changed = kept;
    changed.rip = (uint64_t)(uintptr_t)marks_call;
    changed.rax = SYS_mprotect;
    changed.orig_rax = (unsigned long long)-1;
    changed.rdi = address;
    changed.rsi = bytes;
    changed.rdx = how;
    return ptrace(PTRACE_SETREGS, marks->pid, NULL, &changed) == 0 && step(marks, &status) &&
           ptrace(PTRACE_GETREGS, marks->pid, NULL, &changed) == 0 &&
           ptrace(PTRACE_SETREGS, marks->pid, NULL, &kept) == 0 && changed.rax == 0;
}

/* But for the spans, of which those that are being written do not count yet. */
static bool protect_index(const struct marks *marks, uint64_t how)
{
    const uint64_t first = offsetof(struct merge_file, spans), second = offsetof(struct merge_file, chunks);
    return marks->index == 0 ||
           (protect(marks, marks->index, first, how) &&
            protect(marks, marks->index + second, sizeof(struct merge_file) - second, how));
}

static void note_place(struct marks *marks)
{
    errno = 0;
    const uint64_t at =
        (uint64_t)ptrace(PTRACE_PEEKUSER, marks->pid, offsetof(struct user_regs_struct, rip), NULL);
    marks->at = at - (uint64_t)(uintptr_t)__executable_start;
}

bool marks_begin(struct marks *marks, pid_t pid, uint64_t index)
{
    int status;
    const bool every_call = marks->every_call;
    *marks = (struct marks){.pid = pid, .index = index, .every_call = every_call};
    return wait_for_stop(marks, &status) && WIFSTOPPED(status) && WSTOPSIG(status) == SIGTRAP &&
           protect_index(marks, PROT_READ);
}

bool marks_release(struct marks *marks)
{
    return protect_index(marks, PROT_READ | PROT_WRITE) &&
           ptrace(PTRACE_DETACH, marks->pid, NULL, (void *)(uintptr_t)SIGCONT) == 0;
}

/* ---------------------------------------------------------------- system calls */

static bool can_be_seen(const struct user_regs_struct *regs, uint64_t number)
{
    switch (number) {
    case SYS_ftruncate:
    case SYS_unlink:
    case SYS_unlinkat:
    case SYS_pwrite64:
    case SYS_write:
    case SYS_fallocate:
    case SYS_flock:
    case SYS_rename:
        return true;
    case SYS_mmap:
        return (regs->r10 & MAP_SHARED) != 0;
    case SYS_munmap:
        return regs->rsi >= MEBI;
    case SYS_openat:
        return (regs->rdx & O_CREAT) != 0;
    case SYS_open:
        return (regs->rsi & O_CREAT) != 0;
    default:
        return false;
    }
}

/* The registers are those after the call. */
static bool follow(struct marks *marks, const struct user_regs_struct *regs)
{
    const bool good = (int64_t)regs->rax >= 0 || (int64_t)regs->rax < -4095;
    if (!good)
        return true;
    if (marks->number == SYS_flock && (regs->rsi & LOCK_UN) == 0)
        marks->locks++;
    else if (marks->number == SYS_flock && marks->locks > 0)
        marks->locks--;
    if (marks->number == SYS_munmap && regs->rdi == marks->index)
        marks->index = 0;
    if (marks->number == SYS_mmap && regs->rsi == sizeof(struct merge_file) &&
        (regs->r10 & MAP_SHARED) != 0 && (regs->rdx & PROT_WRITE) != 0) {
        marks->index = regs->rax;
        return protect_index(marks, PROT_READ);
    }
    return true;
}

/* True: this call is a mark. */
static bool pass_call(struct marks *marks, bool *trouble)
{
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, marks->pid, NULL, &regs) != 0) {
        *trouble = true;
        return false;
    }
    marks->inside = !marks->inside;
    if (marks->inside) {
        marks->number = regs.orig_rax;
        return false;
    }
    *trouble = !follow(marks, &regs);
    return marks->every_call || can_be_seen(&regs, marks->number);
}

/* ---------------------------------------------------------------- from mark to mark */

static enum mark store(struct marks *marks)
{
    int status;
    const uint64_t page = align_down(marks->storing, PAGE_BYTES);
    marks->storing = 0;
    if (!protect(marks, page, PAGE_BYTES, PROT_READ | PROT_WRITE) || !step(marks, &status) ||
        WSTOPSIG(status) != SIGTRAP || !protect(marks, page, PAGE_BYTES, PROT_READ))
        return failed(marks, "a store into the index cannot be let through");
    note_place(marks);
    return MARK_AFTER_STORE;
}

static bool is_store(struct marks *marks)
{
    siginfo_t information;
    if (ptrace(PTRACE_GETSIGINFO, marks->pid, NULL, &information) != 0)
        return false;
    marks->storing = (uint64_t)(uintptr_t)information.si_addr;
    return marks->index != 0 && marks->storing - marks->index < sizeof(struct merge_file);
}

enum mark marks_next(struct marks *marks)
{
    int status;
    bool trouble = false;
    if (marks->storing != 0)
        return store(marks);
    for (;;) {
        if (ptrace(PTRACE_SYSCALL, marks->pid, NULL, NULL) != 0 || !wait_for_stop(marks, &status))
            return failed(marks, "it cannot go on");
        if (WIFEXITED(status))
            return MARK_ENDED;
        if (!WIFSTOPPED(status))
            return failed(marks, "it died");
        if (WSTOPSIG(status) == SIGSTOP)
            return MARK_ENDED;
        note_place(marks);
        if (WSTOPSIG(status) == SIGSEGV)
            return is_store(marks) ? MARK_BEFORE_STORE : failed(marks, "it crashed");
        if (WSTOPSIG(status) != CALL_STOP)
            return failed(marks, "it was stopped by a signal");
        const bool is_mark = pass_call(marks, &trouble);
        if (trouble)
            return failed(marks, "its system calls cannot be followed");
        if (is_mark)
            return MARK_CALL;
    }
}

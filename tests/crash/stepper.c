/* SPDX-License-Identifier: MIT */
#include "stepper.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/user.h>
#include <sys/wait.h>
#include <unistd.h>

/* So many steps without a change, and what follows is passed over until something changes: it costs as much
 * as some ten steps. */
#define PATIENCE 64u

#define CALL_STOP (SIGTRAP | 0x80)

/* A system call for other processes to be sent through: they have the same code at the same addresses. */
__asm__(".pushsection .text\n"
        "stepper_call: syscall\n"
        "nop\n"
        ".popsection\n");
extern const char stepper_call[];

static enum step failed(struct stepper *stepper, const char *why)
{
    stepper->trouble = why;
    return STEP_FAILED;
}

/* ---------------------------------------------------------------- beginning */

const char *stepper_set_up(char **arguments)
{
    /* "rep stosb" is an instruction for each byte to whoever steps through it: memset is to use plain stores
     */
    if (getenv("GLIBC_TUNABLES") == NULL) {
        setenv("GLIBC_TUNABLES",
               "glibc.cpu.x86_rep_stosb_threshold=1000000000:glibc.cpu.x86_rep_movsb_threshold=1000000000",
               1);
        execv("/proc/self/exe", arguments);
    }
    const pid_t pid = fork();
    int status = 0;
    if (pid == 0)
        _exit(ptrace(PTRACE_TRACEME, 0, NULL, NULL) == 0 ? 0 : 1);
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        return "ptrace is not permitted here";
    return NULL;
}

bool stepper_offer(void)
{
    if (ptrace(PTRACE_TRACEME, 0, NULL, NULL) != 0)
        return false;
    raise(SIGSTOP);
    return true;
}

bool stepper_adopt(pid_t pid)
{
    int status;
    if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status))
        return false;
    return ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_EXITKILL | PTRACE_O_TRACESYSGOOD) == 0 &&
           ptrace(PTRACE_CONT, pid, NULL, NULL) == 0;
}

static bool read_robust(struct stepper *stepper, struct robust_head *out)
{
    struct iovec here = {out, sizeof *out};
    struct iovec there = {(void *)(uintptr_t)stepper->robust_at, sizeof *out};
    return process_vm_readv(stepper->pid, &here, 1, &there, 1, 0) == sizeof *out;
}

bool stepper_begin(struct stepper *stepper, pid_t pid, uint64_t base, uint64_t bytes,
                   const unsigned char *now, const volatile int *finished)
{
    int status;
    void *head;
    size_t length;
    *stepper = (struct stepper){.pid = pid, .finished = finished};
    if (waitpid(pid, &status, __WALL) != pid || !WIFSTOPPED(status) || WSTOPSIG(status) != SIGTRAP)
        return false;
    if (syscall(SYS_get_robust_list, pid, &head, &length) != 0 || length != sizeof stepper->robust)
        return false;
    stepper->robust_at = (uint64_t)(uintptr_t)head;
    if (!read_robust(stepper, &stepper->robust))
        return false;
    return bytes == 0 || stepper_map(stepper, base, bytes, now);
}

/* ---------------------------------------------------------------- protection */

/* Makes the stopped victim do a system call, after which it is where it was. */
static long call_there(const struct stepper *stepper, long number, uint64_t first, uint64_t second,
                       uint64_t third)
{
    struct user_regs_struct kept, changed;
    int status;
    if (ptrace(PTRACE_GETREGS, stepper->pid, NULL, &kept) != 0)
        return -ESRCH;
    changed = kept;
    changed.rip = (uint64_t)(uintptr_t)stepper_call;
    changed.rax = (uint64_t)number;
    changed.orig_rax = UINT64_MAX;
    changed.rdi = first;
    changed.rsi = second;
    changed.rdx = third;
    if (ptrace(PTRACE_SETREGS, stepper->pid, NULL, &changed) != 0 ||
        ptrace(PTRACE_SINGLESTEP, stepper->pid, NULL, NULL) != 0 ||
        waitpid(stepper->pid, &status, __WALL) != stepper->pid || !WIFSTOPPED(status) ||
        ptrace(PTRACE_GETREGS, stepper->pid, NULL, &changed) != 0 ||
        ptrace(PTRACE_SETREGS, stepper->pid, NULL, &kept) != 0)
        return -ESRCH;
    return (long)changed.rax;
}

static bool protect(struct stepper *stepper, uint64_t offset, uint64_t bytes, int how)
{
    return call_there(stepper, SYS_mprotect, stepper->base + offset, bytes, (uint64_t)how) == 0;
}

static bool protect_all(struct stepper *stepper)
{
    stepper->hot_count = 0;
    return stepper->bytes == 0 || protect(stepper, 0, stepper->bytes, PROT_READ);
}

bool stepper_unprotect(struct stepper *stepper)
{
    return stepper->bytes == 0 || protect(stepper, 0, stepper->bytes, PROT_READ | PROT_WRITE);
}

/* Which pages have memory: the others are zero, and to look would give them some. */
static unsigned char *resident_pages(const struct stepper *stepper)
{
    static unsigned char *pages;
    static uint64_t room;
    const uint64_t count = stepper->bytes / PAGE_BYTES;
    if (count > room) {
        pages = realloc(pages, count);
        room = count;
    }
    if (pages == NULL || mincore((void *)(uintptr_t)stepper->now, stepper->bytes, pages) != 0)
        abort();
    return pages;
}

/* The last look at everything: what was seen page by page is all there is. */
static bool compare_all(struct stepper *stepper, bool take_over)
{
    const unsigned char *resident = resident_pages(stepper);
    static const unsigned char zeros[PAGE_BYTES];
    bool same = true;
    for (uint64_t page = 0; page < stepper->bytes / PAGE_BYTES; page++) {
        const unsigned char *now = resident[page] & 1 ? stepper->now + page * PAGE_BYTES : zeros;
        unsigned char *seen = stepper->seen + page * PAGE_BYTES;
        if (memcmp(now, seen, PAGE_BYTES) == 0)
            continue;
        same = false;
        stepper->changed_page = page;
        if (take_over)
            memcpy(seen, now, PAGE_BYTES);
    }
    return same;
}

bool stepper_map(struct stepper *stepper, uint64_t base, uint64_t bytes, const unsigned char *now)
{
    stepper->base = base;
    stepper->bytes = bytes;
    stepper->now = now;
    stepper->seen =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    stepper->hot = calloc(bytes / PAGE_BYTES, sizeof *stepper->hot);
    if (stepper->seen == MAP_FAILED || stepper->hot == NULL)
        return false;
    compare_all(stepper, true);
    return protect_all(stepper);
}

bool stepper_missed_something(struct stepper *stepper)
{
    return stepper->bytes != 0 && !compare_all(stepper, false);
}

void stepper_end(struct stepper *stepper)
{
    if (stepper->seen != NULL)
        munmap(stepper->seen, stepper->bytes);
    free(stepper->hot);
    stepper->seen = NULL;
    stepper->hot = NULL;
    stepper->bytes = 0;
}

/* ---------------------------------------------------------------- what has changed */

static bool hot_pages_changed(struct stepper *stepper)
{
    bool changed = false;
    for (uint32_t i = 0; i < stepper->hot_count; i++) {
        const uint64_t at = (uint64_t)stepper->hot[i] * PAGE_BYTES;
        if (memcmp(stepper->now + at, stepper->seen + at, PAGE_BYTES) == 0)
            continue;
        memcpy(stepper->seen + at, stepper->now + at, PAGE_BYTES);
        stepper->changed_page = stepper->hot[i];
        changed = true;
    }
    return changed;
}

static uint64_t instruction_pointer(const struct stepper *stepper)
{
    errno = 0;
    return (uint64_t)ptrace(PTRACE_PEEKUSER, stepper->pid, offsetof(struct user_regs_struct, rip), NULL);
}

static enum step look(struct stepper *stepper, bool everything)
{
    struct robust_head robust;
    bool changed =
        everything && stepper->bytes != 0 ? !compare_all(stepper, true) : hot_pages_changed(stepper);
    if (!read_robust(stepper, &robust))
        return failed(stepper, "the victim cannot be read");
    changed |= memcmp(&robust, &stepper->robust, sizeof robust) != 0 || stepper->call_changed;
    stepper->robust = robust;
    stepper->quiet = changed ? 0 : stepper->quiet + 1;
    stepper->changed_at = changed ? instruction_pointer(stepper) : 0;
    return changed ? STEP_CHANGED : STEP_SAME;
}

/* ---------------------------------------------------------------- system calls */

static bool in_segment(const struct stepper *stepper, uint64_t address)
{
    return address - stepper->base < stepper->bytes;
}

static bool touches_segment(const struct stepper *stepper, const struct user_regs_struct *regs)
{
    return in_segment(stepper, regs->rdi) || in_segment(stepper, regs->rsi) ||
           in_segment(stepper, regs->rdx) || in_segment(stepper, regs->r8);
}

static bool changes_files(const struct user_regs_struct *regs, uint64_t number)
{
    switch (number) {
    case SYS_ftruncate:
    case SYS_unlink:
    case SYS_unlinkat:
    case SYS_pwrite64:
    case SYS_write:
    case SYS_fallocate:
    case SYS_mmap:
    case SYS_munmap:
        return true;
    case SYS_openat:
        return (regs->rdx & O_CREAT) != 0;
    case SYS_open:
        return (regs->rsi & O_CREAT) != 0;
    default:
        return false;
    }
}

static void note_mapping(struct stepper *stepper, uint64_t bytes)
{
    struct user_regs_struct regs;
    if (ptrace(PTRACE_GETREGS, stepper->pid, NULL, &regs) != 0 || (int64_t)regs.rax < 0)
        return;
    stepper->mapped_at = regs.rax;
    stepper->mapped_bytes = bytes;
}

/* The victim is about to do a system call. */
static enum step step_call(struct stepper *stepper)
{
    struct user_regs_struct regs;
    int status;
    if (ptrace(PTRACE_GETREGS, stepper->pid, NULL, &regs) != 0)
        return failed(stepper, "its registers cannot be read");
    const uint64_t number = regs.rax;
    const bool touches = stepper->bytes != 0 && touches_segment(stepper, &regs);
    stepper->call_changed = changes_files(&regs, number);
    if (touches && !stepper_unprotect(stepper))
        return failed(stepper, "the protection cannot be lifted");
    if (ptrace(PTRACE_SINGLESTEP, stepper->pid, NULL, NULL) != 0 ||
        waitpid(stepper->pid, &status, __WALL) != stepper->pid)
        return failed(stepper, "it cannot be stepped");
    if (WIFEXITED(status))
        return STEP_ENDED;
    if (!WIFSTOPPED(status) || (WSTOPSIG(status) != SIGTRAP && !*stepper->finished))
        return failed(stepper, "it died or stopped in a system call");
    stepper->boundaries++;
    if (number == SYS_mmap && (regs.r10 & MAP_SHARED) != 0 && (int)regs.r8 >= 0)
        note_mapping(stepper, regs.rsi);
    if (touches && number == SYS_munmap)
        stepper_end(stepper);
    else if (touches && !protect_all(stepper))
        return failed(stepper, "the protection cannot be restored");
    return look(stepper, touches || stepper->call_changed);
}

static bool call_is_next(const struct stepper *stepper)
{
    const uint64_t at = instruction_pointer(stepper);
    const unsigned char *code = (const unsigned char *)(uintptr_t)at; /* a fork: the same code as here */
    return errno == 0 && code[0] == 0x0f && code[1] == 0x05;
}

/* ---------------------------------------------------------------- steps */

/* The victim has touched a protected page: from now on that page is compared. */
static bool let_page_change(struct stepper *stepper)
{
    siginfo_t information;
    if (ptrace(PTRACE_GETSIGINFO, stepper->pid, NULL, &information) != 0)
        return false;
    const uint64_t address = (uint64_t)(uintptr_t)information.si_addr;
    if (!in_segment(stepper, address))
        return false;
    const uint64_t page = (address - stepper->base) / PAGE_BYTES;
    for (uint32_t i = 0; i < stepper->hot_count; i++)
        if (stepper->hot[i] == page)
            return false; /* it is writable: this is another fault */
    stepper->hot[stepper->hot_count++] = (uint32_t)page;
    return protect(stepper, page * PAGE_BYTES, PAGE_BYTES, PROT_READ | PROT_WRITE);
}

/* The victim is at the entry of a system call that must not happen yet: back to before it. */
static bool take_back_call(struct stepper *stepper, struct user_regs_struct *regs)
{
    int status;
    struct user_regs_struct none = *regs;
    none.orig_rax = UINT64_MAX;
    if (ptrace(PTRACE_SETREGS, stepper->pid, NULL, &none) != 0 ||
        ptrace(PTRACE_SYSCALL, stepper->pid, NULL, NULL) != 0 ||
        waitpid(stepper->pid, &status, __WALL) != stepper->pid || !WIFSTOPPED(status))
        return false;
    none = *regs;
    none.rax = regs->orig_rax;
    none.orig_rax = UINT64_MAX;
    none.rip -= 2;
    return ptrace(PTRACE_SETREGS, stepper->pid, NULL, &none) == 0;
}

static enum step pass_over(struct stepper *stepper)
{
    struct user_regs_struct regs;
    int status;
    stepper->quiet = 0;
    if (!protect_all(stepper))
        return failed(stepper, "the protection cannot be restored");
    stepper->passed_over++;
    for (bool inside = false;;) {
        if (ptrace(PTRACE_SYSCALL, stepper->pid, NULL, NULL) != 0 ||
            waitpid(stepper->pid, &status, __WALL) != stepper->pid)
            return failed(stepper, "it cannot go on");
        if (WIFEXITED(status) || *stepper->finished)
            return STEP_ENDED;
        if (!WIFSTOPPED(status))
            return failed(stepper, "it died");
        if (WSTOPSIG(status) == SIGSEGV)
            return let_page_change(stepper) ? look(stepper, false) : failed(stepper, "it crashed");
        if (WSTOPSIG(status) != CALL_STOP || ptrace(PTRACE_GETREGS, stepper->pid, NULL, &regs) != 0)
            return failed(stepper, "it stopped");
        inside = !inside;
        if (!inside)
            stepper->boundaries++;
        else if (touches_segment(stepper, &regs) || changes_files(&regs, regs.orig_rax))
            return take_back_call(stepper, &regs) ? look(stepper, false)
                                                  : failed(stepper, "it cannot be held");
    }
}

enum step stepper_next(struct stepper *stepper)
{
    int status;
    stepper->call_changed = false;
    stepper->mapped_bytes = 0;
    if (*stepper->finished)
        return STEP_ENDED;
    if (stepper->quiet >= PATIENCE)
        return pass_over(stepper);
    if (call_is_next(stepper))
        return step_call(stepper);
    if (ptrace(PTRACE_SINGLESTEP, stepper->pid, NULL, NULL) != 0 ||
        waitpid(stepper->pid, &status, __WALL) != stepper->pid)
        return failed(stepper, "it cannot be stepped");
    if (WIFEXITED(status))
        return STEP_ENDED;
    if (!WIFSTOPPED(status))
        return failed(stepper, "it died");
    if (WSTOPSIG(status) == SIGSEGV)
        return let_page_change(stepper) ? STEP_SAME : failed(stepper, "it crashed");
    if (WSTOPSIG(status) != SIGTRAP)
        return *stepper->finished ? STEP_ENDED : failed(stepper, "it was stopped by a signal");
    stepper->boundaries++;
    return look(stepper, false);
}

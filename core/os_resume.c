/* SPDX-License-Identifier: MIT
 *
 * System calls that a signal of ours has broken off go on as if there had been no signal.
 *
 * SA_RESTART does that for most, but epoll_wait, poll, select, nanosleep, timed receives and their like
 * return EINTR after any handler. In the handler the interrupted thread stands just behind the instruction of
 * the call with -EINTR as its result. Which call it was the registers do not tell any more: a look at /proc
 * shortly before the signal does, if the thread slept in the call by then, else the instruction before it,
 * which loads the number. Then the thread is set back to the instruction, or, when the call has a relative
 * timeout, the handler itself makes the call for what is left of the time.
 *
 * A signal of the program's own that came meanwhile must break the call off, as it would have: it is pending
 * while our handler runs, so a look says whether there is one. (One that comes between that look and the end
 * of the handler, less than a microsecond, is handled before the call goes on, as if it had come before it.)
 */
#include <errno.h>
#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

#include "os.h"
#include "os_answer.h"
#include "os_context.h"

/* What our nested handler leaves for the handler whose call it broke off; no system call returns it. */
#define BROKEN_OFF_BY_US (-INT64_C(512))
#define KERNEL_SIGNALS   8u /* bytes of a set of signals */

/* How far before the call the instruction that loads its number may stand. */
enum { NUMBER_NEAREST = 7, NUMBER_FARTHEST = 14, NUMBER_MOST = 1024 };

bool os_can_resume(void)
{
    ucontext_t context = {.uc_flags = 0};
    struct os_registers registers;
    return os_registers_of(&context, &registers);
}

uint64_t os_context_stack(void *context)
{
    struct os_registers registers;
    return os_registers_of(context, &registers) ? registers.stack : 0;
}

/* Code may lie at the beginning of what is mapped. */
static bool read_code(uint64_t from, unsigned char *out, size_t bytes)
{
    const struct iovec here = {out, bytes}, there = {(void *)(uintptr_t)from, bytes};
    return ANSWER(syscall(SYS_process_vm_readv, os_process(), &here, 1, &there, 1, 0)) == (int64_t)bytes;
}

/* Is a signal with a handler of the program's pending that ends the call? `any`: all handlers do, else those
 * without SA_RESTART. */
static bool ended_by_another(const ucontext_t *context, bool any)
{
    uint64_t pending = 0;
    if (syscall(SYS_rt_sigpending, &pending, (size_t)KERNEL_SIGNALS) != 0)
        return false;
    pending &= ~*(const uint64_t *)(const void *)&context->uc_sigmask;
    for (; pending != 0; pending &= pending - 1) {
        struct sigaction action;
        const int signal = __builtin_ctzll(pending) + 1;
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_IGN &&
            action.sa_handler != SIG_DFL && (any || (action.sa_flags & SA_RESTART) == 0))
            return true;
    }
    return false;
}

static bool slept_here(const struct os_call *seen, const struct os_registers *registers, uint64_t place)
{
    bool same = seen->number >= 0 && seen->place == place && seen->stack == registers->stack;
    for (unsigned i = 0; i < 6; i++)
        same &= seen->argument[i] == registers->argument[i];
    return same;
}

/* "mov $NUMBER, %eax", at most one other instruction, "syscall". -1: it is not so. */
static int64_t number_before(uint64_t call)
{
    unsigned char code[NUMBER_FARTHEST];
    if (!read_code(call + OS_CALL_BYTES - NUMBER_FARTHEST, code, sizeof code))
        return -1;
    for (unsigned back = NUMBER_NEAREST; back <= NUMBER_FARTHEST; back++) {
        const unsigned char *at = code + NUMBER_FARTHEST - back;
        const uint32_t number =
            (uint32_t)at[1] | (uint32_t)at[2] << 8 | (uint32_t)at[3] << 16 | (uint32_t)at[4] << 24;
        if (at[0] == 0xb8 && number < NUMBER_MOST)
            return number;
    }
    return -1;
}

/* Where a call keeps a timeout that counts from its beginning. */
struct timeout {
    int64_t number;
    unsigned argument;
    bool milliseconds; /* by value; else a struct timespec that the kernel does not bring up to date */
};

static const struct timeout timeouts[] = {
    {SYS_poll, 2, true},
    {SYS_epoll_wait, 3, true},
    {SYS_epoll_pwait, 3, true},
    {SYS_nanosleep, 0, false},
    {SYS_clock_nanosleep, 2, false},
    {SYS_futex, 3, false},
    {SYS_semtimedop, 3, false},
    {SYS_rt_sigtimedwait, 2, false},
    {SYS_io_getevents, 4, false},
    {441 /* epoll_pwait2 */, 3, false},
};

static const struct timeout *timeout_of(int64_t number, const uint64_t argument[6])
{
    const bool until =
        (number == SYS_clock_nanosleep && (argument[1] & TIMER_ABSTIME) != 0) ||
        (number == SYS_futex && ((uint32_t)argument[1] & (uint32_t)FUTEX_CMD_MASK) != FUTEX_WAIT);
    for (unsigned i = 0; i < COUNT_OF(timeouts) && !until; i++) {
        const struct timeout *timeout = &timeouts[i];
        const uint64_t value = timeout->number == number ? argument[timeout->argument] : 0;
        if (value != 0 && (!timeout->milliseconds || (int32_t)value > 0))
            return timeout;
    }
    return NULL;
}

/* Makes the call for what is left of its time, again and again while we ourselves break it off. */
static int64_t call_for_the_rest(int64_t number, const uint64_t argument[6], const struct timeout *timeout,
                                 const ucontext_t *context)
{
    uint64_t changed[6];
    struct timespec rest;
    const struct timespec *asked = (const struct timespec *)(uintptr_t)argument[timeout->argument];
    for (unsigned i = 0; i < 6; i++)
        changed[i] = argument[i];
    const uint64_t whole = timeout->milliseconds
                               ? (uint64_t)(int32_t)argument[timeout->argument] * 1000000u
                               : (uint64_t)asked->tv_sec * 1000000000u + (uint64_t)asked->tv_nsec;
    const uint64_t end = os_clock() + whole;
    for (;;) {
        const uint64_t now = os_clock(), left = now < end ? end - now : 0;
        rest =
            (struct timespec){.tv_sec = (time_t)(left / 1000000000u), .tv_nsec = (long)(left % 1000000000u)};
        changed[timeout->argument] =
            timeout->milliseconds ? divide_up(left, 1000000u) : (uint64_t)(uintptr_t)&rest;
        uint64_t everything = ~UINT64_C(0);
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &context->uc_sigmask, NULL, (size_t)KERNEL_SIGNALS);
        const int64_t result = os_call_again(number, changed);
        syscall(SYS_rt_sigprocmask, SIG_SETMASK, &everything, NULL, (size_t)KERNEL_SIGNALS);
        if (result != BROKEN_OFF_BY_US)
            return result;
        if (ended_by_another(context, true))
            return -EINTR;
    }
}

static void resume_broken_off(ucontext_t *context, const struct os_registers *registers,
                              const struct os_call *seen)
{
    const uint64_t place = (uint64_t)*registers->place;
    unsigned char code[OS_CALL_BYTES];
    if (os_in_call_again(place)) {
        *registers->result = BROKEN_OFF_BY_US;
        return;
    }
    if (!read_code(place - OS_CALL_BYTES, code, sizeof code) || !os_is_call(code) ||
        ended_by_another(context, true))
        return;
    const int64_t number =
        slept_here(seen, registers, place) ? seen->number : number_before(place - OS_CALL_BYTES);
    if (number < 0)
        return;
    const struct timeout *timeout = timeout_of(number, registers->argument);
    if (timeout != NULL) {
        *registers->result = call_for_the_rest(number, registers->argument, timeout, context);
    } else {
        *registers->result = number;
        *registers->place -= OS_CALL_BYTES;
    }
}

void os_resume_call(void *context, const struct os_call *seen)
{
    struct os_registers registers;
    if (!os_registers_of(context, &registers))
        return;
    if (*registers.result == -EINTR) {
        resume_broken_off(context, &registers, seen);
        return;
    }
    /* set back by the kernel, because our handler says SA_RESTART: but the program's own would break it off
     */
    if (*registers.result == seen->number &&
        slept_here(seen, &registers, (uint64_t)*registers.place + OS_CALL_BYTES) &&
        ended_by_another(context, false)) {
        *registers.result = -EINTR;
        *registers.place += OS_CALL_BYTES;
    }
}

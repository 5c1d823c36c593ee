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
 * A blocking write or send, or a receive with MSG_WAITALL, that was in the middle of its data returns what it
 * had done: the handler does the rest.
 *
 * A signal of the program's own that came meanwhile must break the call off, as it would have: it is pending
 * while our handler runs, so a look says whether there is one. (One that comes between that look and the end
 * of the handler, less than a microsecond, is handled before the call goes on, as if it had come before it.)
 */
#include <errno.h>
#include <linux/futex.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/socket.h>
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
/* A transfer of more pieces of memory is not gone on with. */
#define PIECES_MOST      64u

/* How far before the call the instruction that loads its number may stand. */
enum { NUMBER_NEAREST = 5, NUMBER_FARTHEST = 30, NUMBER_MOST = 1024 };

/* What is known of the call that goes on. */
struct resumption {
    ucontext_t *context;
    struct os_registers registers;
    int64_t number;
    const struct os_interruption *by;
};

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

uint64_t os_context_blocked(void *context)
{
    uint64_t blocked;
    memcpy(&blocked, &((const ucontext_t *)context)->uc_sigmask, sizeof blocked);
    return blocked;
}

/* Code may lie at the beginning of what is mapped. */
static bool read_code(uint64_t from, unsigned char *out, size_t bytes)
{
    const struct iovec here = {out, bytes}, there = {(void *)(uintptr_t)from, bytes};
    return ANSWER(syscall(SYS_process_vm_readv, os_process(), &here, 1, &there, 1, 0)) == (int64_t)bytes;
}

/* Signals that are pending for this thread alone. */
static uint64_t own_pending(void)
{
    char text[4096];
    if (os_read_text("/proc/thread-self/status", text, sizeof text) <= 0)
        return 0;
    return os_hexadecimal_after(text, "\nSigPnd:");
}

/* Takes a pending signal, for this thread alone: one that is for the whole process only one thread gets. It
 * is delivered when our handler is over. False: another thread was quicker. */
static bool claim(int signal)
{
    siginfo_t information;
    const uint64_t set = UINT64_C(1) << (signal - 1);
    const struct timespec at_once = {0, 0};
    if (syscall(SYS_rt_sigtimedwait, &set, &information, &at_once, (size_t)KERNEL_SIGNALS) != signal)
        return false;
    return syscall(SYS_rt_tgsigqueueinfo, os_process(), os_thread(), signal, &information) == 0;
}

/* Is a signal with a handler of the program's pending that ends the call? `any`: all handlers do, else those
 * without SA_RESTART. */
static COLD bool is_ended(uint64_t pending, bool any, uint64_t left_to_first)
{
    uint64_t own = 0;
    if ((pending & left_to_first) != 0)
        own = own_pending();
    for (; pending != 0; pending &= pending - 1) {
        struct sigaction action;
        const int signal = __builtin_ctzll(pending) + 1;
        if (sigaction(signal, NULL, &action) == 0 && action.sa_handler != SIG_IGN &&
            action.sa_handler != SIG_DFL && (any || (action.sa_flags & SA_RESTART) == 0) &&
            ((left_to_first & ~own) >> (signal - 1) & 1) == 0 && claim(signal))
            return true;
    }
    return false;
}

static bool ended_by_another(const struct resumption *it, bool any)
{
    uint64_t pending = 0;
    if (syscall(SYS_rt_sigpending, &pending, (size_t)KERNEL_SIGNALS) != 0)
        return false;
    pending &= ~(os_context_blocked(it->context) | UINT64_C(1) << (it->by->signal - 1));
    return UNLIKELY(pending != 0) && is_ended(pending, any, it->by->left_to_first);
}

static bool slept_here(const struct os_call *seen, const struct os_registers *registers, uint64_t place)
{
    bool same = seen->number >= 0 && seen->number != SYS_restart_syscall && seen->place == place &&
                seen->stack == registers->stack;
    for (unsigned i = 0; i < 6; i++)
        same &= seen->argument[i] == registers->argument[i];
    return same;
}

/* "mov $NUMBER, %eax", at most a few other instructions, "syscall". -1: it is not so. */
static int64_t number_before(uint64_t call)
{
    unsigned char code[NUMBER_FARTHEST];
    if (!read_code(call - NUMBER_FARTHEST, code, sizeof code))
        return -1;
    if (code[NUMBER_FARTHEST - 2] == 0x31 && code[NUMBER_FARTHEST - 1] == 0xc0) /* xor %eax, %eax */
        return 0;
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

/* With the signals that the program had blocked, as it made it. */
static int64_t call_for_it(const struct resumption *it, const uint64_t argument[6])
{
    syscall(SYS_rt_sigprocmask, SIG_SETMASK, &it->context->uc_sigmask, NULL, (size_t)KERNEL_SIGNALS);
    const int64_t result = os_call_again(it->number, argument);
    syscall(SYS_rt_sigprocmask, SIG_BLOCK, &it->by->blocked, NULL, (size_t)KERNEL_SIGNALS);
    return result;
}

/* Makes the call for what is left of its time, again and again while we ourselves break it off. */
static int64_t call_for_the_rest_of_time(const struct resumption *it, const struct timeout *timeout)
{
    uint64_t changed[6];
    struct timespec rest;
    const uint64_t *argument = it->registers.argument;
    const struct timespec *asked = (const struct timespec *)(uintptr_t)argument[timeout->argument];
    memcpy(changed, argument, sizeof changed);
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
        const int64_t result = call_for_it(it, changed);
        if (result != BROKEN_OFF_BY_US)
            return result;
        if (ended_by_another(it, true))
            return -EINTR;
    }
}

/* ---------------------------------------------------------------- timeouts of sockets */

/* Which of a socket's timeouts a call that waits for it obeys, and what it waits for. 0: none. */
static int socket_timeout_of(int64_t number, short *events)
{
    switch (number) {
    case SYS_read:
    case SYS_readv:
    case SYS_recvfrom:
    case SYS_recvmsg:
    case SYS_accept:
    case SYS_accept4:
        *events = POLLIN;
        return SO_RCVTIMEO;
    case SYS_write:
    case SYS_writev:
    case SYS_sendto:
    case SYS_sendmsg:
        *events = POLLOUT;
        return SO_SNDTIMEO;
    default:
        return 0;
    }
}

/* The call would wait for the socket's whole time again: the handler waits for what is left. False: it has no
 * such timeout, or there is something for it now, so it is to be made again. */
static bool socket_runs_out(const struct resumption *it, int64_t *result)
{
    struct timeval whole;
    socklen_t bytes = sizeof whole;
    struct pollfd socket = {.fd = (int)it->registers.argument[0]};
    const int option = socket_timeout_of(it->number, &socket.events);
    if (option == 0 || getsockopt(socket.fd, SOL_SOCKET, option, &whole, &bytes) != 0 ||
        (whole.tv_sec == 0 && whole.tv_usec == 0))
        return false;
    const uint64_t end = os_clock() + (uint64_t)whole.tv_sec * 1000000000u + (uint64_t)whole.tv_usec * 1000u;
    struct resumption waiting = *it;
    waiting.number = SYS_ppoll;
    for (;;) {
        const uint64_t now = os_clock(), left = now < end ? end - now : 0;
        const struct timespec rest = {.tv_sec = (time_t)(left / 1000000000u),
                                      .tv_nsec = (long)(left % 1000000000u)};
        const uint64_t argument[6] = {(uintptr_t)&socket, 1, (uintptr_t)&rest, 0, KERNEL_SIGNALS, 0};
        *result = call_for_it(&waiting, argument);
        if (*result == BROKEN_OFF_BY_US && !ended_by_another(it, true))
            continue;
        if (*result > 0)
            return false;
        *result = *result == 0 ? -EAGAIN : -EINTR;
        return true;
    }
}

/* ---------------------------------------------------------------- transfers */

/* Calls that go on until all is transferred, and that a signal ends with what was by then. */
static bool transfers_all(int64_t number, const uint64_t argument[6])
{
    switch (number) {
    case SYS_write:
    case SYS_writev:
    case SYS_sendto:
    case SYS_sendmsg:
        return true;
    case SYS_recvfrom:
        return (argument[3] & MSG_WAITALL) != 0;
    case SYS_recvmsg:
        return (argument[2] & MSG_WAITALL) != 0;
    default:
        return false;
    }
}

/* What a call is to transfer, as pieces of memory. */
struct transfer {
    struct iovec piece[PIECES_MOST];
    struct msghdr message;
    size_t pieces, first;
};

static bool list_pieces(struct transfer *transfer, int64_t number, const uint64_t argument[6])
{
    const struct iovec *pieces = (const struct iovec *)(uintptr_t)argument[1];
    transfer->first = 0;
    transfer->pieces = (size_t)argument[2];
    if (number == SYS_write || number == SYS_sendto || number == SYS_recvfrom) {
        transfer->piece[0] = (struct iovec){(void *)(uintptr_t)argument[1], (size_t)argument[2]};
        transfer->pieces = 1;
        return true;
    }
    if (number != SYS_writev) {
        transfer->message = *(const struct msghdr *)(uintptr_t)argument[1];
        transfer->message.msg_control = NULL; /* went with the first part */
        transfer->message.msg_controllen = 0;
        pieces = transfer->message.msg_iov;
        transfer->pieces = transfer->message.msg_iovlen;
    }
    if (transfer->pieces > PIECES_MOST)
        return false;
    memcpy(transfer->piece, pieces, transfer->pieces * sizeof *pieces);
    return true;
}

/* False: that was all. */
static bool advance(struct transfer *transfer, size_t bytes)
{
    for (; transfer->first < transfer->pieces; transfer->first++) {
        struct iovec *piece = &transfer->piece[transfer->first];
        const size_t part = (size_t)least(bytes, piece->iov_len);
        piece->iov_base = (unsigned char *)piece->iov_base + part;
        piece->iov_len -= part;
        bytes -= part;
        if (piece->iov_len != 0)
            return true;
    }
    return false;
}

static void fill_arguments(struct transfer *transfer, int64_t number, uint64_t argument[6])
{
    struct iovec *piece = &transfer->piece[transfer->first];
    if (number == SYS_writev) {
        argument[1] = (uintptr_t)piece;
        argument[2] = transfer->pieces - transfer->first;
    } else if (number == SYS_sendmsg || number == SYS_recvmsg) {
        transfer->message.msg_iov = piece;
        transfer->message.msg_iovlen = transfer->pieces - transfer->first;
        argument[1] = (uintptr_t)&transfer->message;
    } else {
        argument[1] = (uintptr_t)piece->iov_base;
        argument[2] = piece->iov_len;
    }
}

/* What was transferred by now and by going on. */
static int64_t transfer_the_rest(const struct resumption *it, int64_t done)
{
    struct transfer transfer;
    uint64_t argument[6];
    memcpy(argument, it->registers.argument, sizeof argument);
    if (!list_pieces(&transfer, it->number, argument))
        return done;
    bool more = advance(&transfer, (size_t)done);
    while (more && !ended_by_another(it, true)) {
        fill_arguments(&transfer, it->number, argument);
        const int64_t result = call_for_it(it, argument);
        if (result == BROKEN_OFF_BY_US)
            continue;
        if (result <= 0)
            break;
        done += result;
        more = advance(&transfer, (size_t)result);
    }
    return done;
}

/* ---------------------------------------------------------------- */

/* The thread stands behind a system call: which? False: it does not, or that cannot be told. */
static bool identify(struct resumption *it, const struct os_call *seen)
{
    const uint64_t place = (uint64_t)*it->registers.place;
    unsigned char code[OS_CALL_BYTES];
    if (slept_here(seen, &it->registers, place))
        it->number = seen->number;
    else if (read_code(place - OS_CALL_BYTES, code, sizeof code) && os_is_call(code))
        it->number = number_before(place - OS_CALL_BYTES);
    return it->number >= 0;
}

static void resume_broken_off(struct resumption *it)
{
    if (ended_by_another(it, true))
        return;
    const struct timeout *timeout = timeout_of(it->number, it->registers.argument);
    if (timeout != NULL) {
        *it->registers.result = call_for_the_rest_of_time(it, timeout);
    } else if (!socket_runs_out(it, it->registers.result)) {
        *it->registers.result = it->number;
        *it->registers.place -= OS_CALL_BYTES;
    }
}

void os_resume_call(void *context, const struct os_call *seen, const struct os_interruption *by)
{
    struct resumption it = {.context = context, .number = -1, .by = by};
    if (!os_registers_of(context, &it.registers))
        return;
    const int64_t result = *it.registers.result;
    const uint64_t place = (uint64_t)*it.registers.place;
    if (os_in_call_again(place)) { /* our own, in the handler that this one has interrupted */
        if (result == -EINTR)
            *it.registers.result = BROKEN_OFF_BY_US;
    } else if (result == -EINTR) {
        if (identify(&it, seen))
            resume_broken_off(&it);
    } else if (result > 0 && (result != seen->number || slept_here(seen, &it.registers, place))) {
        if (identify(&it, seen) && transfers_all(it.number, it.registers.argument))
            *it.registers.result = transfer_the_rest(&it, result);
    } else if (result == seen->number && slept_here(seen, &it.registers, place + OS_CALL_BYTES) &&
               ended_by_another(&it, false)) {
        /* set back by the kernel, because our handler says SA_RESTART: but the program's own breaks it off */
        *it.registers.result = -EINTR;
        *it.registers.place += OS_CALL_BYTES;
    }
}

/* SPDX-License-Identifier: MIT
 *
 * What the threads of the victim merge-writers let the kernel write into the block, or read from it: messages
 * from the launcher, what another rank writes with process_vm_writev, and a write that fills a pipe several
 * times over. The threads are asleep in these calls when the first bytes come.
 */
#include "merge-writers.h"

#include <sys/socket.h>
#include <sys/uio.h>

/* ---------------------------------------------------------------- messages */

/* Whether the place holds the message, or, where none has come yet, the filler. */
static bool is_message(const unsigned char *place, uint64_t seed)
{
    unsigned char message[MESSAGE_BYTES];
    if (seed == 0)
        return true; /* looked at with the whole part */
    make_message(message, seed);
    return memcmp(place, message, MESSAGE_BYTES) == 0;
}

/* Receives a message at `place`; returns the bytes, or -1. */
typedef ssize_t receive(struct writer *writer, unsigned char *place, size_t bytes);

static void receive_message(struct writer *writer, uint64_t seed, receive *call, bool in_pieces)
{
    const unsigned part = part_of(writer->step);
    unsigned char *place = message_place(writer->rank, part, writer->number);
    if (!is_message(place, writer->message[part]))
        report(writer, FAULT_LOST, "the last message is not whole any more");
    size_t got = 0;
    while (got < MESSAGE_BYTES) {
        const ssize_t bytes = call(writer, place + got, MESSAGE_BYTES - got);
        if (bytes < 0)
            failed(writer, "receiving");
        if (bytes == 0 || (bytes < 0 && errno != EINTR && errno != EAGAIN))
            break;
        got += bytes > 0 ? (size_t)bytes : 0;
        if (bytes > 0 && !in_pieces && got < MESSAGE_BYTES)
            report(writer, FAULT_SHORT, "less than the whole message");
        if (bytes > 0 && !in_pieces && writer->kind->feed == FEED_PACKET)
            break;
    }
    count_wake(writer);
    count_operations(writer, 1);
    writer->message[part] = seed;
    if (!is_message(place, seed))
        report(writer, FAULT_TORN, "the message is not the one that was sent");
}

static void receive_all(struct writer *writer, unsigned step, receive *call, bool in_pieces)
{
    for (unsigned nth = 0; nth < MESSAGES; nth++)
        receive_message(writer, message_seed(writer->rank, writer->number, step, nth), call, in_pieces);
    write_words(writer, step);
}

static ssize_t call_read(struct writer *writer, unsigned char *place, size_t bytes)
{
    return read(writer->fed, place, bytes);
}

void work_read(struct writer *writer, unsigned step)
{
    receive_all(writer, step, call_read, true);
}

static ssize_t call_readv(struct writer *writer, unsigned char *place, size_t bytes)
{
    const size_t first = bytes / 3;
    const struct iovec vector[] = {{place, first}, {place + first, bytes - first}};
    return readv(writer->fed, vector, 2);
}

void work_readv(struct writer *writer, unsigned step)
{
    receive_all(writer, step, call_readv, true);
}

static ssize_t call_recv(struct writer *writer, unsigned char *place, size_t bytes)
{
    return recv(writer->fed, place, bytes, 0);
}

void work_recv(struct writer *writer, unsigned step)
{
    receive_all(writer, step, call_recv, false);
}

/* The time is so long that it is never over. */
static void give_timeout(const struct writer *writer)
{
    const struct timeval long_time = {.tv_sec = 600};
    setsockopt(writer->fed, SOL_SOCKET, SO_RCVTIMEO, &long_time, sizeof long_time);
}

void work_recv_timeout(struct writer *writer, unsigned step)
{
    give_timeout(writer);
    receive_all(writer, step, call_recv, false);
}

/* read behaves like recv there: a signal ends it though its handler has SA_RESTART. */
void work_read_timeout(struct writer *writer, unsigned step)
{
    give_timeout(writer);
    receive_all(writer, step, call_read, false);
}

static ssize_t call_recvmsg(struct writer *writer, unsigned char *place, size_t bytes)
{
    struct iovec vector[] = {{place, 1}, {place + 1, bytes - 1}};
    struct msghdr header = {.msg_iov = vector, .msg_iovlen = 2};
    return recvmsg(writer->fed, &header, 0);
}

void work_recvmsg(struct writer *writer, unsigned step)
{
    receive_all(writer, step, call_recvmsg, false);
}

/* The message comes in pieces, and a signal between them would end the call with those that have come. */
static ssize_t call_recv_whole(struct writer *writer, unsigned char *place, size_t bytes)
{
    return recv(writer->fed, place, bytes, MSG_WAITALL);
}

void work_recv_whole(struct writer *writer, unsigned step)
{
    const uint64_t seed = message_seed(writer->rank, writer->number, step, MESSAGES - 1);
    receive_message(writer, seed, call_recv_whole, false);
    write_words(writer, step);
}

/* ---------------------------------------------------------------- process_vm_writev */

/* The message is for the next rank, in this thread's place there. */
static ssize_t transfer(const struct writer *writer, unsigned part, unsigned char *message,
                        ssize_t call(pid_t, const struct iovec *, unsigned long, const struct iovec *,
                                     unsigned long, unsigned long))
{
    const unsigned next = (writer->rank + 1) % control->ranks;
    unsigned char *place = message_place(next, part, writer->number);
    const size_t first = MESSAGE_BYTES / 3;
    const struct iovec here[] = {{message, MESSAGE_BYTES / 2},
                                 {message + MESSAGE_BYTES / 2, MESSAGE_BYTES - MESSAGE_BYTES / 2}};
    const struct iovec there[] = {{place, first}, {place + first, MESSAGE_BYTES - first}};
    return call(control->rank[next].process, here, 2, there, 2, 0);
}

static void look_into_next(struct writer *writer, unsigned part)
{
    unsigned char message[MESSAGE_BYTES];
    const ssize_t bytes = transfer(writer, part, message, process_vm_readv);
    if (bytes != MESSAGE_BYTES)
        failed(writer, "process_vm_readv");
    else if (!is_message(message, writer->message[part]))
        report(writer, FAULT_LOST, "the next rank does not hold what was written there last");
}

void work_process_vm(struct writer *writer, unsigned step)
{
    const unsigned part = part_of(step);
    unsigned char message[MESSAGE_BYTES];
    for (unsigned nth = 0; nth < MESSAGES; nth++) {
        look_into_next(writer, part);
        const uint64_t seed = message_seed(writer->rank, writer->number, step, nth);
        make_message(message, seed);
        errno = 0;
        const ssize_t bytes = transfer(writer, part, message, process_vm_writev);
        if (bytes < 0)
            failed(writer, "process_vm_writev");
        else if (bytes != MESSAGE_BYTES)
            report(writer, FAULT_SHORT, "process_vm_writev wrote less than it was given");
        writer->message[part] = seed;
        count_operations(writer, 1);
    }
    write_words(writer, step);
}

bool possible_process_vm(struct writer *writer)
{
    unsigned char message[MESSAGE_BYTES];
    return transfer(writer, 0, message, process_vm_readv) == MESSAGE_BYTES;
}

void over_process_vm(struct writer *writer)
{
    for (unsigned part = 0; part < PARTS; part++)
        look_into_next(writer, part);
}

/* ---------------------------------------------------------------- one write that fills a pipe several times
 */

/* From the first pages of the part, where words are: the launcher looks only at how many bytes come. A signal
 * in between would end the call with those that have been taken. */
void work_whole_write(struct writer *writer, unsigned step)
{
    const unsigned char *from = control->rank[writer->rank].base + (size_t)part_of(step) * PART_BYTES;
    size_t given = 0;
    while (given < WHOLE) {
        const ssize_t bytes = write(writer->fed, from + given, WHOLE - given);
        if (bytes < 0)
            failed(writer, "write");
        if (bytes < 0 && errno != EINTR)
            break;
        given += bytes > 0 ? (size_t)bytes : 0;
        if (bytes > 0 && given < WHOLE)
            report(writer, FAULT_SHORT, "write took less than it was given");
    }
    count_wake(writer);
    count_operations(writer, 1);
    write_words(writer, step);
}

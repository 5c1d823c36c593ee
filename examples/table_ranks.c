/* SPDX-License-Identifier: MIT
 *
 * Ranks that each build the same table, as those of MPI programs do, and know nothing of shared memory:
 *
 *     table_ranks [-n RANKS] [-m MIB] …       (-h says what there is)
 *
 * The ranks are fresh processes, each with its own random addresses: forked before anything is allocated, and
 * executing this program anew. They speak through sockets with the process that started them, which adds up
 * what they send and looks meanwhile how much memory they take. The checksums that are printed are the same
 * each time; how much memory it takes is another matter under a rule such as `merge size>=32`:
 *
 *     shmpreload run -p 'program table_ranks; merge size>=32' -- table_ranks -q 6
 */
#include "memory.h"
#include "ranks.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

static bool read_all(int socket, void *to, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t got = read(socket, (char *)to + done, bytes - done);
        if (got <= 0)
            return false;
        done += (size_t)got;
    }
    return true;
}

static bool write_all(int socket, const void *from, size_t bytes)
{
    for (size_t done = 0; done < bytes;) {
        const ssize_t put = send(socket, (const char *)from + done, bytes - done, MSG_NOSIGNAL);
        if (put <= 0)
            return false;
        done += (size_t)put;
    }
    return true;
}

/* ---------------------------------------------------------------- a rank */

static int to_parent;
static uint64_t peak;

/* A message: how many values, then these. The answer: the peak so far, then the sums. */
void company_add(uint64_t *values, size_t count)
{
    const uint64_t length = count;
    if (!write_all(to_parent, &length, sizeof length) ||
        !write_all(to_parent, values, count * sizeof *values) || !read_all(to_parent, &peak, sizeof peak) ||
        !read_all(to_parent, values, count * sizeof *values)) {
        fprintf(stderr, "table_ranks: the other ranks are gone\n");
        exit(EXIT_FAILURE);
    }
}

void company_meet(void)
{
    company_add(NULL, 0);
}

uint64_t company_peak(void)
{
    return peak;
}

/* ---------------------------------------------------------------- the process that starts them */

static struct pollfd rank_socket[RANKS_MOST]; /* fd -1: it has ended */
static pid_t rank_pid[RANKS_MOST];

static void execute(unsigned long rank, int socket, int count, char **words)
{
    static char *again[32];
    char member[64];
    snprintf(member, sizeof member, "%lu,%d", rank, socket);
    if (count > 28 || fcntl(socket, F_SETFD, 0) != 0)
        _exit(EXIT_FAILURE);
    for (int i = 0; i < count; i++)
        again[i] = words[i];
    again[count] = "-r";
    again[count + 1] = member;
    execv("/proc/self/exe", again);
    perror("/proc/self/exe");
    _exit(EXIT_FAILURE);
}

static bool start_ranks(unsigned long ranks, int count, char **words)
{
    for (unsigned long i = 0; i < ranks; i++) {
        int ends[2];
        if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends) != 0 || (rank_pid[i] = fork()) < 0) {
            perror("table_ranks");
            return false;
        }
        if (rank_pid[i] == 0)
            execute(i, ends[1], count, words);
        close(ends[1]);
        rank_socket[i] = (struct pollfd){.fd = ends[0], .events = POLLIN};
    }
    return true;
}

static void look_at_memory(unsigned long ranks)
{
    uint64_t pss = 0;
    for (unsigned long i = 0; i < ranks; i++)
        pss += memory_pss_of(rank_pid[i]);
    peak = pss > peak ? pss : peak;
}

/* Waits for a message of each rank; adds them up. Returns how many ranks have sent one: all of them, or none
 * when they have come to their end. */
static unsigned long hear_all(unsigned long ranks, uint64_t *sums, uint64_t *length)
{
    static uint64_t values[RANKS_VALUES_MOST];
    unsigned long heard = 0;
    memset(sums, 0, RANKS_VALUES_MOST * sizeof *sums);
    for (unsigned long i = 0; i < ranks; i++) {
        while (poll(&rank_socket[i], 1, 20) == 0)
            look_at_memory(ranks);
        if (!read_all(rank_socket[i].fd, length, sizeof *length) || *length > RANKS_VALUES_MOST ||
            !read_all(rank_socket[i].fd, values, *length * sizeof *values))
            continue;
        for (uint64_t place = 0; place < *length; place++)
            sums[place] += values[place];
        heard++;
    }
    return heard;
}

/* As long as they all speak. True: they have all come to their end. */
static bool serve(unsigned long ranks)
{
    static uint64_t sums[RANKS_VALUES_MOST];
    uint64_t length;
    unsigned long heard;
    while ((heard = hear_all(ranks, sums, &length)) == ranks)
        for (unsigned long i = 0; i < ranks; i++)
            if (!write_all(rank_socket[i].fd, &peak, sizeof peak) ||
                !write_all(rank_socket[i].fd, sums, length * sizeof *sums))
                return false;
    return heard == 0;
}

int main(int count, char **words)
{
    struct ranks_options options;
    unsigned rank;
    if (!ranks_options(count, words, &options))
        return 2;
    if (options.member != NULL && sscanf(options.member, "%u,%d", &rank, &to_parent) == 2)
        return ranks_run(&options, rank);
    bool good = start_ranks(options.ranks, count, words) && serve(options.ranks);
    for (unsigned long i = 0; i < options.ranks && rank_pid[i] > 0; i++) {
        int status;
        close(rank_socket[i].fd); /* one that is still waiting need not wait any longer */
        good = waitpid(rank_pid[i], &status, 0) == rank_pid[i] && status == 0 && good;
    }
    return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

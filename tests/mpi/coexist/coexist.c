/* SPDX-License-Identifier: MIT
 *
 * Messages from and into memory of every kind, under whatever transport mpirun has been told to take: are the
 * contents right, each time, here and in the ranks that are not concerned?
 *
 *     mpirun -n RANKS test-mpi-coexist plain|shim ROUNDS [no-pieces [no-advice]]
 *
 * With an even number of ranks. `shim`: under a policy that exports what take_routed() allocates and merges
 * what take_merged() does. Prints verdicts, which windows there are, and how often a rank has had the kernel
 * copy from or to another's memory. Exit status 0 when all was well in this rank.
 */
#include "coexist.h"

#include <dlfcn.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/uio.h>

static _Atomic unsigned long reads, writes;
static bool has_windows[WINDOWS];

/* ---------------------------------------------------------------- counting */

typedef ssize_t transfer(pid_t, const struct iovec *, unsigned long, const struct iovec *, unsigned long,
                         unsigned long);

/* In the program these come first in the order of look-up; the shim's, where it is loaded, next. */
static transfer *behind(const char *name)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    transfer *found;
    memcpy(&found, &symbol, sizeof found);
    return found;
}

__attribute__((visibility("default"))) ssize_t process_vm_readv(pid_t pid, const struct iovec *local,
                                                                unsigned long local_count,
                                                                const struct iovec *remote,
                                                                unsigned long remote_count,
                                                                unsigned long flags)
{
    atomic_fetch_add(&reads, 1);
    return behind("process_vm_readv")(pid, local, local_count, remote, remote_count, flags);
}

__attribute__((visibility("default"))) ssize_t process_vm_writev(pid_t pid, const struct iovec *local,
                                                                 unsigned long local_count,
                                                                 const struct iovec *remote,
                                                                 unsigned long remote_count,
                                                                 unsigned long flags)
{
    atomic_fetch_add(&writes, 1);
    return behind("process_vm_writev")(pid, local, local_count, remote, remote_count, flags);
}

/* ---------------------------------------------------------------- rounds */

static const size_t sizes[] = {1, 64, 1000, 4096, 4097, 12000, 65536, 65537, 300001, 1048581, 3145728};
#define SIZES (sizeof sizes / sizeof sizes[0])

/* Places are of pages every third time, else of any byte. */
static size_t place(uint64_t number, size_t bytes, size_t step)
{
    const size_t room = BLOCK_BYTES - bytes, at = (size_t)number * step % room;
    return number % 3 == 0 ? at / 4096 * 4096 : at;
}

static struct exchange exchange_of(enum kind from, enum kind to, uint64_t number)
{
    const size_t bytes = sizes[number % SIZES];
    return (struct exchange){
        .from = from,
        .to = to,
        .bytes = bytes,
        .out_at = place(number, bytes, 40961),
        .in_at = place(number + 1, bytes, 69997),
        .number = number,
    };
}

/* All mixes, each with `each` exchanges; from round to round each mix has other ways and sizes. A block that
 * is received into is merged before each kind that is sent from, so there are no more than `each` exchanges
 * between a merge and the next. Not `calm`: it is merged all the time, so only mixes with what can be. */
static bool mixes(uint64_t round, unsigned each, bool calm)
{
    bool good = true;
    for (unsigned mix = 0; mix < KINDS * KINDS; mix++) {
        const enum kind from = mix / KINDS, to = mix % KINDS;
        if (!calm && !kind_merges(from) && !kind_merges(to))
            continue;
        if (calm && to == 0)
            good = memory_merge() && good;
        for (unsigned i = 0; i < each; i++) {
            const uint64_t number = (round * KINDS * KINDS + mix) * each + i;
            const struct exchange exchange = exchange_of(from, to, number);
            good = traffic_once(&exchange, (unsigned)(number + number / TRAFFIC_WAYS)) && good;
        }
    }
    return good;
}

static bool all_are_ground(void)
{
    bool good = true;
    for (enum kind kind = 0; kind < KINDS; kind++)
        good = content_is(incoming[kind], ground_of_incoming(kind, 0), BLOCK_BYTES) &&
               (!kind_merges(kind) || content_is(outgoing[kind], ground_of_outgoing(kind, 0), BLOCK_BYTES)) &&
               good;
    return good;
}

static void test_messages(uint64_t round)
{
    CHECK(mixes(round, 3, true), "messages from and into memory of every kind, merged before each mix");
    CHECK(all_are_ground(), "nothing else has changed");
}

static void look_for_windows(void)
{
    for (enum window which = 0; which < WINDOWS; which++)
        has_windows[which] = windows_are_there(which);
    if (rank == 0)
        printf("windows:%s%s%s\n", has_windows[WINDOW_ON_BLOCK] ? " created" : "",
               has_windows[WINDOW_OF_MPI] ? " allocated" : "", has_windows[WINDOW_SHARED] ? " shared" : "");
}

static void test_windows(unsigned round)
{
    bool good = true;
    for (enum kind kind = 0; kind < KINDS && has_windows[WINDOW_ON_BLOCK]; kind++) {
        good = memory_merge() && good;
        good = windows_once(WINDOW_ON_BLOCK, kind, round) && good;
    }
    CHECK(good, "windows on memory of every kind");
    CHECK(!has_windows[WINDOW_OF_MPI] || windows_once(WINDOW_OF_MPI, KIND_MPI, round),
          "a window on memory that MPI allocates");
    CHECK(!has_windows[WINDOW_SHARED] || windows_once(WINDOW_SHARED, KIND_MPI, round),
          "a window on memory that MPI shares");
    CHECK(all_are_ground(), "nothing else has changed");
}

static void test_under_load(uint64_t round)
{
    bool good = true;
    memory_press();
    good = mixes(1000 + round, 1, false);
    for (enum kind kind = KIND_MERGED; kind <= KIND_PRIVATE && has_windows[WINDOW_ON_BLOCK]; kind++)
        good = windows_once(WINDOW_ON_BLOCK, kind, 7 + (unsigned)round) && good;
    good = all_are_ground() && good;
    MPI_Barrier(MPI_COMM_WORLD);
    CHECK(memory_release() > 0 && good, "the same while everything is merged all the time");
}

/* ---------------------------------------------------------------- memory that goes */

/* A block where there was another one a moment ago: transports that remember where memory lies have to
 * forget. */
static bool block_comes_and_goes(enum kind kind, unsigned time)
{
    const size_t bytes = MIB + time % 3 * 700000;
    unsigned char *block = memory_take(kind, bytes), *other = memory_take(kind, bytes);
    const uint64_t seed = 500000000 + time * 64;
    if (block == NULL || other == NULL)
        return false;
    content_write(block, (struct content){seed + (uint64_t)rank, 0}, bytes);
    content_write(other, (struct content){seed, 0}, bytes);
    const bool merged = time % 8 != 0 || memory_merge();
    MPI_Sendrecv(block, (int)bytes, MPI_BYTE, next_rank(), 1, other, (int)bytes, MPI_BYTE, last_rank(), 1,
                 MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    const bool good = merged && content_is(other, (struct content){seed + (uint64_t)last_rank(), 0}, bytes) &&
                      content_is(block, (struct content){seed + (uint64_t)rank, 0}, bytes);
    memory_give(kind, time % 4 < 2 ? block : other);
    memory_give(kind, time % 4 < 2 ? other : block);
    return good;
}

static bool is_zero(const unsigned char *bytes, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (bytes[i] != 0)
            return false;
    return true;
}

/* The second half of a block is given back with madvise(): zero then, here, and as it was elsewhere; and zero
 * is what goes out of it. */
static bool half_is_given_back(enum kind kind, unsigned time)
{
    unsigned char *block = outgoing[kind], *half = block + BLOCK_BYTES / 2;
    const struct content ground = ground_of_outgoing(kind, BLOCK_BYTES / 2);
    bool good = memory_merge();
    if (rank == (int)time % ranks)
        good = madvise(half, MIB, MADV_DONTNEED) == 0 && is_zero(half, MIB) && good;
    MPI_Sendrecv(half, (int)MIB, MPI_BYTE, next_rank(), 1, incoming[KIND_OWN], (int)MIB, MPI_BYTE,
                 last_rank(), 1, MPI_COMM_WORLD, MPI_STATUS_IGNORE);
    if (last_rank() != (int)time % ranks)
        good = content_is(incoming[KIND_OWN], ground, MIB) && good;
    else
        good = is_zero(incoming[KIND_OWN], MIB) && good;
    if (rank != (int)time % ranks)
        good = content_is(half, ground, MIB) && good;
    content_write(half, ground, MIB);
    content_write(incoming[KIND_OWN], ground_of_incoming(KIND_OWN, 0), MIB);
    return good;
}

static void test_coming_and_going(unsigned round, bool advice)
{
    static const enum kind taken[] = {KIND_ROUTED, KIND_MERGED, KIND_PRIVATE, KIND_MPI};
    bool good = true;
    for (unsigned time = 0; time < 4; time++)
        for (unsigned i = 0; i < 4; i++)
            good = block_comes_and_goes(taken[i], round * 100 + time * 4 + i) && good;
    CHECK(good, "blocks that come and go");
    CHECK(!advice || half_is_given_back(KIND_MERGED, round), "madvise() on merged memory");
}

/* ---------------------------------------------------------------- */

int main(int count, char **words)
{
    int level;
    const bool shim = count >= 3 && strcmp(words[1], "shim") == 0;
    MPI_Init_thread(&count, &words, MPI_THREAD_FUNNELED, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (count < 3 || ranks % 2 != 0) {
        fprintf(stderr,
                "usage: mpirun -n RANKS test-mpi-coexist plain|shim ROUNDS [no-pieces [no-advice]]\n");
        MPI_Abort(MPI_COMM_WORLD, 2);
    }
    const unsigned long rounds = strtoul(words[2], NULL, 10);
    pieces_are_right = count == 3;
    memory_begin(shim);
    CHECK(memory_merge(), "what can be merged is one copy");
    look_for_windows();
    for (unsigned round = 0; round < rounds; round++) {
        test_messages(round);
        test_windows(round);
        test_coming_and_going(round, shim && count < 5);
    }
    /* The last of all: what did not merge then is left alone for a while. */
    for (unsigned round = 0; round < rounds; round++)
        test_under_load(round);
    unsigned long mine[2] = {reads, writes}, all[2];
    MPI_Reduce(mine, all, 2, MPI_UNSIGNED_LONG, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0)
        printf("read from others %lu times, written to others %lu times\n", all[0], all[1]);
    memory_end();
    fflush(stdout);
    MPI_Finalize();
    return failures == 0 ? 0 : 1;
}

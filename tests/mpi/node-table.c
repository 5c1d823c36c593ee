/* SPDX-License-Identifier: MIT
 *
 * Victim of nodes.sh: an MPI program that knows nothing of us. Each rank builds the same table, writes to a
 * few pages of it, and makes a block with its number in it.
 *
 *     mpirun … node-table [merged]
 *
 * What it prints is the same with the shim and without, but for the lines that begin with "memory". Told that
 * it is to be merged, it waits before it writes until all of the table lies in files, for about a minute at
 * the most. In the end it says `ready`, and goes on when rank 0 reads a line.
 */
#include <mpi.h>

#include <inttypes.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

enum { WORDS = (4 << 20) / sizeof(uint32_t), PATIENCE = 3000 };

static int rank, ranks;
static MPI_Comm node; /* as MPI sees it */

/* ---------------------------------------------------------------- what is allocated */

__attribute__((noinline)) uint32_t *make_table(void)
{
    uint32_t *table = malloc(WORDS * sizeof *table);
    for (size_t i = 0; table != NULL && i < WORDS; i++)
        table[i] = (uint32_t)(i * 2654435761u);
    return table;
}

__attribute__((noinline)) int *make_note(void)
{
    int *note = malloc(50000);
    if (note != NULL)
        *note = rank;
    return note;
}

static uint64_t sum_of(const uint32_t *table)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < WORDS; i++)
        sum = sum * 31 + table[i];
    return sum;
}

/* ---------------------------------------------------------------- where it lies */

/* KiB of the table: what this rank occupies of memory, its part of what it shares included; how much of its
 * addresses lies in files of this node's /dev/shm; and in those of any other file system. */
struct lie {
    uint64_t pss, here, elsewhere;
};

/* One mapping's lines: where it is, and of which device; of those that follow only Pss matters. */
static bool read_range(const char *line, uintptr_t *from, uintptr_t *to, dev_t *device)
{
    unsigned major, minor;
    if (sscanf(line, "%" SCNxPTR "-%" SCNxPTR " %*s %*s %x:%x", from, to, &major, &minor) != 4)
        return false;
    *device = makedev(major, minor);
    return true;
}

static struct lie look(const uint32_t *table)
{
    struct lie lie = {0};
    struct stat shm;
    char line[512];
    uintptr_t from = 0, to = 0;
    const uintptr_t begin = (uintptr_t)table, end = begin + WORDS * sizeof *table;
    dev_t device;
    FILE *file = fopen("/proc/self/smaps", "r");
    if (file == NULL || stat("/dev/shm", &shm) != 0)
        MPI_Abort(MPI_COMM_WORLD, 1);
    while (fgets(line, sizeof line, file) != NULL) {
        const bool inside = from < end && to > begin; /* the mapping whose lines these are */
        uint64_t pss;
        if (inside && sscanf(line, "Pss: %" SCNu64, &pss) == 1)
            lie.pss += pss;
        if (!read_range(line, &from, &to, &device) || from >= end || to <= begin)
            continue;
        const uint64_t kib = ((to < end ? to : end) - (from > begin ? from : begin)) / 1024;
        lie.here += device == shm.st_dev ? kib : 0;
        lie.elsewhere += device != shm.st_dev && device != 0 ? kib : 0;
    }
    fclose(file);
    return lie;
}

/* Looking takes time, in which others may write or read: so between two barriers. */
static struct lie look_together(const uint32_t *table)
{
    MPI_Barrier(MPI_COMM_WORLD);
    const struct lie lie = look(table);
    MPI_Barrier(MPI_COMM_WORLD);
    return lie;
}

/* Until it lies in files in all ranks; rules with when=barrier act after a barrier, in a part of the time. */
static void await_files(const uint32_t *table)
{
    const uint64_t all = WORDS * sizeof *table / 1024;
    for (int time = 0; time < PATIENCE; time++) {
        const struct lie lie = look_together(table);
        int merged = lie.here + lie.elsewhere >= all;
        MPI_Allreduce(MPI_IN_PLACE, &merged, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
        if (merged != 0)
            return;
        nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
    }
}

/* ---------------------------------------------------------------- what is said */

/* Rank 0 prints for all, so that lines are whole and in order. */
static void print_sum(const char *when, const uint32_t *table)
{
    uint64_t sums[64] = {0}, sum = sum_of(table);
    MPI_Gather(&sum, 1, MPI_UINT64_T, sums, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    for (int i = 0; rank == 0 && i < ranks; i++)
        printf("%s, rank %d: %016" PRIx64 "\n", when, i, sums[i]);
}

/* A line for each node, from its first rank on. */
static void print_memory(const uint32_t *table)
{
    const struct lie own = look_together(table);
    uint64_t sum[3] = {own.pss, own.here, own.elsewhere}, all[64][3];
    char host[64] = "", hosts[64][64];
    int first;
    gethostname(host, sizeof host - 1);
    MPI_Allreduce(MPI_IN_PLACE, sum, 3, MPI_UINT64_T, MPI_SUM, node);
    MPI_Comm_rank(node, &first);
    host[0] = first == 0 ? host[0] : '\0';
    MPI_Gather(sum, 3, MPI_UINT64_T, all, 3, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    MPI_Gather(host, 64, MPI_CHAR, hosts, 64, MPI_CHAR, 0, MPI_COMM_WORLD);
    for (int i = 0; rank == 0 && i < ranks; i++)
        if (hosts[i][0] != '\0')
            printf("memory %s %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", hosts[i], all[i][0], all[i][1],
                   all[i][2]);
}

/* Whoever waits in MPI_Barrier() takes a processor, which others need to look at us meanwhile. */
static void await_line(void)
{
    MPI_Request all_here;
    int here = 0;
    if (rank == 0) {
        printf("ready\n");
        fflush(stdout);
        while (getchar() != '\n' && !feof(stdin))
            ;
    }
    MPI_Ibarrier(MPI_COMM_WORLD, &all_here);
    for (MPI_Test(&all_here, &here, MPI_STATUS_IGNORE); here == 0;
         MPI_Test(&all_here, &here, MPI_STATUS_IGNORE))
        nanosleep(&(struct timespec){.tv_nsec = 20 * 1000 * 1000}, NULL);
}

int main(int count, char **words)
{
    MPI_Init(&count, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    MPI_Comm_split_type(MPI_COMM_WORLD, MPI_COMM_TYPE_SHARED, rank, MPI_INFO_NULL, &node);
    uint32_t *table = make_table();
    int *note = make_note();
    if (ranks > 64 || table == NULL || note == NULL)
        MPI_Abort(MPI_COMM_WORLD, 1);
    if (count > 1)
        await_files(table);
    print_sum("built", table);
    print_memory(table);
    for (size_t page = 0; page < 8; page++) /* each rank its own, in all chunks */
        table[(WORDS / 8) * page + 1024 * (size_t)rank] += 1 + (uint32_t)rank;
    print_sum("written", table);
    await_line();
    const bool good = *note == rank;
    free(note);
    free(table);
    MPI_Comm_free(&node);
    MPI_Finalize();
    return good ? 0 : 1;
}

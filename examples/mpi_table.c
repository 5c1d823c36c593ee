/* SPDX-License-Identifier: MIT
 *
 * A table in a file that every rank needs: one rank of the whole job reads it, and each node has one copy.
 *
 *     mpirun -n 4 mpi_table FILE
 *
 * Says how long that takes, and how long when every rank reads the file into memory of its own, and what is
 * saved. Each rank sums up both tables, so one that is not the same would show.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <shmcore_mpi.h>

static int fail(const char *what, const char *why)
{
    fprintf(stderr, "mpi_table: %s: %s\n", what, why);
    MPI_Abort(MPI_COMM_WORLD, 1);
    return 1;
}

/* 0 or errno. */
static int read_file(void *table, size_t bytes, void *name)
{
    FILE *file = fopen(name, "rb");
    if (file == NULL)
        return errno;
    const size_t got = fread(table, 1, bytes, file);
    const int error = got == bytes ? 0 : ferror(file) ? EIO : ENODATA; /* shorter than it was */
    fclose(file);
    return error;
}

static uint64_t sum_of(const unsigned char *table, size_t bytes)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < bytes; i++)
        sum = sum * 31 + table[i];
    return sum;
}

/* Rank 0 looks, so that all speak of the same size. */
static size_t size_of(const char *name, int rank)
{
    struct stat status;
    uint64_t bytes = 0;
    if (rank == 0 && stat(name, &status) != 0)
        fail(name, strerror(errno));
    if (rank == 0)
        bytes = (uint64_t)status.st_size;
    MPI_Bcast(&bytes, 1, MPI_UINT64_T, 0, MPI_COMM_WORLD);
    return bytes;
}

struct result {
    double seconds;
    uint64_t sum;
};

static struct result with_one_copy(shmcore_segment *segment, char *name, size_t bytes)
{
    const void *table;
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    if (shmcore_mpi_allocate_filled(segment, MPI_COMM_WORLD, "table", bytes, read_file, name, &table) != 0)
        fail(name, shmcore_mpi_error());
    MPI_Barrier(MPI_COMM_WORLD);
    const struct result result = {MPI_Wtime() - start, sum_of(table, bytes)};
    shmcore_deallocate(segment, (void *)(uintptr_t)table);
    return result;
}

static struct result with_a_copy_each(char *name, size_t bytes)
{
    MPI_Barrier(MPI_COMM_WORLD);
    const double start = MPI_Wtime();
    void *table = malloc(bytes + 1);
    const int error = table != NULL ? read_file(table, bytes, name) : ENOMEM;
    if (error != 0)
        fail(name, strerror(error));
    MPI_Barrier(MPI_COMM_WORLD);
    const struct result result = {MPI_Wtime() - start, sum_of(table, bytes)};
    free(table);
    return result;
}

int main(int count, char **words)
{
    int rank, ranks, copies = 0;
    MPI_Comm leaders;
    MPI_Init(&count, &words);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    if (count != 2)
        return fail("usage", "mpirun -n RANKS mpi_table FILE");
    shmcore_segment *segment = shmcore_open("SHARED::node", NULL);
    if (segment == NULL)
        return fail("SHARED::node", shmcore_error());
    if (shmcore_mpi_leaders(segment, MPI_COMM_WORLD, &leaders) != 0)
        return fail("leaders", shmcore_mpi_error());
    if (leaders != MPI_COMM_NULL)
        MPI_Comm_size(leaders, &copies);

    const size_t bytes = size_of(words[1], rank);
    const struct result each = with_a_copy_each(words[1], bytes),
                        one = with_one_copy(segment, words[1], bytes);
    const int differs = each.sum != one.sum;
    int wrong;
    MPI_Reduce(&differs, &wrong, 1, MPI_INT, MPI_SUM, 0, MPI_COMM_WORLD);
    if (rank == 0) {
        printf("%d ranks in %d segments, a table of %.1f MiB\n", ranks, copies, (double)bytes / 1048576);
        printf("every rank reads:  %.3f s, %.1f MiB in all\n", each.seconds,
               (double)ranks * (double)bytes / 1048576);
        printf("one rank reads:    %.3f s, %.1f MiB in all\n", one.seconds, copies * (double)bytes / 1048576);
        printf("checksum %016" PRIx64 "%s\n", one.sum, wrong != 0 ? ", but not in all ranks" : "");
    }
    shmcore_close(segment);
    MPI_Finalize(); /* frees the communicators, too */
    return rank == 0 && wrong != 0;
}

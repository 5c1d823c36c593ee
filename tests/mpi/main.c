/* SPDX-License-Identifier: MIT
 *
 * libshmcore-mpi under mpirun: a program, because a start of mpirun costs more than all that is tested in it.
 *
 *     mpirun -n RANKS test-mpi MIB        (the size of the segment whose blocks come and go)
 *
 * Exit status 0 when all was well in this rank.
 */
#include "ranks.h"

int communicators;

/* ---------------------------------------------------------------- segments and ranks */

shmcore_traits part_traits(char job[64], int part, size_t size)
{
    const char *own = getenv("SHM_JOB");
    shmcore_traits traits = shmcore_default_traits();
    snprintf(job, 64, "%s-part%d", own != NULL ? own : "test-mpi", part);
    traits.job = job;
    traits.size = size;
    return traits;
}

shmcore_segment *open_part(const char *name, int part, size_t size)
{
    char job[64], whole[64];
    const shmcore_traits traits = part_traits(job, part, size);
    snprintf(whole, sizeof whole, "SHARED::%s", name);
    shmcore_segment *segment = shmcore_open(whole, &traits);
    if (segment == NULL) {
        fprintf(stderr, "rank %d: %s\n", rank, shmcore_error());
        MPI_Abort(MPI_COMM_WORLD, 1);
    }
    return segment;
}

int node_of(int of_rank)
{
    return of_rank * 2 / ranks;
}

int first_on(int node)
{
    int first = 0;
    while (node_of(first) != node)
        first++;
    return first;
}

bool consists_of(MPI_Comm comm, unsigned members)
{
    MPI_Group world, group;
    int size, number[32], in_world[32], expected = 0;
    if (comm == MPI_COMM_NULL || members == 0)
        return comm == MPI_COMM_NULL && members == 0;
    MPI_Comm_size(comm, &size);
    for (int i = 0; i < size && i < 32; i++)
        number[i] = i;
    MPI_Comm_group(MPI_COMM_WORLD, &world);
    MPI_Comm_group(comm, &group);
    MPI_Group_translate_ranks(group, size, number, world, in_world);
    MPI_Group_free(&world);
    MPI_Group_free(&group);
    for (int i = 0; i < ranks; i++)
        if ((members >> i & 1) != 0 && (expected >= size || in_world[expected++] != i))
            return false;
    return expected == size;
}

/* ---------------------------------------------------------------- counting communicators */

int MPI_Comm_split(MPI_Comm comm, int colour, int key, MPI_Comm *out)
{
    const int result = PMPI_Comm_split(comm, colour, key, out);
    communicators += result == MPI_SUCCESS && *out != MPI_COMM_NULL;
    return result;
}

int MPI_Comm_dup(MPI_Comm comm, MPI_Comm *out)
{
    const int result = PMPI_Comm_dup(comm, out);
    communicators += result == MPI_SUCCESS;
    return result;
}

int MPI_Comm_free(MPI_Comm *comm)
{
    communicators--;
    return PMPI_Comm_free(comm);
}

/* ---------------------------------------------------------------- */

static bool refused_outside_mpi(const char *says)
{
    MPI_Comm comm;
    errno = 0;
    return shmcore_mpi_communicator(NULL, MPI_COMM_WORLD, &comm) == -1 && errno == EINVAL &&
           strstr(shmcore_mpi_error(), says) != NULL;
}

/* What the library has made for a communicator that the program never frees is left, too. How many are the
 * program's. */
static int leave_communicators(void)
{
    MPI_Comm copy, comm;
    shmcore_segment *segment = open_part("left", 0, 4 * MIB);
    MPI_Comm_dup(MPI_COMM_WORLD, &copy);
    shmcore_mpi_communicator(segment, copy, &comm);
    shmcore_mpi_communicator(segment, MPI_COMM_WORLD, &comm);
    shmcore_close(segment);
    return 1;
}

int main(int count, char **words)
{
    int level;
    const bool before = refused_outside_mpi("not been initialised") && shmcore_mpi_cleanup() == 0;
    MPI_Init_thread(&count, &words, MPI_THREAD_MULTIPLE, &level);
    MPI_Comm_rank(MPI_COMM_WORLD, &rank);
    MPI_Comm_size(MPI_COMM_WORLD, &ranks);
    CHECK(before, "nothing can be asked before MPI_Init");
    test_communicator();
    test_leaders();
    test_filled();
    test_sharing(count > 1 ? strtoul(words[1], NULL, 10) * MIB : 64 * MIB);
    const int left = leave_communicators();
    CHECK(communicators > left, "some communicators are left to MPI_Finalize");
    fflush(stdout);
    MPI_Finalize();
    /* there is nobody to agree with any more */
    const bool after =
        communicators == left && refused_outside_mpi("been finalised") && shmcore_mpi_cleanup() == -1;
    if (!after)
        fprintf(stderr, "rank %d: after MPI_Finalize %d communicators are left, or something can be asked\n",
                rank, communicators);
    return failures == 0 && after ? 0 : 1;
}

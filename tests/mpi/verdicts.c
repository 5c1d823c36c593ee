/* SPDX-License-Identifier: MIT
 *
 * Verdicts that all ranks come to together: each is good when it is so in every rank, and the first rank in
 * which it is not says why.
 */
#include "ranks.h"

int rank, ranks, failures;

bool check(bool good, const char *what, const char *condition, int line)
{
    struct {
        int value, rank;
    } mine = {good, rank}, worst;
    MPI_Allreduce(&mine, &worst, 1, MPI_2INT, MPI_MINLOC, MPI_COMM_WORLD);
    if (worst.value == 0) {
        failures++;
        if (rank == worst.rank)
            fprintf(stderr, "rank %d, line %d: not so: %s (errno %d; '%s'; '%s')\n", rank, line, condition,
                    errno, shmcore_mpi_error(), shmcore_error());
    }
    if (rank == 0)
        printf("%s - %s\n", worst.value != 0 ? "ok" : "not ok", what);
    return worst.value != 0;
}

void check_failure(int result, int code, const char *says, const char *what)
{
    const int found = errno;
    char sentence[1024], first[1024];
    snprintf(sentence, sizeof sentence, "%s", shmcore_mpi_error());
    memcpy(first, sentence, sizeof first);
    MPI_Bcast(first, sizeof first, MPI_CHAR, 0, MPI_COMM_WORLD);
    errno = found;
    check(result == -1 && found == code && strcmp(sentence, first) == 0 && strstr(sentence, says) != NULL,
          what, says, code);
}

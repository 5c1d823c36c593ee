/* SPDX-License-Identifier: MIT */
#include "verdict.h"

#include "shmcore_mpi.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#define SENTENCE_BYTES 768

static _Thread_local char sentence[SENTENCE_BYTES];

const char *shmcore_mpi_error(void)
{
    return sentence;
}

int verdict_fail(int code, const char *format, ...)
{
    char made[SENTENCE_BYTES]; /* the last sentence may be part of the next */
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(made, sizeof made, format, arguments);
    va_end(arguments);
    memcpy(sentence, made, sizeof made);
    errno = code;
    return -1;
}

int verdict_of_mpi(int result)
{
    char words[MPI_MAX_ERROR_STRING] = "an unknown error";
    int length;
    if (result == MPI_SUCCESS)
        return 0;
    MPI_Error_string(result, words, &length);
    return verdict_fail(EIO, "MPI: %s", words);
}

int verdict_agree(MPI_Comm comm, int code)
{
    int rank;
    if (verdict_of_mpi(MPI_Comm_rank(comm, &rank)) != 0)
        return -1;
    /* signed: MPICH 4.0 finds the least of unsigned numbers as if they were, too */
    const int64_t mine = code == 0 ? INT64_MAX : (int64_t)rank << 32 | code;
    int64_t first;
    if (verdict_of_mpi(MPI_Allreduce(&mine, &first, 1, MPI_INT64_T, MPI_MIN, comm)) != 0)
        return -1;
    if (first == INT64_MAX)
        return 0;
    char said[SENTENCE_BYTES];
    const int who = (int)(first >> 32);
    memcpy(said, sentence, sizeof said);
    if (verdict_of_mpi(MPI_Bcast(said, sizeof said, MPI_CHAR, who, comm)) != 0)
        return -1;
    return verdict_fail((int)(first & INT32_MAX), "rank %d: %s", who, said);
}

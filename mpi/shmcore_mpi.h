/* SPDX-License-Identifier: MIT
 *
 * shmcore with MPI: which ranks share a segment, one rank for each segment, and the block that one rank fills
 * and all use.
 *
 * Which ranks are together is asked of the segments themselves, not of host names or of colours that somebody
 * has made up: ranks are together when they have the same segment open (shmcore_identity()). So it is right
 * for segments of a node, a socket or a NUMA domain, for several segments, in containers, and for any
 * communicator.
 *
 * Conventions, for every function unless its comment says otherwise:
 *  - *Collective* over `comm`: all its ranks call it, in the same order as their other collective calls on
 * `comm`, each with its own segment. It may synchronise them.
 *  - 0, or -1 with errno set and a sentence in shmcore_mpi_error(). What one rank finds wrong all ranks get,
 * with the same errno and the same sentence, which names the rank; none is left waiting.
 *  - `comm` is an intracommunicator. Its error handler is in force: with the default, MPI_ERRORS_ARE_FATAL,
 * an error of MPI itself ends the job; with MPI_ERRORS_RETURN it is EIO, with MPI's own words in the
 * sentence, and what other ranks get is up to MPI.
 *  - Thread-safe under MPI_THREAD_MULTIPLE, and at the lower levels from the threads that may call MPI; two
 *    threads may not use one `comm` at once, as with all collective calls. Not async-signal-safe.
 *
 * Errors that any of them may give, beside its own:
 *   EINVAL  MPI is not initialised or is finalised, `comm` is MPI_COMM_NULL or an intercommunicator (these on
 * the calling rank alone, for there is nobody to ask), an argument that is NULL and must not be, or a closed
 *           segment
 *   ENOMEM  no memory for the tables of a rank
 *   ENOSPC  `comm` has been used with 64 different combinations of segments that are open still
 *   EIO     MPI has returned an error
 */
#ifndef SHMCORE_MPI_H
#define SHMCORE_MPI_H

#include <mpi.h>
#include <shmcore.h>

#ifdef __cplusplus
extern "C" {
#endif

/* The calling thread's last error of the functions below as one sentence, "" if there was none. Valid until
 * its next failing call. Not collective; needs no MPI. */
SHMCORE_API const char *shmcore_mpi_error(void);

/* The ranks of `comm` that have `segment` open, in the order of `comm`, as a communicator. NULL: this rank
 * has none; it takes part and gets MPI_COMM_NULL.
 *
 * It does not matter which segments others pass in the same call, so ranks may ask for several segments in
 * different orders; a rank that has a segment open is in its communicator also when it asks for another one.
 * Asked for again, it is the same communicator, for the price of one small MPI_Allreduce, until the ranks
 * that have the segment open are others.
 *
 * The communicator belongs to the library, so do not free it. It is valid until `comm` is freed,
 * shmcore_mpi_cleanup() or MPI_Finalize(), or until the segments of the call are closed in all ranks; beyond
 * 64 combinations of segments that `comm` has been used with, until one of them is closed by a rank that
 * passed it. For longer use, duplicate it. */
SHMCORE_API int shmcore_mpi_communicator(shmcore_segment *segment, MPI_Comm comm, MPI_Comm *out);

/* One rank for each segment that is passed in this call, the first in `comm` that passes it, in the order of
 * `comm`; all other ranks get MPI_COMM_NULL. Kept, and valid, like the above. NULL as above.
 *
 * Here it matters what is passed: ranks that are to have one leader pass the same segment. */
SHMCORE_API int shmcore_mpi_leaders(shmcore_segment *segment, MPI_Comm comm, MPI_Comm *out);

/* Fills `bytes` bytes at `block`, which are zero: 0, or a value of errno. Must return. */
typedef int shmcore_mpi_fill(void *block, size_t bytes, void *argument);

/* A new block `name` of `bytes` bytes in each segment that is passed, with the same contents everywhere: one
 * rank in the whole job, rank 0 of `comm`, calls fill(block, bytes, argument); the leaders broadcast the
 * result among themselves, in pieces where it is large; every rank gets the address in its own segment. Each
 * rank holds one reference, as after shmcore_allocate(), and gives it back with shmcore_deallocate(). The
 * contents are complete when the call returns. Nobody should write to them: the block is for reading, by all.
 *
 * `name` and `bytes` must be the same in all ranks. `fill` and `argument` are looked at in rank 0 alone. On
 * failure there is no block, in no rank.
 *
 *   EINVAL  `segment` is NULL; `name` or `bytes` differ between the ranks; `fill` is NULL in rank 0
 *   EEXIST  a segment has a block of that name: its contents cannot be known to be these. Whoever wants
 * another reference to the block takes it with shmcore_allocate() …       what `fill` has returned (EIO for a
 * value that is none of errno), or what shmcore_allocate() has set in any rank: ENOMEM, EROFS, EBUSY …
 */
SHMCORE_API int shmcore_mpi_allocate_filled(shmcore_segment *segment, MPI_Comm comm, const char *name,
                                            size_t bytes, shmcore_mpi_fill *fill, void *argument,
                                            const void **block);

/* Frees all communicators that the functions above have made. Collective over all ranks that have called
 * them. MPI_Finalize() does it by itself. Never fails before MPI_Finalize(); the functions may be used again.
 */
SHMCORE_API int shmcore_mpi_cleanup(void);

/* The same for Fortran, Python (comm.py2f()) and other languages, which know communicators by the numbers of
 * Fortran; MPI_COMM_NULL has one, too. */
SHMCORE_API int shmcore_mpi_communicator_f(shmcore_segment *segment, MPI_Fint comm, MPI_Fint *out);
SHMCORE_API int shmcore_mpi_leaders_f(shmcore_segment *segment, MPI_Fint comm, MPI_Fint *out);
SHMCORE_API int shmcore_mpi_allocate_filled_f(shmcore_segment *segment, MPI_Fint comm, const char *name,
                                              size_t bytes, shmcore_mpi_fill *fill, void *argument,
                                              const void **block);

#ifdef __cplusplus
}
#endif

#endif

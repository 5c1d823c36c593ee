/* SPDX-License-Identifier: MIT
 *
 * Collectives of MPI, for `merge when=barrier`: when one has returned, the ranks are at the same point of the
 * program and what they have built is likely to be equal.
 *
 * There is no link to MPI and none of its headers: every argument is passed on as a word, which is how the C
 * and the Fortran interfaces of all implementations pass theirs on 64-bit machines; and the function itself
 * is found at run time, behind us in the order of look-up or through the module that calls. A program without
 * MPI calls none of this.
 */
#include <dlfcn.h>
#include <link.h>
#include <stdint.h>
#include <string.h>

#include "base.h"
#include "merger.h"
#include "real.h"
#include "runtime.h"
#include "thread.h"

#define EXPORT    __attribute__((visibility("default"), noinline))
#define NOT_FOUND 16 /* MPI_ERR_OTHER of the usual implementations */

typedef int collective(uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t, uintptr_t,
                       uintptr_t);

/* Behind us, or, when MPI was loaded for one module alone (Python), where that one would find it. */
static collective *find(const char *name, const void *caller)
{
    Dl_info where;
    struct link_map *module = NULL;
    collective *found = NULL;
    thread_self.inside++;
    void *symbol = dlsym(RTLD_NEXT, name);
    if (symbol == NULL && dladdr1(caller, &where, (void **)&module, RTLD_DL_LINKMAP) != 0 && module != NULL) {
        void *handle = real.dlopen(module->l_name, RTLD_LAZY | RTLD_NOLOAD);
        symbol = handle != NULL ? dlsym(handle, name) : NULL;
        if (handle != NULL)
            dlclose(handle);
    }
    thread_self.inside--;
    memcpy(&found, &symbol, sizeof found);
    return found;
}

#define COLLECTIVE(name)                                                                                     \
    int name(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e, uintptr_t f, uintptr_t g,      \
             uintptr_t h, uintptr_t i);                                                                      \
    EXPORT int name(uintptr_t a, uintptr_t b, uintptr_t c, uintptr_t d, uintptr_t e, uintptr_t f,            \
                    uintptr_t g, uintptr_t h, uintptr_t i)                                                   \
    {                                                                                                        \
        static _Atomic(collective *) next;                                                                   \
        collective *behind = atomic_load(&next);                                                             \
        if (UNLIKELY(behind == NULL)) {                                                                      \
            behind = find(#name, __builtin_return_address(0));                                               \
            atomic_store(&next, behind);                                                                     \
        }                                                                                                    \
        if (behind == NULL)                                                                                  \
            return NOT_FOUND;                                                                                \
        const int result = behind(a, b, c, d, e, f, g, h, i);                                                \
        if (runtime.active)                                                                                  \
            merger_after_collective();                                                                       \
        return result;                                                                                       \
    }

/* C; Fortran's mpif.h and mpi module; Fortran's mpi_f08 module. */
#define COLLECTIVES(name, fortran)                                                                           \
    COLLECTIVE(name)                                                                                         \
    COLLECTIVE(fortran##_)                                                                                   \
    COLLECTIVE(fortran##_f08_)

COLLECTIVES(MPI_Barrier, mpi_barrier)
COLLECTIVES(MPI_Bcast, mpi_bcast)
COLLECTIVES(MPI_Reduce, mpi_reduce)
COLLECTIVES(MPI_Allreduce, mpi_allreduce)
COLLECTIVES(MPI_Gather, mpi_gather)
COLLECTIVES(MPI_Allgather, mpi_allgather)
COLLECTIVES(MPI_Scatter, mpi_scatter)
COLLECTIVES(MPI_Alltoall, mpi_alltoall)

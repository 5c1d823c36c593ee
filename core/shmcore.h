/* SPDX-License-Identifier: MIT
 *
 * shmcore: named blocks of memory in a segment that every process of a node can map.
 *
 * A *segment* is one sparse file on a tmpfs, mapped at one address in every process, so that raw
 * pointers inside blocks hold everywhere. A *block* is a piece of it with a name: the first process
 * that asks for a name creates the block, later ones attach to the same bytes. Each successful
 * shmcore_allocate() is one reference; a block is gone with its last reference, and a segment with
 * its last process (unless it was opened with `persist`). What a killed process held is given back
 * by whoever comes next.
 *
 * Conventions, for every function unless its comment says otherwise:
 *  - a pointer or NULL, 0 or -1; on failure errno is set and shmcore_error() has a sentence;
 *  - sizes and offsets are bytes, names are NUL-terminated UTF-8;
 *  - thread-safe, and safe between processes; not async-signal-safe; not a cancellation point;
 *  - bounded: a process that is stopped or dead never makes another one wait for ever (EBUSY).
 *
 * Errors that any function on an open segment may give, beside its own:
 *   EINVAL  a NULL or closed handle, or an argument outside what the comment allows
 *   EBUSY   a part of the segment stayed locked by a process that does not run (a debugger, SIGSTOP)
 *   EIO     the segment was found damaged; the part concerned is out of use, the rest works on
 *   EROFS   the segment was opened read-only and the call would write
 *   EUSERS  a forked child for which no row was left: it has no part in the segment until it opens it anew
 */
#ifndef SHMCORE_H
#define SHMCORE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define SHMCORE_API __attribute__((visibility("default")))

/* The longest block name and the longest segment name, in bytes, without the NUL. */
#define SHMCORE_NAME_MAX         255
#define SHMCORE_SEGMENT_NAME_MAX 95

/* Which processes a segment is for: those of the whole node, of a socket, of a NUMA domain. Processes of one
 * socket that open a name with SHMCORE_SCOPE_SOCKET get one segment, those of another one get another: which
 * is in its name, as in SHARED::table@socket1 (or @numa0), and by that full name anybody can open it,
 * whatever the scope. A process's domain is that of the processors that its first thread may run on at that
 * moment (sched_setaffinity, taskset, mpirun --bind-to socket); one that may run in several is refused with
 * EINVAL. */
enum shmcore_scope { SHMCORE_SCOPE_NODE = 0, SHMCORE_SCOPE_SOCKET = 1, SHMCORE_SCOPE_NUMA = 2 };

enum shmcore_resource { SHMCORE_RESOURCE_SHARED = 1 };

typedef struct shmcore_segment shmcore_segment;
typedef struct shmcore_shim shmcore_shim;

/* How a segment is made. Those who open an existing segment must ask for the same size,
 * or leave it 0 to take what is there. */
typedef struct shmcore_traits {
    size_t size;              /* bytes of the whole file; 0: half of the file system, or what is there */
    enum shmcore_scope scope; /* default SHMCORE_SCOPE_NODE */
    enum shmcore_resource resource; /* SHMCORE_RESOURCE_SHARED */
    bool read_only;                 /* map for reading only: take no row, hold nothing, create nothing */
    bool persist;                   /* keep the segment when its last process has gone */
    bool interleave; /* spread pages over the NUMA nodes that the creator may use; else each lies near whoever
                      * reserves or touches it first. Whoever creates the segment decides */
    const char *dir; /* directory on a tmpfs; NULL: /dev/shm */
    const char *job; /* job id that keeps jobs apart; NULL: SHM_JOB, Slurm, PBS …, PMIx, MPICH
                      * as they stood in the environment when the process started */
} shmcore_traits;

/* The defaults named above. Cannot fail. */
SHMCORE_API shmcore_traits shmcore_default_traits(void);

/* The calling thread's last error as one sentence, "" if there was none. Valid until the thread's
 * next failing call. */
SHMCORE_API const char *shmcore_error(void);

/* ---------------------------------------------------------------- segments */

/* Opens the segment `name`, creating it when it is not there (never with `read_only`). The name must
 * contain "SHARED", hold no '/' and be at most SHMCORE_SEGMENT_NAME_MAX bytes of printable text.
 * `traits` NULL means the defaults. Opening twice in one process gives the same handle, counted.
 *
 *   EINVAL   the name, the scope (see there), or traits that differ from those the segment was made with
 *   ENOENT   read_only and there is no such segment
 *   EACCES   the file belongs to another user, or others may read or write it
 *   EPROTO   the file is no segment, is damaged, or was made by another version
 *   ENOMEM   the file system, the memory or RLIMIT_AS does not hold it
 *   ENOTSUP  `dir` is not on a tmpfs, the segment is of another pid namespace, or the system does not tell
 *            sockets or NUMA domains apart
 *   EBUSY    another process has been creating it for too long
 *   EUSERS   no row is left in the process table
 */
SHMCORE_API shmcore_segment *shmcore_open(const char *name, const shmcore_traits *traits);

/* Lets go of every reference that this process holds through the handle and unmaps the segment when
 * it was the last open of it. Pointers into it are invalid afterwards. The last process of all removes
 * the file. NULL is allowed and does nothing. */
SHMCORE_API int shmcore_close(shmcore_segment *segment);

/* Removes the segment `name` (with the directory, scope and job of `traits`, NULL for the defaults): the name
 * is free at once, processes that have it mapped keep it. ENOENT, EACCES. */
SHMCORE_API int shmcore_remove(const char *name, const shmcore_traits *traits);

/* The traits the segment was made with; `dir` and `job` live as long as the handle. `interleave` says how it
 * is: a system that does not let us (containers often do not) is no reason not to have the segment. */
SHMCORE_API shmcore_traits shmcore_get_traits(const shmcore_segment *segment);

/* With the domain, where the scope is not the node. */
SHMCORE_API const char *shmcore_segment_name(const shmcore_segment *segment);

/* A number that tells this segment from all others, of this machine and of others, now and later: processes
 * that have the same one are attached to the same memory. 0 for a bad handle. */
SHMCORE_API uint64_t shmcore_identity(const shmcore_segment *segment);
/* This process's handle of the segment with that identity; one for writing where there are two.
 *   ENOENT  it has none open
 */
SHMCORE_API shmcore_segment *shmcore_of_identity(uint64_t identity);

/* True when the segment lies at the address that all its processes agreed on, so that pointers stored
 * inside blocks are valid here too. */
SHMCORE_API bool shmcore_address_stable(const shmcore_segment *segment);

/* Bytes taken by live blocks with what rounding adds, plus the segment's own tables: after as many
 * deallocations as allocations it is what it was. 0 for a bad handle. */
SHMCORE_API size_t shmcore_actual_size(const shmcore_segment *segment);

typedef struct shmcore_statistics {
    size_t capacity;  /* bytes of the segment, its tables included */
    size_t used;      /* bytes of live blocks, with rounding, and tables: shmcore_actual_size() */
    size_t free;      /* bytes that blocks can still get; the file system may hold less */
    size_t reserved;  /* bytes of memory the segment occupies on its file system now */
    size_t blocks;    /* live blocks, exported ones included */
    size_t processes; /* processes that have it open, as far as is known without looking for the dead */
} shmcore_statistics;

SHMCORE_API int shmcore_stat(const shmcore_segment *segment, shmcore_statistics *out);

/* ---------------------------------------------------------------- blocks */

/* The block `name`: created with `bytes` zero bytes, or attached to when it exists. One reference in
 * either case. Aligned to 16 bytes, from 64 bytes on to 64, from 32 KiB on to a page. Zero bytes make
 * a valid block with an address of its own. The memory is there: no SIGBUS on a file system that fills.
 *
 *   EINVAL        the name is empty, or not printable UTF-8
 *   ENAMETOOLONG  more than SHMCORE_NAME_MAX bytes
 *   EEXIST        it exists with another size; the sentence names both
 *   ENOMEM        the segment, the file system or the memory is full, or `bytes` is absurd
 *   EBUSY         its creator is still filling it and has been for too long
 */
SHMCORE_API void *shmcore_allocate(shmcore_segment *segment, const char *name, size_t bytes);

/* One more reference to the block `name`, if there is one, with its size in *bytes (unless NULL). Never makes
 * one. Blocks under `share` rules are found whatever program they are of; exported ones belong to one process
 * and cannot be attached to.
 *
 *   EINVAL, ENAMETOOLONG, ENOMEM, EBUSY  as for shmcore_allocate()
 *   ENOENT        there is none
 */
SHMCORE_API void *shmcore_attach(shmcore_segment *segment, const char *name, size_t *bytes);

/* Gives back one reference of this process, or private memory. NULL is allowed and does nothing.
 *   EINVAL  not the start of a live block of this segment, or this process holds no reference to it
 */
SHMCORE_API int shmcore_deallocate(shmcore_segment *segment, void *pointer);

/* Address of the live block `name`, its size in *bytes (unless NULL); takes no reference: the caller
 * sees to it that somebody holds one. Exported blocks of shimmed programs are found too.
 *   ENOENT  there is none
 */
SHMCORE_API void *shmcore_find(shmcore_segment *segment, const char *name, size_t *bytes);

enum shmcore_block_kind {
    SHMCORE_BLOCK_NAMED = 0,  /* shmcore_allocate() */
    SHMCORE_BLOCK_SHARE = 1,  /* a `share` rule of the preload */
    SHMCORE_BLOCK_EXPORT = 2, /* an `export` rule: one process's, visible to all */
};

typedef struct shmcore_block {
    char segment[SHMCORE_SEGMENT_NAME_MAX + 1];
    char name[SHMCORE_NAME_MAX + 1];
    void *address; /* in this process */
    size_t bytes;  /* as asked for */
    uint32_t refs; /* references of all processes; 1 for an exported block */
    pid_t owner;   /* a process that holds it: the creator while that lives */
    enum shmcore_block_kind kind;
} shmcore_block;

/* Describes the live block that `pointer` points into (not only to its start), in any segment that
 * this process has open. EINVAL when it is in none. */
SHMCORE_API int shmcore_block_of(const void *pointer, shmcore_block *out);

/* Calls `visit` for every live block until it returns non-zero, and returns that; 0 at the end, -1 on
 * error. No order. Nothing is locked while `visit` runs, so it may call anything here; blocks made or
 * freed meanwhile may be seen or missed, each block that lives throughout is seen once. */
SHMCORE_API int shmcore_for_each(shmcore_segment *segment,
                                 int (*visit)(const shmcore_block *block, void *argument), void *argument);

/* ---------------------------------------------------------------- automatic names */

/* A source of blocks named PREFIX_alloc_0, PREFIX_alloc_1, … in call order: ranks that make the same
 * calls get the same blocks. The handle is valid until shmcore_shim_destroy() or the close of the
 * segment. Its counter is the shim's own and thread-safe; the order between threads is theirs.
 *   EINVAL, ENAMETOOLONG  as for block names; ENOMEM
 */
SHMCORE_API shmcore_shim *shmcore_shim_create(shmcore_segment *segment, const char *prefix);
SHMCORE_API void *shmcore_shim_allocate(shmcore_shim *shim, size_t bytes);
SHMCORE_API int shmcore_shim_deallocate(shmcore_shim *shim, void *pointer);
SHMCORE_API void shmcore_shim_destroy(shmcore_shim *shim);

/* ---------------------------------------------------------------- merged memory */

/* Private memory of this process: `bytes` zero bytes at an address that is the same in every process of the
 * segment that asks for this name and size, so that raw pointers inside are equal, too. What the processes
 * build there apart from each other is, where it is equal, one copy after shmcore_merge(). Nobody else can
 * see or change it, and a forked child has its own, as with malloc. Several with one name are different
 * blocks, the first, the second, … of it. Freed by shmcore_deallocate(). Aligned to 16 bytes, from 16 KiB on
 * to a page, from 2 MiB on to 2 MiB.
 *
 *   EINVAL, ENAMETOOLONG  as for block names
 *   ENOMEM                no addresses are left for it, or the segment has too many processes
 */
SHMCORE_API void *shmcore_private(shmcore_segment *segment, const char *name, size_t bytes);

/* Merges now: what is equal page for page to what another process of the segment has at the same address
 * becomes one copy that all of them read; a later write makes the page one's own again, which costs a page
 * fault. `pointer` is the start of a private block, or NULL for all of this process's. Returns how many bytes
 * of it are shared now, its part in a first process that publishes included; what is not the same, or could
 * not be merged at the moment, stays as it was, with the reason in shmcore_error() when nothing could. No
 * write is lost, by whichever thread: all threads of the process stand still for a fraction of a millisecond
 * for each 2 MiB (by a signal that breaks off no system call; see the README for what it needs and for what
 * it cannot hold).
 *
 *   EINVAL   `pointer` is not the start of a private block of the segment
 *   ENOTSUP  this process's memory cannot be merged: mlock, io_uring, no descriptor left
 */
SHMCORE_API ssize_t shmcore_merge(shmcore_segment *segment, void *pointer);

/* Asks every process that has private memory in the segment and a thread that listens (those of the preload
 * with a `merge` rule) to merge all of it now, and waits until they have, or for `patience` milliseconds.
 * Returns how many have, -1 on error. */
SHMCORE_API int shmcore_ask_merge(shmcore_segment *segment, unsigned patience);

typedef struct shmcore_merged {
    char segment[SHMCORE_SEGMENT_NAME_MAX + 1];
    char name[SHMCORE_NAME_MAX + 1]; /* of blocks below 2 MiB: of all of a call site, thread or name, with '*'
                                      * for what tells them apart */
    size_t bytes;                    /* of the block; of small ones: of the 2 MiB pieces that they lie in */
    uint32_t ranks;                  /* processes that have it */
    size_t merged;                   /* bytes that are shared, of all processes together */
    size_t saved;                    /* bytes of memory that would be occupied more without merging */
} shmcore_merged;

/* Calls `visit` for every block of private memory, as shmcore_for_each() does for others. */
SHMCORE_API int shmcore_for_each_merged(shmcore_segment *segment,
                                        int (*visit)(const shmcore_merged *merged, void *argument),
                                        void *argument);

/* ---------------------------------------------------------------- for tools */

typedef struct shmcore_segment_info {
    char name[SHMCORE_SEGMENT_NAME_MAX + 1];
    char job[64];     /* "" when there is none */
    char dir[256];    /* where the file lies */
    char path[512];   /* the file */
    uid_t uid;        /* its owner */
    size_t capacity;  /* bytes */
    size_t reserved;  /* bytes of memory it occupies */
    size_t processes; /* living processes that have it open */
    bool persist;
    bool usable; /* false: half-born, damaged, of another version, or unreadable */
} shmcore_segment_info;

/* Calls `visit` for every segment file in `dir` (NULL: /dev/shm), of this user, or as root of all
 * users, until it returns non-zero, and returns that; 0 at the end, -1 on error (ENOENT). */
SHMCORE_API int shmcore_for_each_segment(const char *dir,
                                         int (*visit)(const shmcore_segment_info *info, void *argument),
                                         void *argument);

typedef struct shmcore_collected {
    size_t segments;  /* files of dead processes removed */
    size_t processes; /* dead processes' rows reaped in segments that live on */
    size_t bytes;     /* memory given back by removing files */
} shmcore_collected;

/* Reaps what dead processes left in the segments of `dir` (NULL: /dev/shm): this user's, or as root
 * all users'. A segment with a living process is kept, and so is a persistent one. `out` may be NULL. */
SHMCORE_API int shmcore_collect(const char *dir, shmcore_collected *out);

#ifdef __cplusplus
}
#endif

#endif

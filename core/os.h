/* SPDX-License-Identifier: MIT
 *
 * Every system call of the core, behind plain words. Returns 0 or a count on success and -errno on
 * failure; errno itself is left as it was. Nothing here allocates or keeps a descriptor open
 * beyond the call, but for os_open_*(), whose caller closes it before it returns to the program.
 *
 * The only file, beside base.h, where `#if` is allowed.
 */
#ifndef SHM_OS_H
#define SHM_OS_H

#include <sys/single_threaded.h>
#include <sys/types.h>

#include "base.h"

/* ---------------------------------------------------------------- files */

struct os_file {
    uint64_t device, inode, bytes, blocks; /* blocks: bytes of memory or disk it occupies */
    uint32_t mode;                         /* permission bits */
    uid_t uid;
    uint32_t links;
    bool regular;
};

enum os_open { OS_READ, OS_WRITE, OS_CREATE, OS_CREATE_NEW };

/* Never follows a symlink at the end, never blocks, close-on-exec; creates with mode 0600. -EEXIST: there is
 * something already where a new file is wanted. */
int os_open_file(const char *path, enum os_open how);
void os_close(int descriptor);
int os_stat_file(int descriptor, struct os_file *out);
int os_stat_path(const char *path, struct os_file *out); /* of a link, the link */
int os_resize(int descriptor, uint64_t bytes);
int64_t os_read_at(int descriptor, void *out, size_t bytes, uint64_t offset);
int os_write_at(int descriptor, const void *data, size_t bytes, uint64_t offset);
/* The next range at or after `from` that occupies memory, up to `end`. 1, 0 when there is none, or -errno. */
int os_next_data(int descriptor, uint64_t from, uint64_t end, uint64_t *start, uint64_t *stop);
int os_unlink(const char *path);

/* Locks the whole open file for this holder alone; waits up to `patience` ns. -EBUSY when over. */
int os_lock_file(int descriptor, uint64_t patience);
void os_unlock_file(int descriptor);

/* Reads a small file (/proc, /sys) whole, cut at bytes - 1, with a NUL. Returns the length. */
int64_t os_read_text(const char *path, char *out, size_t bytes);

/* What the symbolic link DIRECTORY/name leads to, cut at bytes - 1, with a NUL. Length or -errno. */
int64_t os_read_link(const char *directory, const char *name, char *out, size_t bytes);

/* Calls visit(name) for each entry of a directory until it returns non-zero; returns that. */
int os_list(const char *directory, int (*visit)(const char *name, void *argument), void *argument);

enum os_file_system { OS_MEMORY_FILES, OS_HUGE_PAGES, OS_OTHER_FILES };
struct os_space {
    enum os_file_system kind;
    uint64_t total, free; /* bytes; total 0: no limit of its own */
};
int os_file_system(const char *directory, struct os_space *out);

/* ---------------------------------------------------------------- memory */

/* Maps a shared file at exactly `address`. -EEXIST: something is there. */
int os_map_file_at(uint64_t address, uint64_t bytes, int descriptor, bool writable);
/* Maps it anywhere. */
int os_map_file(int descriptor, uint64_t bytes, bool writable, void **out);
int os_map_private(uint64_t bytes, void **out); /* anonymous, zero, this process only */
/* The same for tables of which little is used, here and there: no claim on memory, and no huge pages. */
int os_map_sparse(uint64_t bytes, void **out);
int os_unmap(void *address, uint64_t bytes);
/* Maps a part of a file over another range: what is written there stays private. The descriptor may be for
 * reading only. */
int os_map_over(int descriptor, uint64_t offset, uint64_t bytes, void *to);
/* Moves a private mapping over another range. */
int os_move_over(void *from, uint64_t bytes, void *to);
/* The same by the kernel alone, for a moment in which nothing else may run: what stands in mremap()'s place
 * in this process, a communication library's hook, is told by os_announce() before and after that a range is
 * remapped. */
int os_take_place(void *from, uint64_t bytes, void *to);
void os_announce(void *address, uint64_t bytes);

/* Private zero pages at exactly `address`, without a claim on memory until they are touched. -EEXIST:
 * something is there. */
int os_map_private_at(uint64_t address, uint64_t bytes);
/* The same over what is there, which is given back. */
int os_map_private_over(void *address, uint64_t bytes);

/* May be read and written again, whatever was said before. */
int os_allow(void *address, uint64_t bytes);

/* Gives memory to every page of the range, so that no later touch can fail. -ENOMEM when the file
 * system or the memory is full; what was given by then stays. -EINVAL before Linux 5.14: then the same
 * through the file. */
int os_populate(void *address, uint64_t bytes);

/* Puts huge pages under the range, whole ones of a shared mapping that have no memory yet, whatever its file
 * system was mounted with. Any error: not all of it has memory, and os_populate() is to do the rest.
 * Linux 6.1; not where an administrator denies them. */
#define OS_HUGE_PAGE_BYTES    (2 * MEBI)
/* Where memory is in pieces the kernel may look long for one: who waits longer than this, in ns, is better
 * off with small pages. */
#define OS_HUGE_PAGE_PATIENCE UINT64_C(8000000)
int os_populate_huge(void *address, uint64_t bytes);
/* One under that part of a file, which need not be mapped and has no memory yet. Any error: it has none
 * still, or little. */
int os_huge_page_of_file(int descriptor, uint64_t offset);

/* Huge pages are welcome there, where there are such on request: of a file system with huge=advise, and for
 * private memory where they are not turned off. */
void os_welcome_huge(void *address, uint64_t bytes);
/* Spreads the pages of a shared mapping over the NUMA nodes that this process may use, also those that are
 * reserved, by this process or another: it is noted in the file, as long as that lives. */
int os_interleave(void *address, uint64_t bytes);
int os_reserve(int descriptor, uint64_t offset, uint64_t bytes);
/* Takes the memory of a shared range away; it reads as zeros afterwards. */
int os_punch(void *address, uint64_t bytes);
/* A page that is zero in a forked child, however it was forked. NULL when the kernel cannot. */
void *os_wiped_on_fork(void);

/* What can be taken now without hurting anybody: the least of the file system's free space, MemAvailable, and
 * what the memory cgroup leaves; and which of them it is. */
enum os_limit { OS_LIMIT_FILES, OS_LIMIT_MEMORY, OS_LIMIT_GROUP };
struct os_room {
    enum os_limit limit;
    uint64_t left, total; /* bytes; total 0: unknown */
};
struct os_room os_memory_room(const char *directory);
uint64_t os_memory_left(const char *directory);
/* The same without a file system: for memory of this process alone. */
uint64_t os_private_memory_left(void);

/* How much address space this process may have, and how long a file that it writes: UINT64_MAX: no limit. */
uint64_t os_address_space_limit(void);
uint64_t os_file_limit(void);

/* The loaded module that an address belongs to. `path` "": the program itself. Takes no lock of the dynamic
 * linker where the C library can do without (glibc 2.35). */
struct os_module {
    uintptr_t load_address; /* what is added to the addresses in its file */
    const char *path;       /* lives as long as the module */
    const void *headers;    /* its ElfW(Phdr)[], NULL when they are not in memory */
    unsigned header_count;
};
bool os_find_module(uintptr_t address, struct os_module *out);

/* How many modules have been unloaded: a number that grows. */
uint64_t os_modules_unloaded(void);

/* The frame of the function that calls this: where it goes on, and two of its registers there. False: not
 * known for this kind of machine. */
struct os_frame {
    uintptr_t place, stack, frame;
};
bool os_frame_here(struct os_frame *out);
/* The same of a function that hands its __builtin_frame_address(0) on. Where it is known, the stack goes on
 * so many words from there, and the place lies just before. */
#define OS_FRAME_WORDS 2
bool os_frame_of(const void *frame_address, struct os_frame *out);

/* ---------------------------------------------------------------- pages of this process */

/* A descriptor for the two questions below, or -errno. */
int os_pagemap_open(void);
/* Which of `count` pages (a multiple of 64) hold something of this process alone: a bit each. A page that was
 * never touched, or that is still a mapped file's, holds nothing of its own. 0 or -errno. */
int os_pages_own(int pagemap, const void *address, uint32_t count, uint64_t *bits);

/* Which of `count` pages have memory at this moment: a byte each, of which bit 0 tells. A page that was never
 * touched has none, nor has one that is swapped out. 0 or -errno. */
int os_pages_resident(const void *address, uint64_t count, unsigned char *out);
/* Reads this process's own memory, which may be closed or gone: no signal then, but -EFAULT, or fewer bytes.
 */
int64_t os_read_memory(const void *from, size_t bytes, void *out);

/* userfaultfd: notice of writes to a range. WAITING: whoever writes to a protected page waits until it is
 * released, the kernel and other processes included; only where the process may. NOTING: a write is only
 * remembered, see os_pages_written() (Linux 6.7). A descriptor, or -errno. */
enum os_watch { OS_WATCH_WAITING, OS_WATCH_NOTING };
int os_watch_open(enum os_watch how);
/* Includes a range that is mapped as one. */
int os_watch_range(int watch, void *address, uint64_t bytes);
/* Protects it (WAITING). */
int os_watch_protect(int watch, void *address, uint64_t bytes);
/* Takes protection away and wakes who waits, also when something else is mapped there by now. */
void os_watch_release(int watch, void *address, uint64_t bytes);
/* NOTING: protects it; with `bits`: which of `count` pages have been written since, a bit each. 0 or -errno.
 */
int os_pages_note(int pagemap, void *address, uint32_t count);
int os_pages_written(int pagemap, void *address, uint32_t count, uint64_t *bits);

/* How many mappings a process may have. */
uint64_t os_mappings_limit(void);
/* Memory of this process that is locked, in bytes. */
uint64_t os_locked_bytes(void);
/* Calls visit(start, end, readable and writable and private) for each mapping of this process until it
 * returns non-zero; returns that. */
int os_each_mapping(int (*visit)(uint64_t start, uint64_t end, bool plain, void *argument), void *argument);

/* ---------------------------------------------------------------- threads of this process */

int32_t os_thread(void);
/* True: there is no other thread, and none can come into being but by this one. */
static inline bool os_is_alone(void)
{
    return __libc_single_threaded != 0;
}
void os_give_way(void); /* to threads that wait for this processor */
/* Calls visit(tid) for each thread of this process until it returns non-zero; returns that. */
int os_each_thread(int (*visit)(int32_t thread, void *argument), void *argument);
int os_signal_thread(int32_t thread, int signal);
enum os_thread_state { OS_THREAD_RUNS, OS_THREAD_ENDED, OS_THREAD_BLOCKS_SIGNAL };
enum os_thread_state os_thread_state(int32_t thread, int signal);
/* The number after `key` in a text of "key number" lines; `none` when it is not there or no number. */
uint64_t os_number_after(const char *text, const char *key, uint64_t none);
/* The number in hexadecimal behind `key` in a text of /proc, 0: it is not there. */
uint64_t os_hexadecimal_after(const char *text, const char *key);
/* How many threads this process has, the calling one included, that have not ended. */
uint32_t os_thread_count(void);
/* The calling thread gets a table of descriptors of its own, an empty one: what it opens the program neither
 * sees nor closes. 0 or -errno (before Linux 5.9). */
int os_own_descriptors(void);
void os_name_thread(const char *name);
bool os_thread_is_named(int32_t thread, const char *name);
uint64_t os_thread_time(void); /* ns of processor time of the calling thread */

/* A system call that a thread sleeps in. */
struct os_call {
    int64_t number; /* < 0: in none, or not known */
    uint64_t argument[6];
    uint64_t stack, place; /* its registers */
};
void os_thread_call(int32_t thread, struct os_call *out);

/* How a thread was interrupted. Sets of signals have a bit each. */
struct os_interruption {
    int signal;             /* the handler's */
    uint64_t blocked;       /* while the handler runs: all that have a handler of the program's */
    uint64_t left_to_first; /* for the process's first thread to take, if they are for the process */
};

/* In the handler of a signal: if it broke off a system call, have that call go on as if there had been no
 * signal. `seen`: what os_thread_call() said shortly before, or number -1. A timed call goes on for what is
 * left of its time as far as that can be known: at the most it begins anew once. A pending signal of the
 * program's ends it, as ever. */
void os_resume_call(void *context, const struct os_call *seen, const struct os_interruption *by);
/* The signals that the interrupted thread blocks. */
uint64_t os_context_blocked(void *context);
/* The stack pointer of the interrupted thread; 0: not known. False when this kind of machine cannot resume.
 */
uint64_t os_context_stack(void *context);
bool os_can_resume(void);

/* ---------------------------------------------------------------- processes */

int32_t os_process(void);
int32_t os_session(void);
int32_t os_parent(void);
uid_t os_user(void);     /* effective */
uint64_t os_clock(void); /* ns since boot, sleep included */
uint64_t os_date(void);  /* ns since 1970 */
/* A clock that costs next to nothing, of no known rate and not to be relied on: for statistics. */
uint64_t os_beat(void);
void os_host(char *out, size_t bytes); /* the name of this machine, cut to fit */
uint64_t os_random(void);
uint64_t os_pid_namespace(void); /* 0: unknown */

/* Nanoseconds since boot as /proc counts them. */
uint64_t os_ticks(uint64_t nanoseconds);

/* Start time of a process in ticks since boot; -ESRCH when there is none, other -errno when it
 * cannot be told. *ended: it is a zombie all of whose threads have ended. */
int os_process_start(int32_t pid, uint64_t *start, bool *ended);

/* Calls visit(pid) for each process that /proc shows until it returns non-zero; returns that. */
int os_each_process(int (*visit)(int32_t pid, void *argument), void *argument);

/* The real user of a process, UINT32_MAX when it cannot be told. */
uid_t os_process_user(int32_t pid);

/* False: there is no process of that number. */
bool os_process_exists(int32_t pid);

/* Does a task of the process map this file? 1, 0, or -errno when it cannot be told. */
int os_process_maps(int32_t pid, uint64_t device, uint64_t inode);

/* Does this process map the file at this address, shared and writable? */
bool os_mapped_writable_at(uint64_t address, uint64_t device, uint64_t inode);

/* The short name of the calling process. */
void os_command(char out[16]);

/* As pthread_atfork(), but for good: those handlers go when exit() has come to the library that registered
 * them, and other threads may still fork after that. So a library that uses it is never unloaded. */
int os_on_fork(void (*prepare)(void), void (*parent)(void), void (*child)(void));

/* The values of some variables as they stood in the environment when this process started, each cut at
 * bytes - 1, with a NUL. Of one that is not there the length is -ENOENT: in a setuid or setgid program, of
 * all. 0 or -errno when the environment cannot be read: no descriptor, or a program that has dropped
 * privileges. */
struct os_variable {
    const char *name; /* at most OS_VARIABLE_NAME bytes */
    char *out;
    size_t bytes;
    int64_t length;
};
#define OS_VARIABLE_NAME 31u
int os_first_environment(struct os_variable *wanted, size_t count);
/* The same in an environment as getenv() has it, which ends with a NULL. */
void os_look_up(const char *const *environment, struct os_variable *wanted, size_t count);

/* The processors that this process, its first thread, may run on: a bit each. 0 or -errno. */
int os_processors(uint64_t *bits, size_t bytes);

/* The process that made a pair of connected sockets, of which the descriptor is one; -errno: it is none. */
int32_t os_socket_maker(int descriptor);

/* Waits until *word is not `seen`, at most `patience` ns. Shared between processes. 0 or -errno: -EFAULT when
 * there is no memory, and nothing was waited for. */
int os_wait(_Atomic uint32_t *word, uint32_t seen, uint64_t patience);
void os_wake(_Atomic uint32_t *word);
bool os_wake_one(_Atomic uint32_t *word); /* false: nobody was waiting */
void os_pause(uint64_t nanoseconds);

#endif

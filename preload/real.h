/* SPDX-License-Identifier: MIT
 *
 * The next allocator: whatever malloc the program would have without us.
 *
 * Usable from the first instruction: the function pointers begin as resolvers that look the next
 * definitions up and replace themselves. dlsym() may call calloc() while that goes on; it is then served
 * from the bootstrap arena, whose pointers are known by their address, are never freed, and are copied
 * out by realloc. After bring-up nothing here calls the dynamic linker.
 */
#ifndef SHM_REAL_H
#define SHM_REAL_H

#include <link.h>
#include <pthread.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>
#include <sys/uio.h>

#include "base.h"

struct real_allocator {
    void *(*malloc)(size_t bytes);
    void *(*calloc)(size_t count, size_t bytes);
    void *(*realloc)(void *pointer, size_t bytes);
    void (*free)(void *pointer);
    void *(*memalign)(size_t alignment, size_t bytes);
    void *(*aligned_alloc)(size_t alignment, size_t bytes);
    int (*posix_memalign)(void **out, size_t alignment, size_t bytes);
    void *(*valloc)(size_t bytes);
    void *(*pvalloc)(size_t bytes);
    size_t (*malloc_usable_size)(void *pointer);
    void (*free_sized)(void *pointer, size_t bytes);                           /* NULL before glibc 2.43 */
    void (*free_aligned_sized)(void *pointer, size_t alignment, size_t bytes); /* likewise */
    int (*madvise)(void *address, size_t bytes, int advice);
    int (*mprotect)(void *address, size_t bytes, int protection);
    void *(*dlopen)(const char *file, int mode);
    int (*dlclose)(void *handle);
    int (*dl_iterate_phdr)(int (*callback)(struct dl_phdr_info *info, size_t bytes, void *argument),
                           void *argument);
    ssize_t (*process_vm_writev)(pid_t pid, const struct iovec *local, unsigned long local_count,
                                 const struct iovec *remote, unsigned long remote_count, unsigned long flags);
    int (*pthread_create)(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *argument);
};

extern INTERNAL struct real_allocator real;

/* Looks everything up now; called at bring-up, harmless to repeat. */
void real_resolve(void);

#endif

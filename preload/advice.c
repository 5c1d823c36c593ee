/* SPDX-License-Identifier: MIT */
#include "advice.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "export.h"
#include "private.h"
#include "real.h"
#include "standing.h"

enum { DONTNEED_LOCKED = 24 /* MADV_DONTNEED_LOCKED, Linux 5.18 */ };

/* The pages keep their memory: giving it back would let a later touch fail on a full file system. */
static void forget(shmcore_segment *segment, void *address, size_t bytes)
{
    memset(address, 0, least(bytes, export_left(segment, address)));
}

/* Its pages may be those of a canonical copy, which must not show through. */
static int take_for_private(void *address, size_t bytes, int advice)
{
    switch (advice) {
    case MADV_DONTNEED:
    case DONTNEED_LOCKED:
        if (bytes == 0 || private_forget(address, bytes) == 0)
            return 0;
        errno = ENOMEM;
        return -1;
    case MADV_FREE:
        return 0;
    case MADV_DONTFORK:
    case MADV_WIPEONFORK: /* the kernel knows it for a process's own memory only */
        if (!private_bar(address, bytes, true)) {
            errno = EAGAIN;
            return -1;
        }
        return real.madvise(address, bytes, advice);
    case MADV_DOFORK:
    case MADV_KEEPONFORK:
        private_bar(address, bytes, false);
        return real.madvise(address, bytes, advice);
    default:
        return real.madvise(address, bytes, advice);
    }
}

int advice_take(void *address, size_t bytes, int advice)
{
    shmcore_segment *segment = export_segment_of(address);
    const size_t whole = align_up(bytes, PAGE_BYTES);
    if (private_owns(address) && (uintptr_t)address % PAGE_BYTES == 0)
        return take_for_private(address, whole, advice);
    if (segment == NULL || (uintptr_t)address % PAGE_BYTES != 0 || whole == 0)
        return real.madvise(address, bytes, advice);
    switch (advice) {
    case MADV_DONTNEED:
    case DONTNEED_LOCKED:
        forget(segment, address, whole);
        return 0;
    case MADV_FREE: /* the kernel may keep the contents, and so do we */
        return 0;
    case MADV_REMOVE: /* would make a hole in the file, beneath our tables */
        errno = EINVAL;
        return -1;
    default:
        return real.madvise(address, bytes, advice);
    }
}

int advice_protect(void *address, size_t bytes, int protection)
{
    struct arena *arena = private_alter_begin(address, bytes);
    if (arena == NULL && export_segment_of(address) != NULL)
        standing_be_wary();
    const int result = real.mprotect(address, bytes, protection);
    private_alter_end(arena);
    return result;
}

/* Extents have their last page for themselves, slots may share it. */
void advice_free_of_protection(const void *block)
{
    if (LIKELY(standing_is_usual()))
        return;
    shmcore_segment *segment = export_segment_of(block);
    const size_t bytes = segment != NULL ? export_left(segment, block) : 0;
    const uintptr_t start = align_up((uintptr_t)block, PAGE_BYTES);
    const uintptr_t stop = (uintptr_t)block + bytes;
    const uintptr_t end = bytes >= SLOT_BYTES_END ? align_up(stop, PAGE_BYTES) : align_down(stop, PAGE_BYTES);
    if (end > start && real.mprotect != NULL)
        real.mprotect((void *)start, end - start, PROT_READ | PROT_WRITE);
}

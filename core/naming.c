/* SPDX-License-Identifier: MIT
 *
 * shmcore_shim_*: blocks named PREFIX_alloc_N by a counter, Umpire's NamingShim. A shim is a page of its own:
 * the core has no heap, and programs have few shims.
 */
#include <errno.h>
#include <string.h>

#include "handle.h"
#include "os.h"
#include "text.h"

#define SHIM_MAGIC UINT64_C(0x6d6968732d6d6873)
/* Digits of the largest counter, "_alloc_" and a NUL. */
#define NAME_TAIL  32u

struct shmcore_shim {
    uint64_t magic;
    shmcore_segment *segment;
    _Atomic uint64_t next;
    char prefix[SHMCORE_NAME_MAX + 1];
};

shmcore_shim *shmcore_shim_create(shmcore_segment *segment, const char *prefix)
{
    void *page;
    if (!segment_is_usable(segment, true))
        return NULL;
    const size_t length = prefix != NULL ? strlen(prefix) : 0;
    if (length == 0 || !text_is_printable(prefix, length)) {
        error_set(EINVAL, "a naming shim needs a prefix of printable UTF-8");
        return NULL;
    }
    if (length > SHMCORE_NAME_MAX - NAME_TAIL) {
        error_set(ENAMETOOLONG, "the prefix is %zu bytes long; at most %u are possible", length,
                  (unsigned)(SHMCORE_NAME_MAX - NAME_TAIL));
        return NULL;
    }
    if (os_map_private(sizeof(struct shmcore_shim), &page) != 0) {
        error_set(ENOMEM, "no memory for a naming shim");
        return NULL;
    }
    shmcore_shim *shim = page;
    shim->magic = SHIM_MAGIC;
    shim->segment = segment;
    memcpy(shim->prefix, prefix, length + 1);
    return shim;
}

static bool is_shim(const shmcore_shim *shim)
{
    if (shim != NULL && shim->magic == SHIM_MAGIC)
        return true;
    error_set(EINVAL, "that is no naming shim");
    return false;
}

void *shmcore_shim_allocate(shmcore_shim *shim, size_t bytes)
{
    char name[SHMCORE_NAME_MAX + 1];
    if (!is_shim(shim))
        return NULL;
    const uint64_t number = atomic_fetch_add_explicit(&shim->next, 1, memory_order_relaxed);
    error_format(name, sizeof name, "%s_alloc_%lu", shim->prefix, (unsigned long)number);
    return shmcore_allocate(shim->segment, name, bytes);
}

int shmcore_shim_deallocate(shmcore_shim *shim, void *pointer)
{
    return is_shim(shim) ? shmcore_deallocate(shim->segment, pointer) : -1;
}

void shmcore_shim_destroy(shmcore_shim *shim)
{
    if (shim == NULL || !is_shim(shim))
        return;
    shim->magic = 0;
    os_unmap(shim, sizeof *shim);
}

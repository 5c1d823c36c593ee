/* SPDX-License-Identifier: MIT */
#include "real.h"

#include <dlfcn.h>
#include <errno.h>
#include <stdatomic.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include "base.h"
#include "operators.h"

#define ARENA_BYTES     ((size_t)64 << 10)
#define ARENA_ALIGNMENT 64u

/* Each block is preceded by its size, which realloc needs. */
static NEEDED_LATER _Alignas(ARENA_ALIGNMENT) unsigned char arena[ARENA_BYTES];
static _Atomic size_t arena_used;

static bool in_arena(const void *pointer)
{
    return (uintptr_t)pointer - (uintptr_t)arena < ARENA_BYTES;
}

static void *arena_allocate(size_t alignment, size_t bytes)
{
    if (alignment < 16)
        alignment = 16;
    if (bytes > ARENA_BYTES || alignment > ARENA_BYTES)
        return NULL;
    const size_t step = align_up(bytes + alignment + sizeof(size_t), 16);
    const size_t start = atomic_fetch_add(&arena_used, step);
    if (start + step > ARENA_BYTES) {
        errno = ENOMEM;
        return NULL;
    }
    const uintptr_t address = align_up((uintptr_t)arena + start + sizeof(size_t), alignment);
    memcpy((void *)(address - sizeof bytes), &bytes, sizeof bytes);
    return (void *)address;
}

static size_t arena_size(const void *pointer)
{
    size_t bytes;
    memcpy(&bytes, (const unsigned char *)pointer - sizeof bytes, sizeof bytes);
    return bytes;
}

/* ---------------------------------------------------------------- what was found */

static struct real_allocator next;
static _Atomic bool resolving;

/* While the look-up is under way its own allocations come from the arena. */
static bool must_use_arena(void)
{
    if (atomic_load(&resolving))
        return true;
    real_resolve();
    return next.malloc == NULL;
}

static void *first_malloc(size_t bytes)
{
    return must_use_arena() ? arena_allocate(16, bytes) : next.malloc(bytes);
}

static void *first_calloc(size_t count, size_t bytes)
{
    size_t total;
    if (!must_use_arena())
        return next.calloc(count, bytes);
    if (multiply_overflows(count, bytes, &total)) {
        errno = ENOMEM;
        return NULL;
    }
    return arena_allocate(16, total); /* never used before: zero */
}

static void *first_memalign(size_t alignment, size_t bytes)
{
    return must_use_arena() ? arena_allocate(alignment, bytes) : next.memalign(alignment, bytes);
}

static void *first_aligned_alloc(size_t alignment, size_t bytes)
{
    return must_use_arena() ? arena_allocate(alignment, bytes) : next.aligned_alloc(alignment, bytes);
}

static int first_posix_memalign(void **out, size_t alignment, size_t bytes)
{
    if (!must_use_arena())
        return next.posix_memalign(out, alignment, bytes);
    void *pointer = arena_allocate(alignment, bytes);
    if (pointer == NULL)
        return ENOMEM;
    *out = pointer;
    return 0;
}

static void *first_valloc(size_t bytes)
{
    return must_use_arena() ? arena_allocate(4096, bytes) : next.valloc(bytes);
}

static void *first_pvalloc(size_t bytes)
{
    return must_use_arena() ? arena_allocate(4096, align_up(bytes, 4096)) : next.pvalloc(bytes);
}

/* The arena is never given back, so these three stay in place for good: they cost one comparison. */
static void arena_or_free(void *pointer)
{
    if (pointer == NULL || in_arena(pointer))
        return;
    if (UNLIKELY(next.free == NULL))
        real_resolve();
    if (LIKELY(next.free != NULL))
        next.free(pointer);
}

static void *arena_or_realloc(void *pointer, size_t bytes)
{
    if (pointer == NULL)
        return real.malloc(bytes);
    if (!in_arena(pointer))
        return next.realloc(pointer, bytes);
    void *moved = real.malloc(bytes);
    if (moved != NULL)
        memcpy(moved, pointer, least(bytes, arena_size(pointer)));
    return moved;
}

static size_t arena_or_usable_size(void *pointer)
{
    if (pointer == NULL)
        return 0;
    return in_arena(pointer) ? arena_size(pointer) : next.malloc_usable_size(pointer);
}

struct real_allocator real = {
    .malloc = first_malloc,
    .calloc = first_calloc,
    .realloc = arena_or_realloc,
    .free = arena_or_free,
    .memalign = first_memalign,
    .aligned_alloc = first_aligned_alloc,
    .posix_memalign = first_posix_memalign,
    .valloc = first_valloc,
    .pvalloc = first_pvalloc,
    .malloc_usable_size = arena_or_usable_size,
};

/* ISO C has no conversion from an object pointer to a function pointer; POSIX promises that this works. */
static bool look_up(const char *name, void *function_pointer)
{
    void *symbol = dlsym(RTLD_NEXT, name);
    memcpy(function_pointer, &symbol, sizeof symbol);
    return symbol != NULL;
}

/* One that the C library may not have: dlsym() would allocate an error. */
static void look_up_newer(const char *name, void *function_pointer)
{
    void *symbol = operator_next_named(name);
    memcpy(function_pointer, &symbol, sizeof symbol);
}

void real_resolve(void)
{
    struct real_allocator found = {0};
    if (next.malloc != NULL || atomic_exchange(&resolving, true))
        return;
    const int kept_errno = errno;
    look_up("dl_iterate_phdr", &real.dl_iterate_phdr); /* operator_next_named() asks it */
    found.dl_iterate_phdr = real.dl_iterate_phdr;
    const bool whole =
        look_up("malloc", &found.malloc) && look_up("calloc", &found.calloc) &&
        look_up("realloc", &found.realloc) && look_up("free", &found.free) &&
        look_up("memalign", &found.memalign) && look_up("aligned_alloc", &found.aligned_alloc) &&
        look_up("posix_memalign", &found.posix_memalign) && look_up("valloc", &found.valloc) &&
        look_up("pvalloc", &found.pvalloc) && look_up("malloc_usable_size", &found.malloc_usable_size);
    look_up("madvise", &found.madvise);
    look_up("mprotect", &found.mprotect);
    look_up("dlopen", &found.dlopen);
    look_up("dlclose", &found.dlclose);
    look_up("pthread_create", &found.pthread_create);
    look_up("process_vm_writev", &found.process_vm_writev);
    look_up_newer("free_sized", &found.free_sized);
    look_up_newer("free_aligned_sized", &found.free_aligned_sized);
    errno = kept_errno;
    if (whole) {
        next = found;
        real = found;
        if (atomic_load(&arena_used) != 0) { /* some pointers of the arena are out there */
            real.realloc = arena_or_realloc;
            real.free = arena_or_free;
            real.malloc_usable_size = arena_or_usable_size;
        }
    }
    atomic_store(&resolving, false);
}

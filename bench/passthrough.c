/* SPDX-License-Identifier: MIT
 *
 * The least that a preload library can do: it has the whole malloc family and hands each call on to the next
 * one. What the shim costs beyond this is the shim's own.
 *
 * The next functions are looked up once, before the program begins. dlsym() may ask for a little memory
 * meanwhile, which comes from a small arena that is never freed.
 */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdalign.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { ARENA_BYTES = 16384, ALIGNMENT = 16 };

static struct {
    void *(*malloc)(size_t bytes);
    void *(*calloc)(size_t count, size_t each);
    void *(*realloc)(void *pointer, size_t bytes);
    void (*free)(void *pointer);
    void *(*memalign)(size_t alignment, size_t bytes);
    void *(*aligned_alloc)(size_t alignment, size_t bytes);
    int (*posix_memalign)(void **out, size_t alignment, size_t bytes);
    void *(*valloc)(size_t bytes);
    void *(*pvalloc)(size_t bytes);
    size_t (*malloc_usable_size)(void *pointer);
} next;

static struct {
    bool looking_up;
    size_t used;
    alignas(ALIGNMENT) char bytes[ARENA_BYTES];
} arena;

static void look_up(void *place, const char *name)
{
    void *const found = dlsym(RTLD_NEXT, name);
    memcpy(place, &found, sizeof found);
}

static __attribute__((constructor)) void look_all_up(void)
{
    if (next.free != NULL || arena.looking_up)
        return;
    arena.looking_up = true;
    look_up(&next.malloc, "malloc");
    look_up(&next.calloc, "calloc");
    look_up(&next.realloc, "realloc");
    look_up(&next.memalign, "memalign");
    look_up(&next.aligned_alloc, "aligned_alloc");
    look_up(&next.posix_memalign, "posix_memalign");
    look_up(&next.valloc, "valloc");
    look_up(&next.pvalloc, "pvalloc");
    look_up(&next.malloc_usable_size, "malloc_usable_size");
    look_up(&next.free, "free"); /* the last: with it all are there */
    arena.looking_up = false;
}

static bool is_ready(void)
{
    if (__builtin_expect(next.free == NULL, 0))
        look_all_up();
    return next.free != NULL;
}

static void *from_arena(size_t bytes)
{
    const size_t at = arena.used;
    if (bytes > ARENA_BYTES - at)
        return NULL;
    arena.used = (at + bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    return arena.bytes + at;
}

static bool is_of_arena(const void *pointer)
{
    return (uintptr_t)pointer - (uintptr_t)arena.bytes < ARENA_BYTES;
}

EXPORT void *malloc(size_t bytes)
{
    return is_ready() ? next.malloc(bytes) : from_arena(bytes);
}

EXPORT void *calloc(size_t count, size_t each)
{
    return is_ready() ? next.calloc(count, each) : from_arena(count * each);
}

EXPORT void *realloc(void *pointer, size_t bytes)
{
    if (__builtin_expect(is_of_arena(pointer), 0)) {
        void *moved = malloc(bytes);
        const size_t rest = (size_t)(arena.bytes + ARENA_BYTES - (char *)pointer);
        return moved == NULL ? NULL : memcpy(moved, pointer, bytes < rest ? bytes : rest);
    }
    return is_ready() ? next.realloc(pointer, bytes) : from_arena(bytes);
}

EXPORT void free(void *pointer)
{
    if (__builtin_expect(!is_of_arena(pointer), 1) && is_ready())
        next.free(pointer);
}

EXPORT void *memalign(size_t alignment, size_t bytes)
{
    return is_ready() ? next.memalign(alignment, bytes) : NULL;
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes)
{
    return is_ready() ? next.aligned_alloc(alignment, bytes) : NULL;
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    return is_ready() ? next.posix_memalign(out, alignment, bytes) : ENOMEM;
}

EXPORT void *valloc(size_t bytes)
{
    return is_ready() ? next.valloc(bytes) : NULL;
}

EXPORT void *pvalloc(size_t bytes)
{
    return is_ready() ? next.pvalloc(bytes) : NULL;
}

EXPORT size_t malloc_usable_size(void *pointer)
{
    return is_of_arena(pointer) || !is_ready() ? 0 : next.malloc_usable_size(pointer);
}

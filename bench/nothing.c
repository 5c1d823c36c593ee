/* SPDX-License-Identifier: MIT
 *
 * No allocator: malloc() of 64 bytes hands out the same block each time, and free() does nothing. So this is
 * what a loop around them costs, whoever allocates, and no allocator comes below. For `bench-blocks pair`,
 * which has one block at a time; whatever else is asked for comes from a small arena, and for that, too,
 * free() does nothing.
 */
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define EXPORT __attribute__((visibility("default")))

enum { BLOCK_BYTES = 64, ALIGNMENT = 16, ARENA_BYTES = 4 << 20 };

static _Alignas(BLOCK_BYTES) unsigned char block[BLOCK_BYTES], arena[ARENA_BYTES];
static size_t used;

/* Before each one its size, for realloc(). */
static void *take(size_t bytes)
{
    const size_t whole = (bytes + 2 * ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    if (bytes > ARENA_BYTES || whole > ARENA_BYTES - used)
        return NULL;
    unsigned char *taken = arena + used + ALIGNMENT;
    memcpy(taken - sizeof bytes, &bytes, sizeof bytes);
    used += whole;
    return taken;
}

EXPORT void *malloc(size_t bytes)
{
    return bytes == BLOCK_BYTES ? block : take(bytes);
}

EXPORT void free(void *pointer)
{
    (void)pointer;
}

EXPORT void *calloc(size_t count, size_t each)
{
    return each != 0 && count > ARENA_BYTES / each ? NULL : take(count * each); /* it is zero */
}

EXPORT void *realloc(void *pointer, size_t bytes)
{
    size_t before = pointer == block ? BLOCK_BYTES : 0;
    void *moved = take(bytes);
    if (pointer != NULL && pointer != block)
        memcpy(&before, (unsigned char *)pointer - sizeof before, sizeof before);
    if (moved != NULL && pointer != NULL)
        memcpy(moved, pointer, before < bytes ? before : bytes);
    return moved;
}

/* SPDX-License-Identifier: MIT
 *
 * Allocates in the ways that advice has to tell apart: in a function of its own, through wrappers that
 * callers have in common with others, and twice through one in the same function. It is there to be recorded.
 * Blocks of odd number are the same in each process.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define BYTES ((size_t)1 << 20)

static void *kept[16];
static unsigned count;

/* What is the process's own has its number in it. */
static void keep(void *block, int byte)
{
    if (block == NULL)
        abort();
    memset(block, byte, BYTES);
    for (size_t i = 0; byte % 2 == 0 && i < BYTES; i += sizeof(pid_t))
        *(pid_t *)(void *)((char *)block + i) = getpid();
    kept[count++] = block;
}

static void make_table(void)
{
    keep(malloc(BYTES), 1);
}

static void make_noise(void)
{
    keep(malloc(BYTES), 2);
}

/* The name says that it is a wrapper. */
static void *table_alloc(size_t bytes)
{
    void *block = malloc(bytes);
    if (block == NULL)
        abort();
    return block;
}

static void build_sections(void)
{
    keep(table_alloc(BYTES), 3);
}

static void build_scratch(void)
{
    keep(table_alloc(BYTES), 4);
}

/* The name does not say it. */
static void *obtain(size_t bytes)
{
    void *block = calloc(1, bytes);
    if (block == NULL)
        abort();
    return block;
}

static void build_mesh(void)
{
    keep(obtain(BYTES), 5);
}

static void build_halo(void)
{
    keep(obtain(BYTES), 6);
}

static void *acquire(size_t bytes)
{
    void *block = malloc(bytes);
    if (block == NULL)
        abort();
    return block;
}

static void build_both(void)
{
    keep(acquire(BYTES), 7);
    keep(acquire(BYTES), 8);
}

int main(void)
{
    make_table();
    make_noise();
    build_sections();
    build_scratch();
    build_mesh();
    build_halo();
    build_both();
    return kept[0] == NULL;
}

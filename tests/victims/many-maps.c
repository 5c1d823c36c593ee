/* SPDX-License-Identifier: MIT
 *
 * Victim: maps pages until the kernel gives no further mapping (vm.max_map_count), then asks for memory,
 * forks and asks again in both; `many-maps late`: it has a block before. At last it unmaps them and asks
 * again.
 */
#include "child.h"
#include "some-blocks.h"

#include <malloc.h>
#include <sys/mman.h>

enum { PAGE = 4096, MOST = 70000 };

/* The child says whether it found what was there, and that is all: with no mapping left it may share the
 * block. */
static void fork_now(unsigned char *block)
{
    fill(block, BYTES, 5);
    const pid_t child = checked_fork();
    if (child == 0) {
        const bool inherited = is_filled(block, BYTES, 5);
        unsigned char *own = store(BYTES);
        fill(own, BYTES, 6);
        _exit(inherited && is_filled(own, BYTES, 6) ? 0 : 1);
    }
    check(ends_well(child), "a child finds the block and gets another one");
    check(is_filled(block, BYTES, 5), "the block is as it was");
}

int main(int count, char **arguments)
{
    unsigned number = 0;
    mallopt(M_MMAP_THRESHOLD, 1 << 30); /* the C library's own heap holds what is needed here */
    mallopt(M_TRIM_THRESHOLD, 1 << 30);
    free(hide(malloc(8 << 20)));
    unsigned char *block = count > 1 ? store(BYTES) : NULL;
    char *room =
        mmap(NULL, (size_t)MOST * 2 * PAGE, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (room == MAP_FAILED)
        return 2;
    /* neighbours that differ are not joined */
    while (number < MOST && mprotect(room + (size_t)number * 2 * PAGE, PAGE, PROT_READ) == 0)
        number++;
    while (mmap(NULL, PAGE, PROT_READ, MAP_SHARED | MAP_ANONYMOUS, -1, 0) != MAP_FAILED)
        continue;
    check(number < MOST, "no mapping is left");
    some_blocks("contents without a mapping");
    if (count > 1 && strcmp(arguments[1], "fork") == 0)
        fork_now(block);
    munmap(room, (size_t)MOST * 2 * PAGE);
    some_blocks("contents with mappings");
    free(block);
    return verdict();
}

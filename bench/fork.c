/* SPDX-License-Identifier: MIT
 *
 * What a fork costs with so many MiB of memory in blocks of 16 MiB: `bench-fork MIB ROUNDS` prints the median
 * time that fork() takes in the parent and the median time until the child runs, both in microseconds, and
 * what a plain copy of the same memory to fresh pages takes. Knows nothing of the shim: bench/run starts it
 * with and without.
 */
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

enum { BLOCKS_MOST = 4096, ROUNDS_MOST = 100000 };

#define BLOCK_BYTES ((size_t)16 << 20)

static __attribute__((noinline)) void *make_block(size_t bytes)
{
    void *volatile block = malloc(bytes);
    return block;
}

/* Nanoseconds, page faults included, as fork=copy has them. */
static double time_copy(void *const *block, size_t blocks)
{
    const size_t bytes = blocks * BLOCK_BYTES;
    char *copy =
        mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (copy == MAP_FAILED)
        exit(1);
    const double start = now();
    for (size_t i = 0; i < blocks; i++)
        memcpy(copy + i * BLOCK_BYTES, block[i], BLOCK_BYTES);
    const double taken = now() - start;
    munmap(copy, bytes);
    return taken;
}

int main(int count, char **words)
{
    static void *block[BLOCKS_MOST];
    static double in_parent[ROUNDS_MOST], in_child[ROUNDS_MOST];
    const size_t blocks = (number_in(count, words, 1, 0) << 20) / BLOCK_BYTES;
    const size_t rounds = number_in(count, words, 2, 1000);
    if (blocks > BLOCKS_MOST || rounds > ROUNDS_MOST || rounds == 0)
        return 2;
    double *const child_runs = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (child_runs == MAP_FAILED)
        return 1;
    free(make_block(BLOCK_BYTES)); /* whoever exports such blocks is attached, but has none */
    for (size_t i = 0; i < blocks; i++) {
        block[i] = make_block(BLOCK_BYTES);
        if (block[i] == NULL)
            return 1;
        memset(block[i], 1, BLOCK_BYTES);
    }
    for (size_t i = 0; i < rounds; i++) {
        const double start = now();
        const pid_t child = fork();
        if (child == 0) {
            *child_runs = now();
            _exit(0);
        }
        in_parent[i] = now() - start;
        if (child < 0 || waitpid(child, NULL, 0) != child)
            return 1;
        in_child[i] = *child_runs - start;
    }
    print_figure("parent", median(in_parent, rounds) / 1e3);
    print_figure("child", median(in_child, rounds) / 1e3);
    if (blocks > 0)
        print_figure("copy", time_copy(block, blocks) / 1e3);
    return 0;
}

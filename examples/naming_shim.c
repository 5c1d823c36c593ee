/* SPDX-License-Identifier: MIT
 *
 * The naming shim: blocks that need no name from the caller.
 *
 * A shim gives the n-th allocation the name PREFIX_alloc_n. Two processes that make the same
 * calls in the same order therefore get the same blocks. Here the second process is this program
 * started again: it allocates what the first one did and finds the first one's bytes.
 *
 * The order of the calls is the contract: a process that makes them in another order gets other
 * blocks, or EEXIST where the sizes differ. Use names of your own where the order varies.
 */
#include <errno.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <shmcore.h>

#define SEGMENT "SHARED::naming_shim"
#define PREFIX  "rank"

extern char **environ;

static const size_t sizes[] = {4096, 100000, 64};
enum { BLOCKS = sizeof sizes / sizeof sizes[0] };

static int complain(const char *what)
{
    fprintf(stderr, "naming_shim: %s: %s\n", what, shmcore_error());
    return EXIT_FAILURE;
}

static int run_second(void)
{
    char *const arguments[] = {(char[]){"naming_shim"}, (char[]){"second"}, NULL};
    pid_t pid;
    int status;
    int problem = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ);
    if (problem != 0) {
        fprintf(stderr, "naming_shim: cannot start the second process: %s\n", strerror(problem));
        return EXIT_FAILURE;
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return EXIT_FAILURE;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

/* Prints what the block is called; its first byte tells who has filled it. */
static int show(const char *who, const char *pointer)
{
    shmcore_block block;
    if (shmcore_block_of(pointer, &block) != 0)
        return complain("not a block");
    printf("%-6s  %-14s %6zu bytes  %u reference(s)  first byte '%c'\n", who, block.name, block.bytes,
           block.refs, *pointer);
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Block number `i`: the first process marks it 'a', 'b', …; the second must find that mark. */
static int use_block(shmcore_shim *shim, int i, int is_second, char **pointer)
{
    char mark = (char)('a' + i);
    *pointer = shmcore_shim_allocate(shim, sizes[i]);
    if (*pointer == NULL)
        return complain("cannot allocate");
    if (!is_second)
        **pointer = mark;
    if (**pointer != mark) {
        fprintf(stderr, "naming_shim: block %d is not the first process's\n", i);
        return EXIT_FAILURE;
    }
    return show(is_second ? "second" : "first", *pointer);
}

static int use_shim(shmcore_shim *shim, int is_second)
{
    char *blocks[BLOCKS] = {NULL};
    int status = EXIT_SUCCESS;
    for (int i = 0; i < BLOCKS && status == EXIT_SUCCESS; i++)
        status = use_block(shim, i, is_second, &blocks[i]);
    if (status == EXIT_SUCCESS && !is_second)
        status = run_second();
    for (int i = 0; i < BLOCKS; i++)
        if (shmcore_shim_deallocate(shim, blocks[i]) != 0)
            status = complain("cannot deallocate");
    return status;
}

int main(int argc, char **argv)
{
    int is_second = argc == 2 && strcmp(argv[1], "second") == 0;
    shmcore_traits traits = shmcore_default_traits();
    traits.size = (size_t)16 << 20;
    shmcore_segment *segment = shmcore_open(SEGMENT, &traits);
    if (segment == NULL)
        return complain("cannot open " SEGMENT);
    shmcore_shim *shim = shmcore_shim_create(segment, PREFIX);
    int status = shim == NULL ? complain("cannot create the shim") : use_shim(shim, is_second);
    if (shim != NULL)
        shmcore_shim_destroy(shim);
    if (shmcore_close(segment) != 0)
        return complain("cannot close " SEGMENT);
    return status;
}

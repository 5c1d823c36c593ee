/* SPDX-License-Identifier: MIT
 *
 * The named API: two processes, one block.
 *
 * The program opens a segment, allocates a block by name and fills it. Then it starts itself a
 * second time; that process asks for the same name and gets the same bytes, at the same address,
 * without having inherited anything but two command line arguments. Between them they hold two
 * references to one block.
 *
 * Deliberately simple: the first process waits for the second to end, so nothing else needs to
 * keep them in step. Processes that write at the same time need a lock or atomics, as threads do.
 */
#include <errno.h>
#include <inttypes.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include <shmcore.h>

#define SEGMENT "SHARED::named_api"
#define BLOCK   "recipe/field"
#define WORDS   ((size_t)1 << 20)

extern char **environ;

static int complain(const char *what)
{
    fprintf(stderr, "named_api: %s: %s\n", what, shmcore_error());
    return EXIT_FAILURE;
}

static uint64_t sum(const uint64_t *words, size_t count)
{
    uint64_t total = 0;
    for (size_t i = 0; i < count; i++)
        total += words[i];
    return total;
}

/* References to the block that `pointer` lies in, over all processes; 0 if it lies in none. */
static uint32_t references(const void *pointer)
{
    shmcore_block block;
    return shmcore_block_of(pointer, &block) == 0 ? block.refs : 0;
}

static shmcore_segment *open_segment(void)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.size = (size_t)64 << 20;
    return shmcore_open(SEGMENT, &traits);
}

static int report(const char *who, const uint64_t *field)
{
    printf("%-6s  block %s at %p, %" PRIu32 " reference(s), sum %016" PRIx64 "\n", who, BLOCK,
           (const void *)field, references(field), sum(field, WORDS));
    return fflush(stdout) == 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}

/* Starts this program again as the second process; returns its exit status. */
static int run_second(const uint64_t *field)
{
    char address[32];
    snprintf(address, sizeof address, "%p", (const void *)field);
    char *const arguments[] = {(char[]){"named_api"}, (char[]){"second"}, address, NULL};
    pid_t pid;
    int status;
    int problem = posix_spawn(&pid, "/proc/self/exe", NULL, NULL, arguments, environ);
    if (problem != 0) {
        fprintf(stderr, "named_api: cannot start the second process: %s\n", strerror(problem));
        return EXIT_FAILURE;
    }
    while (waitpid(pid, &status, 0) < 0)
        if (errno != EINTR)
            return EXIT_FAILURE;
    return WIFEXITED(status) ? WEXITSTATUS(status) : EXIT_FAILURE;
}

static int first(shmcore_segment *segment)
{
    uint64_t *field = shmcore_allocate(segment, BLOCK, WORDS * sizeof *field);
    if (field == NULL)
        return complain("cannot allocate " BLOCK);
    for (size_t i = 0; i < WORDS; i++)
        field[i] = i * i;
    int status = report("first", field);
    if (run_second(field) != EXIT_SUCCESS)
        status = EXIT_FAILURE;
    if (references(field) != 1) {
        fprintf(stderr, "named_api: the second process has left a reference behind\n");
        status = EXIT_FAILURE;
    }
    if (shmcore_deallocate(segment, field) != 0)
        return complain("cannot deallocate " BLOCK);
    return status;
}

static int second(shmcore_segment *segment, const char *address)
{
    char here[32];
    const uint64_t *field = shmcore_allocate(segment, BLOCK, WORDS * sizeof *field);
    if (field == NULL)
        return complain("cannot attach to " BLOCK);
    int status = report("second", field);
    snprintf(here, sizeof here, "%p", (const void *)field);
    if (shmcore_address_stable(segment) && strcmp(here, address) != 0) {
        fprintf(stderr, "named_api: the block is at %s here and at %s in the first process\n", here, address);
        status = EXIT_FAILURE;
    }
    if (references(field) != 2 || field[WORDS - 1] != (WORDS - 1) * (WORDS - 1)) {
        fprintf(stderr, "named_api: this is not the block of the first process\n");
        status = EXIT_FAILURE;
    }
    if (shmcore_deallocate(segment, (void *)(uintptr_t)field) != 0)
        return complain("cannot deallocate " BLOCK);
    return status;
}

int main(int argc, char **argv)
{
    shmcore_segment *segment = open_segment();
    if (segment == NULL)
        return complain("cannot open " SEGMENT);
    int status = argc == 3 && strcmp(argv[1], "second") == 0 ? second(segment, argv[2]) : first(segment);
    if (shmcore_close(segment) != 0)
        return complain("cannot close " SEGMENT);
    return status;
}

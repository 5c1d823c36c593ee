/* SPDX-License-Identifier: MIT
 *
 * Victim: frees, resizes and measures pointers that are nobody's to free, `misuse-foreign KIND`:
 *   freed, interior   of blocks of its own
 *   tables            in the segment, but in its tables
 *   given, given-shared   from a line of standard input: in another process's memory
 *   nowhere           in the window, but in no segment: in a child, which ends as it does without the shim
 */
#include "child.h"

#include <fcntl.h>
#include <malloc.h>

enum { BYTES = 200000 };

static void wrong_free(void *pointer)
{
    free(hide(pointer));
}

static void *wrong_resize(void *pointer)
{
    return realloc(hide(pointer), 3 * BYTES);
}

static void misuse(unsigned char *pointer)
{
    free(wrong_resize(NULL)); /* there is nothing wrong with that */
    wrong_free(pointer);
    wrong_free(pointer);
    unsigned char *moved = wrong_resize(pointer);
    check(moved != NULL && moved != pointer, "resizing it gives another block");
    fill(moved, 3 * BYTES, 5);
    check(is_filled(moved, 3 * BYTES, 5), "which can be used");
    free(moved);
}

/* The lowest address of the segment. */
static unsigned char *segment_start(void)
{
    char line[512];
    unsigned long start = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps != NULL && start == 0 && fgets(line, sizeof line, maps) != NULL)
        if (strstr(line, "/dev/shm/shmcore.") != NULL)
            start = strtoul(line, NULL, 16);
    if (maps != NULL)
        fclose(maps);
    return (void *)start;
}

static void misuse_and_measure(unsigned char *pointer)
{
    check(malloc_usable_size(hide(pointer)) == 0, "it has no usable size");
    misuse(pointer);
}

static void misuse_tables(void)
{
    unsigned char *start = segment_start();
    check(start != NULL, "the segment is there");
    for (size_t offset = 0; start != NULL && offset < 40960; offset += 4112)
        misuse_and_measure(start + offset);
}

/* A shared block has its size for everybody. */
static void misuse_given(bool shared)
{
    char line[64];
    if (fgets(line, sizeof line, stdin) == NULL)
        return;
    void *pointer = (void *)strtoul(line, NULL, 16);
    if (shared)
        misuse(pointer);
    else
        misuse_and_measure(pointer);
}

static void misuse_nowhere(void)
{
    int status = 0;
    const pid_t child = checked_fork();
    if (child == 0) {
        const int nothing = open("/dev/null", O_WRONLY);
        dup2(nothing, STDERR_FILENO); /* the C library's own complaint */
        wrong_free((void *)0x28ff00000010);
        _exit(0);
    }
    waitpid(child, &status, 0);
    printf("the child ends with %d\n", status);
}

int main(int count, char **arguments)
{
    const char *kind = count > 1 ? arguments[1] : "";
    unsigned char *block = malloc(BYTES), *small = malloc(100), *neighbour = malloc(100);
    check_routed(block, "the block is routed");
    fill(block, BYTES, 1);
    fill(small, 100, 2);
    fill(neighbour, 100, 3);
    if (strcmp(kind, "interior") == 0) {
        misuse_and_measure(block + 16);
        misuse_and_measure(block + 16384);
        misuse_and_measure(small + 16);
    } else if (strcmp(kind, "tables") == 0) {
        misuse_tables();
    } else if (strcmp(kind, "given") == 0 || strcmp(kind, "given-shared") == 0) {
        misuse_given(strcmp(kind, "given") != 0);
    } else if (strcmp(kind, "nowhere") == 0) {
        misuse_nowhere();
    }
    check(is_filled(block, BYTES, 1) && is_filled(small, 100, 2), "the blocks are whole");
    free(block);
    free(small);
    if (strcmp(kind, "freed") == 0) {
        misuse_and_measure(block);
        misuse_and_measure(small);
    }
    check(is_filled(neighbour, 100, 3), "the neighbour is whole");
    await_go("ready");
    free(neighbour);
    return verdict() == 0 ? 7 : 1;
}

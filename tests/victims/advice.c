/* SPDX-License-Identifier: MIT
 *
 * Victim: madvise() on parts of blocks, with the answers that ordinary memory gives; and mprotect() on parts
 * of a block that is freed, or inherited by a child, as it is. `advice across`: advice on a range that goes
 * on beyond its block, as a program must not.
 */
#include "child.h"

#include <malloc.h>
#include <sys/mman.h>

enum { PAGE = 4096, BYTES = 300 * PAGE + 1000 };

static void answer(unsigned char *at, size_t bytes, int advice, const char *name)
{
    errno = 0;
    const int result = madvise(at, bytes, advice);
    printf("%s: %d, errno %d\n", name, result, errno);
}

static unsigned char *make(size_t bytes)
{
    void *block = NULL;
    if (posix_memalign(&block, PAGE, bytes) != 0)
        exit(2);
    check_routed(block, "the block is routed");
    fill(block, bytes, 1);
    return block;
}

static bool was_whole(const unsigned char *block, size_t from, size_t to)
{
    for (size_t i = from; i < to; i++)
        if (block[i] != (unsigned char)(1 + i * 7 + i / 251))
            return false;
    return true;
}

static void forget(void)
{
    unsigned char *block = make(BYTES);
    answer(block + PAGE, 2 * PAGE, MADV_DONTNEED, "two pages");
    check(is_all(block + PAGE, 2 * PAGE, 0), "two pages read as zeros");
    answer(block + 5 * PAGE, PAGE + 1, MADV_DONTNEED, "a page and a byte");
    check(is_all(block + 5 * PAGE, 2 * PAGE, 0), "the page of the byte too");
    answer(block + 9 * PAGE + 1, PAGE, MADV_DONTNEED, "not from a page's start");
    answer(block + 9 * PAGE, 0, MADV_DONTNEED, "nothing");
    check(was_whole(block, 0, PAGE) && was_whole(block, 3 * (size_t)PAGE, 5 * (size_t)PAGE) &&
              was_whole(block, 7 * (size_t)PAGE, BYTES),
          "the rest is as it was");
    fill(block, BYTES, 2);
    check(is_filled(block, BYTES, 2), "all can be written again");
    answer(block, 3 * PAGE, MADV_FREE, "MADV_FREE");
    fill(block, BYTES, 3);
    answer(block + PAGE, PAGE, MADV_REMOVE, "MADV_REMOVE");
    answer(block, PAGE, MADV_WILLNEED, "MADV_WILLNEED");
    answer(block, PAGE, MADV_SEQUENTIAL, "MADV_SEQUENTIAL");
    answer(block, PAGE, MADV_NORMAL, "MADV_NORMAL");
    answer(block, PAGE, MADV_DONTDUMP, "MADV_DONTDUMP");
    answer(block, PAGE, MADV_DODUMP, "MADV_DODUMP");
    answer(block, PAGE, 12345, "no advice at all");
    check(is_filled(block, BYTES, 3), "these leave the contents");
    free(block);
}

static void protect(void)
{
    mallopt(M_MMAP_THRESHOLD, PAGE); /* the C library, too, has to take large blocks apart for this */
    for (int round = 0; round < 3; round++) {
        unsigned char *block = make(BYTES);
        check(mprotect(block + PAGE, PAGE, PROT_NONE) == 0, "a guard page");
        check(mprotect(block + 4 * PAGE, 2 * PAGE, PROT_READ) == 0, "two pages to be read only");
        check(was_whole(block, 2 * (size_t)PAGE, BYTES), "the rest can be read");
        free(block);
        block = calloc(1, BYTES);
        check(block != NULL && is_all(block, BYTES, 0), "the memory can be used again");
        fill(block, BYTES, 4);
        free(block);
    }
}

static void inherit(void)
{
    unsigned char *block = make(BYTES);
    mprotect(block + PAGE, PAGE, PROT_NONE);
    mprotect(block + 4 * PAGE, PAGE, PROT_READ);
    const pid_t child = checked_fork();
    if (child == 0)
        _exit(was_whole(block, 0, PAGE) && was_whole(block, 2 * (size_t)PAGE, BYTES) &&
                      mprotect(block + PAGE, PAGE, PROT_READ | PROT_WRITE) == 0 &&
                      was_whole(block, PAGE, 2 * (size_t)PAGE)
                  ? 0
                  : 1);
    check(ends_well(child), "a child finds the pages behind the guard");
    mprotect(block + PAGE, PAGE, PROT_READ | PROT_WRITE);
    check(was_whole(block, 0, BYTES), "and so does the parent");
    free(block);
}

/* Blocks and, in the shim, tables lie behind the range that is the program's own. */
static void across(void)
{
    unsigned char *block[60];
    const size_t bytes = 6000;
    for (unsigned i = 0; i < 60; i++) {
        block[i] = malloc(bytes);
        fill(block[i], bytes, i);
    }
    unsigned char *page = (unsigned char *)(((uintptr_t)block[10] + PAGE - 1) / PAGE * PAGE);
    answer(page, 50 * (size_t)PAGE, MADV_DONTNEED, "across");
    check(is_all(page, (size_t)(block[10] + bytes - page), 0), "what is the block's reads as zeros");
    bool good = is_filled(block[10], (size_t)(page - block[10]), 10);
    for (unsigned i = 0; i < 60; i++) {
        good = good && (i == 10 || is_filled(block[i], bytes, i));
        free(block[i]);
    }
    check(good, "other blocks are whole");
}

int main(int count, char **arguments)
{
    if (count > 1 && strcmp(arguments[1], "across") == 0)
        across();
    else if (count > 1 && strcmp(arguments[1], "protect") == 0)
        protect();
    else if (count > 1 && strcmp(arguments[1], "inherit") == 0)
        inherit();
    else
        forget();
    await_go("ready");
    return verdict();
}

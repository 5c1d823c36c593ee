/* SPDX-License-Identifier: MIT
 *
 * Victim: allocates what the test of records knows of, one way at a time: `recorded WAY`. Its functions stay
 * on the stack, so that they are found there.
 */
#include "victim.h"

#include <malloc.h>
#include <pthread.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/wait.h>

#define KIB     ((size_t)1024)
#define THREADS 4

static void *keep(void *block)
{
    void *volatile kept = block;
    return kept;
}

static void *plain_make(size_t bytes)
{
    return keep(malloc(bytes));
}

/* Ten blocks of 100 KiB, one after the other; three of 200 KiB together, one of which stays. */
static void counts(void)
{
    static void *stays;
    for (int i = 0; i < 10; i++) {
        void *block = plain_make(100 * KIB);
        memset(block, 'x', 100 * KIB);
        free(block);
    }
    void *three[3];
    for (volatile int i = 0; i < 3; i++) /* not to be unrolled: it is one place */
        three[i] = plain_make(200 * KIB);
    free(three[0]);
    free(three[2]);
    stays = three[1];
    for (int i = 0; i < 5; i++)
        free(plain_make(1000)); /* below what is looked at by itself */
    check(stays != NULL, "blocks are there");
}

static void family(void)
{
    void *block[8] = {
        keep(malloc(70 * KIB)),       keep(calloc(7, 10 * KIB)),         keep(realloc(NULL, 70 * KIB)),
        keep(memalign(64, 70 * KIB)), keep(aligned_alloc(64, 70 * KIB)), keep(valloc(70 * KIB)),
        keep(pvalloc(70 * KIB))};
    check(posix_memalign(&block[7], 4096, 70 * KIB) == 0, "posix_memalign");
    for (int i = 0; i < 8; i++)
        free(block[i]);
}

static void grow(void)
{
    void *block = plain_make(64 * KIB);
    for (size_t bytes = 128 * KIB; bytes <= 1024 * KIB; bytes *= 2)
        block = keep(realloc(block, bytes));
    check(realloc(block, (size_t)1 << 62) == NULL, "an absurd size is refused");
    block = realloc(block, 0);
    check(block == NULL, "realloc to nothing");
}

static void *thread_make(void *argument)
{
    for (int i = 0; i < 2000; i++)
        free(plain_make(64 * KIB + (size_t)i % 7));
    return keep(malloc(*(size_t *)argument)); /* freed by another thread */
}

static void threads(void)
{
    size_t bytes = 300 * KIB;
    pthread_t thread[THREADS];
    for (int i = 0; i < THREADS; i++)
        pthread_create(&thread[i], NULL, thread_make, &bytes);
    for (int i = 0; i < THREADS; i++) {
        void *block = NULL;
        pthread_join(thread[i], &block);
        free(block);
    }
}

static int end_of(pid_t child)
{
    int status = 1;
    return waitpid(child, &status, 0) == child ? status : 1;
}

/* The child frees what it inherited and makes something of its own; a grandchild makes nothing. */
static void forks(void)
{
    void *inherited = plain_make(100 * KIB);
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0) {
        free(inherited);
        free(plain_make(200 * KIB));
        const pid_t grandchild = fork();
        if (grandchild == 0)
            _exit(0);
        exit(end_of(grandchild));
    }
    check(end_of(child) == 0, "a child");
    free(inherited);
}

static void executes(char **arguments)
{
    free(plain_make(100 * KIB));
    fflush(stdout);
    arguments[1] = strdup("counts");
    execv("/proc/self/exe", arguments);
}

static void waits(void)
{
    static void *stays;
    for (int i = 0; i < 10; i++)
        free(plain_make(100 * KIB));
    stays = plain_make(100 * KIB);
    await_go(stays != NULL ? "ready" : "NO memory");
}

/* Parts of it may not be read, others were never written. */
static void closed(void)
{
    unsigned char *block = aligned_alloc(4096, 1024 * KIB);
    memset(block, 1, 1024 * KIB);
    check(mprotect(block + 128 * KIB, 64 * KIB, PROT_NONE) == 0, "a part is closed");
    keep(block);
}

static void closed_and_freed(void)
{
    unsigned char *block = aligned_alloc(4096, 1024 * KIB);
    memset(block, 1, 1024 * KIB);
    mprotect(block + 128 * KIB, 64 * KIB, PROT_NONE);
    block =
        keep(block); /* as a program does that keeps a guard in it: opened only when it is freed by munmap */
    free(block);
}

static void sparse(void)
{
    enum { MIB = 256 };
    unsigned char *block = plain_make(MIB * 1024 * KIB);
    block[0] = block[1024 * KIB] = 1;
    struct rusage before, after;
    getrusage(RUSAGE_SELF, &before);
    free(block);
    unsigned char *again = plain_make(MIB * 1024 * KIB);
    again[0] = 1;
    getrusage(RUSAGE_SELF, &after);
    check(after.ru_maxrss - before.ru_maxrss < 16 * 1024, "it stays sparse when it is freed");
}

/* So many stacks, each a frame deeper, up to what is told apart; from two places. */
static void *deeper(unsigned levels, unsigned path)
{
    if (levels == 0)
        return plain_make(1000);
    return (path & 1) != 0 ? keep(deeper(levels - 1, path >> 1)) : keep(deeper(levels - 1, path >> 1));
}

static void many(void)
{
    for (volatile unsigned i = 0; i < 2048; i++)
        free(deeper(10, i / 2));
    check(true, "many stacks");
}

static void nothing(void)
{
    free(plain_make(100));
}

int main(int count, char **arguments)
{
    static const struct {
        const char *name;
        void (*go)(void);
    } ways[] = {
        {"counts", counts}, {"family", family}, {"grow", grow},      {"threads", threads},
        {"forks", forks},   {"waits", waits},   {"closed", closed},  {"closed-freed", closed_and_freed},
        {"sparse", sparse}, {"many", many},     {"nothing", nothing}};
    if (count < 2)
        return 2;
    if (strcmp(arguments[1], "executes") == 0)
        executes(arguments);
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++)
        if (strcmp(arguments[1], ways[i].name) == 0)
            ways[i].go();
    return verdict();
}

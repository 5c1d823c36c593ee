/* SPDX-License-Identifier: MIT
 *
 * Victim: `merge-life CASE [DIFFERENCE]` makes a block that has the same contents in every process which
 * does, says `ready`, and when it may go on does with the block what programs do in their lives: CASE says
 * what. What is written between two such pauses may have been merged when the second is over.
 */
#include "merged.h"

#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <sys/mman.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

enum { PAGE = 4096, BYTES = (6 << 20) + 12345, SEED = 3 };

/* The call site. */
static unsigned char *table(size_t bytes)
{
    unsigned char *block = malloc(bytes);
    if (block == NULL)
        exit(2);
    return hide(block);
}

static unsigned char *make_table(void)
{
    unsigned char *block = table(BYTES);
    check_routed(block, "the block is routed");
    fill(block, BYTES, SEED);
    return block;
}

static unsigned char *first_page(unsigned char *block)
{
    return block + (-(uintptr_t)block & (PAGE - 1));
}

static unsigned char *merged_table(void)
{
    unsigned char *block = make_table();
    await_go("ready");
    check_merged(block, BYTES, "the block");
    check(is_filled(block, BYTES, SEED), "the block is whole");
    return block;
}

/* A number from a file of /proc/self, in kilobytes. */
static long kilobytes(const char *file, const char *key)
{
    char line[256];
    long value = -1;
    FILE *lines = fopen(file, "re");
    while (lines != NULL && value < 0 && fgets(line, sizeof line, lines) != NULL)
        if (strncmp(line, key, strlen(key)) == 0)
            value = atol(line + strlen(key));
    if (lines != NULL)
        fclose(lines);
    return value;
}

/* Whether the kernel may read from the memory, or write there. */
static bool readable(const void *memory)
{
    int ends[2];
    if (pipe(ends) != 0)
        exit(2);
    const bool good = write(ends[1], memory, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return good;
}

static bool writable(unsigned char *memory)
{
    int ends[2];
    const unsigned char byte = *memory;
    if (pipe(ends) != 0 || write(ends[1], &byte, 1) != 1)
        exit(2);
    const bool good = read(ends[0], memory, 1) == 1;
    close(ends[0]);
    close(ends[1]);
    return good;
}

/* ---------------------------------------------------------------- the allocator */

static void resize(unsigned char **block, size_t bytes, size_t good_bytes, const char *what)
{
    *block = realloc(*block, bytes);
    check(*block != NULL && is_filled(*block, good_bytes, SEED), what);
    if (*block == NULL)
        exit(1);
    fill(*block, bytes, SEED);
}

static void life_realloc(void)
{
    unsigned char *block = merged_table();
    resize(&block, 2 * BYTES, BYTES, "a merged block that grows is whole");
    await_go("again");
    check_merged(block, 2 * BYTES, "the larger block");
    resize(&block, BYTES / 3, BYTES / 3, "a merged block that shrinks is whole");
    resize(&block, 3 * BYTES, BYTES / 3, "it grows again");
    await_go("again");
    check_merged(block, 3 * BYTES, "the largest block");
    resize(&block, 100000, 100000, "it shrinks to a small one");
    resize(&block, 100, 100, "it shrinks to a tiny one");
    free(block);
}

static void life_free(void)
{
    unsigned char *block = merged_table();
    const long before = kilobytes("/proc/self/smaps_rollup", "Rss:");
    free(block);
    const long after = kilobytes("/proc/self/smaps_rollup", "Rss:");
    check(before - after > BYTES / 1024 * 3 / 4, "memory that is freed is given back at once");
    await_go("freed");
}

static void life_calloc(void)
{
    unsigned char *block = merged_table();
    free(block);
    block = calloc(1, BYTES);
    check(block != NULL && is_all(block, BYTES, 0), "calloc after free gives zeros");
    await_go("again");
    check(is_all(block, BYTES, 0), "zeros stay zeros when they are merged");
    block[BYTES / 2] = 1;
    block = realloc(block, BYTES / 2);
    check(block != NULL && is_all(block, BYTES / 2, 0), "and when they are moved");
    free(block);
    block = calloc(3, BYTES);
    check(block != NULL && is_all(block, 3 * (size_t)BYTES, 0), "a larger one has zeros, too");
    free(block);
}

/* Written, merged, written otherwise, merged, written as before, merged. */
static void life_again(void)
{
    unsigned char *block = merged_table();
    for (unsigned round = 1; round < 6; round++) {
        const unsigned seed = SEED + round % 3;
        fill(block, BYTES, seed);
        await_go("again");
        check_merged(block, BYTES, "the block, again");
        check(is_filled(block, BYTES, seed), "the block is whole again");
        for (size_t at = round; at < BYTES; at += 50000)
            block[at] ^= 1;
        for (size_t at = round; at < BYTES; at += 50000)
            block[at] ^= 1;
        check(is_filled(block, BYTES, seed), "what is written and taken back is as it was");
    }
    free(block);
}

/* Some pages are not the same in all. */
static unsigned char difference;

static void life_differ(void)
{
    unsigned char *block = make_table();
    for (size_t page = 0; page < BYTES / PAGE; page += 7)
        block[page * PAGE + 100] = difference;
    await_go("ready");
    bool good = true;
    for (size_t page = 0; page < BYTES / PAGE; page += 7) {
        unsigned char *place = block + page * PAGE + 100;
        good = good && *place == difference;
        *place = (unsigned char)(SEED + (page * PAGE + 100) * 7 + (page * PAGE + 100) / 251);
    }
    check(good, "each process has its own pages");
    check(is_filled(block, BYTES, SEED), "the rest is whole");
    await_go("again");
    check_merged(block, BYTES, "the block without differences");
    check(is_filled(block, BYTES, SEED), "the block is whole");
    free(block);
}

/* ---------------------------------------------------------------- what the program says of its pages */

enum { RANGE = 1 << 20 };

static void life_protect(void)
{
    unsigned char *block = make_table(), *closed = first_page(block) + RANGE, *fixed = closed + 2 * RANGE;
    mprotect(closed, RANGE, PROT_NONE);
    mprotect(fixed, RANGE, PROT_READ);
    await_go("ready");
    check_not_merged(closed, RANGE, "what is closed is left alone");
    check_not_merged(fixed, RANGE, "what is read-only is left alone");
    check(!readable(closed) && !readable(closed + RANGE - 1), "what nobody may read stays so");
    check(readable(fixed) && !writable(fixed) && !writable(fixed + RANGE - 1), "what is read-only stays so");
    check(writable(fixed + RANGE) && writable(closed - 1) && writable(closed + RANGE),
          "the rest can be written");
    mprotect(closed, RANGE, PROT_READ | PROT_WRITE);
    mprotect(fixed, RANGE, PROT_READ | PROT_WRITE);
    check(is_filled(block, BYTES, SEED), "the block is whole");
    await_go("again");
    check_merged(block, BYTES, "the block when it is open again");
    check(is_filled(block, BYTES, SEED), "the block is still whole");
    mprotect(closed, RANGE, PROT_READ);
    check(readable(closed) && !writable(closed), "what is merged can be made read-only");
    mprotect(closed, RANGE, PROT_READ | PROT_WRITE);
    check(writable(closed), "and open again");
    free(block);
}

static void life_lock(void)
{
    unsigned char *block = make_table(), *locked = first_page(block) + 2 * RANGE;
    check(mlock(locked, 8 * PAGE) == 0, "some pages are locked into memory");
    const long before = kilobytes("/proc/self/status", "VmLck:");
    await_go("ready");
    check_not_merged(locked, 8 * PAGE, "what is locked is left alone");
    check(before == 32 && kilobytes("/proc/self/status", "VmLck:") == before, "they stay so");
    check(is_filled(block, BYTES, SEED), "the block is whole");
    check(munlock(locked, 8 * PAGE) == 0 && kilobytes("/proc/self/status", "VmLck:") == 0,
          "and can be unlocked");
    await_go("again");
    check_merged(block, BYTES, "the block when nothing is locked");
    check(is_filled(block, BYTES, SEED), "the block is still whole");
    check(mlock(locked, 8 * PAGE) == 0, "merged pages are locked");
    fill(block, BYTES, SEED + 1);
    check(is_filled(block, BYTES, SEED + 1), "and written");
    free(block);
    check(kilobytes("/proc/self/status", "VmLck:") == 0, "nothing is locked when they are freed");
}

/* What a child has of the memory: -1 nothing, else the first byte, or the status that says it crashed. */
static int first_byte_in_child(const unsigned char *memory)
{
    int status = 0;
    fflush(stdout);
    const pid_t child = fork();
    if (child == 0)
        _exit(readable(memory) ? *memory : 255);
    if (child < 0 || waitpid(child, &status, 0) != child || !WIFEXITED(status))
        return -2;
    return WEXITSTATUS(status) == 255 ? -1 : WEXITSTATUS(status);
}

static void life_advice(void)
{
    unsigned char *block = merged_table(), *range = first_page(block) + RANGE;
    check(madvise(range, RANGE, MADV_DONTNEED) == 0 && is_all(range, RANGE, 0),
          "what is not needed reads as zeros");
    memset(range, 9, RANGE);
    check(madvise(range + RANGE, RANGE, MADV_FREE) == 0, "what may be freed");
    memset(range + RANGE, 9, RANGE);
    check(is_all(range, 2 * RANGE, 9), "both can be written again");
    await_go("again");
    check(is_all(range, 2 * RANGE, 9), "and merged");
    check(madvise(range, RANGE, MADV_DONTFORK) == 0 && first_byte_in_child(range) == -1,
          "it is to have nothing");
    await_go("again");
    check(first_byte_in_child(range) == -1, "it still has nothing");
    check(madvise(range, RANGE, MADV_DOFORK) == 0 && first_byte_in_child(range) == 9, "it is to have all");
    check(is_all(range, 2 * RANGE, 9), "the parent has all");
    free(block);
}

/* Before it is merged, and after. */
static void life_wipe(void)
{
    unsigned char *block = make_table(), *range = first_page(block) + RANGE;
    check(madvise(range, RANGE, MADV_WIPEONFORK) == 0, "a child is to have zeros");
    await_go("ready");
    check(first_byte_in_child(range) == 0, "it has");
    check(madvise(range, RANGE, MADV_KEEPONFORK) == 0, "it is to have the bytes");
    memset(range, 9, RANGE);
    check(first_byte_in_child(range) == 9, "it has");
    await_go("again");
    check(madvise(range + RANGE, RANGE, MADV_WIPEONFORK) == 0, "a child is to have zeros for what is merged");
    check(first_byte_in_child(range + RANGE) == 0, "it has");
    check(is_all(range, RANGE, 9), "the parent has all");
    free(block);
}

/* ---------------------------------------------------------------- signals and threads */

static atomic_bool over;
static sem_t begun;

static pthread_t start_thread(void *run(void *), void *argument)
{
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, argument) != 0)
        exit(2);
    return thread;
}

static void block_all(void)
{
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, NULL);
}

/* Stores without end where no signal reaches it; what it stored last is there each time. */
static void *store_blocked(void *place)
{
    volatile unsigned *word = place;
    unsigned value = *word, lost = 0;
    block_all();
    sem_post(&begun);
    while (!atomic_load(&over)) {
        lost += *word != value;
        *word = ++value;
    }
    return (void *)(uintptr_t)lost;
}

static void life_blocked(void)
{
    unsigned char *block = make_table(), *place = first_page(block) + RANGE;
    void *lost;
    unsigned before;
    memcpy(&before, place, sizeof before);
    const pthread_t thread = start_thread(store_blocked, place);
    sem_wait(&begun);
    await_go("ready");
    check_merged_as("VICTIM_MERGED_BLOCKED", block, BYTES, "while a thread that nobody can stop writes");
    await_go("again");
    atomic_store(&over, true);
    pthread_join(thread, &lost);
    check(lost == NULL, "a thread that blocks all signals loses nothing");
    memcpy(place, &before, sizeof before);
    await_go("again");
    check_merged(block, BYTES, "the block when that thread has ended");
    check(is_filled(block, BYTES, SEED), "the block is whole");
    free(block);
}

/* The program's signals come to this thread, and only they. */
static void *take_signals(void *unused)
{
    sigset_t all;
    sigfillset(&all);
    for (int number = 0; number != SIGTERM;) {
        sigwait(&all, &number);
        printf("signal: %s\n", strsignal(number));
        sem_post(&begun);
    }
    return unused;
}

static void life_sigwait(void)
{
    unsigned char *block = make_table();
    block_all();
    const pthread_t thread = start_thread(take_signals, NULL);
    await_go("ready");
    kill(getpid(), SIGUSR1);
    sem_wait(&begun);
    await_go("again");
    kill(getpid(), SIGTERM);
    pthread_join(thread, NULL);
    check(is_filled(block, BYTES, SEED), "the block is whole");
    free(block);
}

/* One that no thread of the program takes stays where it is: the shim's own thread does not take it either.
 */
static void life_pending(void)
{
    unsigned char *block = make_table();
    sigset_t pending, one;
    int number = 0;
    block_all();
    const int descriptor = signalfd(-1, &(sigset_t){0}, SFD_NONBLOCK | SFD_CLOEXEC);
    sigfillset(&pending);
    signalfd(descriptor, &pending, 0);
    await_go("ready");
    struct signalfd_siginfo info;
    check(read(descriptor, &info, sizeof info) == -1 && errno == EAGAIN, "no signal has come");
    kill(getpid(), SIGUSR1);
    await_go("again");
    sigpending(&pending);
    for (int i = 1; i <= SIGRTMAX; i++)
        if (sigismember(&pending, i) == 1)
            printf("pending: %d\n", i);
    sigemptyset(&one);
    sigaddset(&one, SIGUSR1);
    check(sigismember(&pending, SIGUSR1) == 1 && sigwait(&one, &number) == 0,
          "one that is sent stays until it is taken");
    check(is_filled(block, BYTES, SEED), "the block is whole");
    free(block);
}

static void *sleep_for_ever(void *unused)
{
    sem_post(&begun);
    for (;;)
        pause();
    return unused;
}

/* The C library tells all threads of it, by a signal that each must take. */
static void life_identity(void)
{
    unsigned char *block = merged_table();
    start_thread(sleep_for_ever, NULL);
    sem_wait(&begun);
    check(setgid(getgid()) == 0 && setuid(getuid()) == 0, "the process may become who it is");
    await_go("again");
    check(is_filled(block, BYTES, SEED), "the block is whole");
    free(block);
}

/* ---------------------------------------------------------------- the end */

/* The process ends with its last own thread. */
static void *last_thread(void *unused)
{
    unsigned char *block = merged_table();
    check(is_filled(block, BYTES, SEED), "the last thread has all");
    fflush(stdout);
    return unused;
}

static void life_leaderless(void)
{
    start_thread(last_thread, NULL);
    pthread_exit(NULL);
}

static void *call_exit(void *unused)
{
    exit(verdict());
    return unused;
}

static void life_exit(void)
{
    merged_table();
    start_thread(call_exit, NULL);
    for (;;)
        pause();
}

static void life_exit_now(void)
{
    merged_table();
    fflush(stdout);
    _exit(verdict());
}

static void life_exec(void)
{
    merged_table();
    fflush(stdout);
    execl("/proc/self/exe", "merge-life", "stay", (char *)NULL);
}

static void life_stay(void)
{
    free(merged_table());
}

static const struct {
    const char *name;
    void (*run)(void);
} lives[] = {
    {"realloc", life_realloc},   {"free", life_free},
    {"calloc", life_calloc},     {"again", life_again},
    {"differ", life_differ},     {"protect", life_protect},
    {"lock", life_lock},         {"advice", life_advice},
    {"wipe", life_wipe},         {"blocked", life_blocked},
    {"sigwait", life_sigwait},   {"pending", life_pending},
    {"identity", life_identity}, {"leaderless", life_leaderless},
    {"exit", life_exit},         {"exit-now", life_exit_now},
    {"exec", life_exec},         {"stay", life_stay},
};

int main(int count, char **arguments)
{
    difference = count > 2 ? (unsigned char)atoi(arguments[2]) : 1;
    sem_init(&begun, 0, 0);
    for (size_t i = 0; count > 1 && i < sizeof lives / sizeof *lives; i++)
        if (strcmp(lives[i].name, arguments[1]) == 0) {
            lives[i].run();
            return verdict();
        }
    return 2;
}

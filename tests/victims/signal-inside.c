/* SPDX-License-Identifier: MIT
 *
 * Victim: allocates and frees in a signal handler while the same thread is inside malloc or free, without any
 * chance in it: the program has functions of its own for system calls that an allocator makes, and these
 * raise the signal first. Small blocks, large ones, and the same one twice.
 */
#include "victim.h"

#include <dlfcn.h>
#include <pthread.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/syscall.h>

enum { BLOCKS = 400, HANDLED = 900, EACH = 3 };

static unsigned char *given[HANDLED]; /* for the handler to free */
static unsigned char *kept[HANDLED];  /* what the handler has allocated */
static volatile sig_atomic_t freed, made, busy, armed, twice;

static size_t size_of(unsigned i)
{
    return i % 3 == 0 ? 40 + i % 100 * 20 : i % 3 == 1 ? 4000 + i : 33000 + i * 40;
}

static void handle(int number)
{
    (void)number;
    for (unsigned i = 0; i < EACH && freed < HANDLED; i++) {
        const unsigned n = (unsigned)freed;
        unsigned char *block = given[n];
        if (!is_filled(block, size_of(n), n))
            _exit(9);
        freed = (int)n + 1;
        free(block);
        if (twice != 0 && n == HANDLED / 2)
            free(hide(block));
        kept[made] = malloc(size_of(n));
        if (kept[made] == NULL)
            _exit(10);
        fill(kept[made], size_of(n), n);
        made = made + 1;
    }
}

static void interrupt(void)
{
    if (armed == 0 || busy != 0)
        return;
    busy = 1;
    raise(SIGUSR1);
    busy = 0;
}

/* The C library's own. */
static int unlock(pthread_mutex_t *mutex)
{
    static int (*next)(pthread_mutex_t *);
    if (next == NULL) {
        void *symbol = dlsym(RTLD_NEXT, "pthread_mutex_unlock");
        memcpy(&next, &symbol, sizeof next);
    }
    return next(mutex);
}

/* With the lock held. */
int pthread_mutex_unlock(pthread_mutex_t *mutex)
{
    interrupt();
    return unlock(mutex);
}

ssize_t pread(int descriptor, void *out, size_t bytes, off_t offset)
{
    interrupt();
    return syscall(SYS_pread64, descriptor, out, bytes, offset);
}

int flock(int descriptor, int operation)
{
    interrupt();
    return (int)syscall(SYS_flock, descriptor, operation);
}

/* Makes more memory necessary each time, so that there is always something to ask the system for. */
static void work(void)
{
    static unsigned char *block[BLOCKS];
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = malloc(size_of(i));
        check_routed(block[i], "the block is routed");
        fill(block[i], size_of(i), i);
    }
    bool good = true;
    for (unsigned i = 0; i < BLOCKS; i++) {
        good = good && is_filled(block[i], size_of(i), i);
        block[i] = realloc(block[i], size_of(i) + 100000);
        good = good && is_filled(block[i], size_of(i), i);
    }
    check(good, "blocks made meanwhile are whole");
    for (unsigned i = 0; i < BLOCKS; i++)
        free(block[i]);
}

int main(int count, char **arguments)
{
    twice = count > 1 && strcmp(arguments[1], "twice") == 0;
    for (unsigned i = 0; i < HANDLED; i++) {
        given[i] = malloc(size_of(i));
        fill(given[i], size_of(i), i);
    }
    signal(SIGUSR1, handle);
    armed = 1;
    work();
    armed = 0;
    if (getenv("VICTIM_ROUTED") != NULL && freed == 0)
        check(false, "the signal came inside the shim");
    for (; freed < HANDLED; freed = freed + 1)
        free(given[freed]);
    bool good = true;
    for (unsigned i = 0; i < (unsigned)made; i++) {
        good = good && is_filled(kept[i], size_of(i), i);
        free(kept[i]);
    }
    check(good, "blocks made in the handler are whole");
    await_go("ready");
    return verdict();
}

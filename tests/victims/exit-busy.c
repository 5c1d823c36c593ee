/* SPDX-License-Identifier: MIT
 *
 * Victim: main returns while threads of it write, as fast as they can, to blocks that it made. With an
 * argument it says `exiting` and waits when the libraries' destructors run, the threads still writing.
 */
#include "victim.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

#include "late.h"

enum { THREADS = 4, BYTES = 300000, SMALL = 500 };

static atomic_uint begun;

static void *store(size_t bytes)
{
    void *block = malloc(bytes);
    return hide(block);
}

static void *common(void)
{
    void *block = malloc(BYTES);
    return hide(block);
}

static void *write_for_ever(void *argument)
{
    unsigned char *large = store(BYTES), *small = store(SMALL), *shared = argument;
    if (large == NULL || small == NULL)
        exit(2);
    check_routed(large, "the large block is routed");
    check_routed(small, "the small block is routed");
    for (unsigned char round = 1;; round++) {
        memset(large, round, BYTES);
        memset(small, round, SMALL);
        memset(shared, 'x', BYTES);
        if (round == 1)
            atomic_fetch_add(&begun, 1);
        free(store(SMALL)); /* the shim is at work too */
    }
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t thread;
    void *shared = common();
    if (count > 1 && arguments[1] != NULL)
        wait_at_the_end();
    for (int i = 0; i < THREADS; i++)
        if (shared == NULL || pthread_create(&thread, NULL, write_for_ever, shared) != 0)
            return 2;
    while (atomic_load(&begun) < THREADS)
        sched_yield();
    puts("main returns");
    return victim_failures == 0 ? 37 : 1;
}

/* SPDX-License-Identifier: MIT
 *
 * Victim: its first thread ends with pthread_exit() while another lives on, with the blocks of both. Says
 * `ready` when the first one is gone for good, and waits; then looks at the blocks and makes another one.
 */
#include "victim.h"

#include <fcntl.h>
#include <pthread.h>
#include <sched.h>

enum { BYTES = 100000 };

static unsigned char *of_first, *of_second;

static void *store(unsigned seed)
{
    unsigned char *block = malloc(BYTES);
    if (block == NULL)
        exit(2);
    check_routed(block, "the block is routed");
    fill(block, BYTES, seed);
    return hide(block);
}

/* The kernel tells nobody. */
static char state_of_process(void)
{
    char text[1024] = "";
    const int descriptor = open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    const ssize_t got = read(descriptor, text, sizeof text - 1);
    close(descriptor);
    const char *name_end = got > 0 ? strrchr(text, ')') : NULL;
    return name_end != NULL ? name_end[2] : '?';
}

static void *live_on(void *argument)
{
    of_second = store(2);
    while (state_of_process() != 'Z')
        sched_yield();
    await_go("ready");
    check(is_filled(of_first, BYTES, 1), "the block of the first thread");
    check(is_filled(of_second, BYTES, 2), "the block of the second thread");
    unsigned char *third = store(3);
    check(third != of_first && third != of_second && is_filled(third, BYTES, 3), "a further block");
    free(third);
    free(of_first);
    free(of_second);
    exit(verdict());
    return argument;
}

int main(void)
{
    pthread_t thread;
    of_first = store(1);
    if (pthread_create(&thread, NULL, live_on, NULL) != 0)
        return 2;
    pthread_exit(NULL);
}

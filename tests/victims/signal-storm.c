/* SPDX-License-Identifier: MIT
 *
 * Victim: a thread allocates and frees without end while another one sends it signals, whose handler frees
 * and allocates, and interrupts itself. `signal-storm SIGNALS`: so many have to be handled.
 *
 * Only blocks that are routed are made here: the C library's own malloc is not safe in a handler.
 */
#include "victim.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { SLOTS = 64 };

static _Atomic(unsigned char *) slot[SLOTS];
static volatile sig_atomic_t handled, wrong;
static pthread_t worker;
static _Atomic int over;
static int wanted;

static size_t size_of(unsigned i)
{
    return i % 4 == 0 ? 33000 + i * 2000 : 24 + i * 90;
}

/* Puts a block in, and says whether the one that was there is whole; frees it. */
static bool exchange(unsigned i, unsigned char *fresh)
{
    unsigned char *block = atomic_exchange(&slot[i], fresh);
    const bool good = block == NULL || is_filled(block, size_of(i), i);
    free(block);
    return good;
}

static unsigned char *make(unsigned i)
{
    unsigned char *block = malloc(size_of(i));
    if (block == NULL)
        _exit(9);
    fill(block, size_of(i), i);
    return block;
}

static void handle(int number)
{
    (void)number;
    static _Atomic unsigned turn;
    const unsigned i = atomic_fetch_add(&turn, 1) % SLOTS;
    /* malloc may be passed on while the thread is inside the shim, so the handler frees only */
    if (!exchange(i, NULL))
        wrong = 1;
    handled = handled + 1;
}

static void *send(void *argument)
{
    while (!over) {
        pthread_kill(worker, SIGUSR1);
        pthread_kill(worker, SIGUSR2);
        sched_yield();
    }
    return argument;
}

int main(int count, char **arguments)
{
    pthread_t sender;
    wanted = count > 1 ? atoi(arguments[1]) : 1000;
    const struct sigaction action = {.sa_handler = handle, .sa_flags = SA_RESTART};
    sigaction(SIGUSR1, &action, NULL); /* either may interrupt the other's handler, so at most two deep */
    sigaction(SIGUSR2, &action, NULL);
    worker = pthread_self();
    unsigned char *first = make(0);
    check_routed(first, "the block is routed");
    slot[0] = first;
    if (pthread_create(&sender, NULL, send, NULL) != 0)
        return 2;
    bool good = true;
    for (unsigned i = 0; handled < wanted; i = (i + 1) % SLOTS)
        good = exchange(i, make(i)) && good;
    over = 1;
    pthread_join(sender, NULL);
    check(good && wrong == 0, "every block is whole when it is freed");
    for (unsigned i = 0; i < SLOTS; i++)
        exchange(i, NULL);
    await_go("ready");
    return verdict();
}

/* SPDX-License-Identifier: MIT
 *
 * Victim: frees and allocates when all is nearly over: in destructors of thread-specific data, more than
 * once around; in handlers of atexit() and on_exit(); in its own destructor; and in that of a library that
 * runs after the shim's.
 */
#include "exit-free.h"

#include <pthread.h>

#include "victim.h"

static void *block[3][LATE_BLOCKS];
static pthread_key_t key;
static unsigned rounds;

static void make(void *blocks[LATE_BLOCKS])
{
    for (unsigned i = 0; i < LATE_BLOCKS; i++) {
        blocks[i] = malloc(late_size(i));
        check_routed(blocks[i], "the block is routed");
        fill(blocks[i], late_size(i), i);
    }
}

/* Frees them and makes others of the same sizes. */
static bool turn_over(void *blocks[LATE_BLOCKS])
{
    bool good = true;
    for (unsigned i = 0; i < LATE_BLOCKS; i++) {
        good = good && is_filled(blocks[i], late_size(i), i);
        free(blocks[i]);
        blocks[i] = malloc(late_size(i));
        fill(blocks[i], late_size(i), i);
    }
    return good;
}

static bool free_all(void *blocks[LATE_BLOCKS])
{
    bool good = true;
    for (unsigned i = 0; i < LATE_BLOCKS; i++) {
        good = good && is_filled(blocks[i], late_size(i), i);
        free(blocks[i]);
    }
    return good;
}

static void say(bool good, const char *what)
{
    check(good, what);
    fflush(stdout);
}

/* The key is younger than the shim's, so the shim has cleaned up after the thread already. */
static void end_of_thread(void *blocks)
{
    rounds++;
    say(rounds < 4 ? turn_over(blocks) : free_all(blocks), "a destructor of thread-specific data");
    if (rounds < 4)
        pthread_setspecific(key, blocks);
}

static void *in_thread(void *argument)
{
    static void *blocks[LATE_BLOCKS];
    make(blocks);
    pthread_setspecific(key, blocks);
    return argument;
}

static void at_exit(void)
{
    say(turn_over(block[0]) && free_all(block[0]), "a handler of atexit()");
}

static void on_the_exit(int status, void *blocks)
{
    say(status == 7 && turn_over(blocks) && free_all(blocks), "a handler of on_exit()");
}

__attribute__((destructor)) static void at_the_end(void)
{
    say(turn_over(block[2]) && free_all(block[2]), "a destructor");
}

int main(void)
{
    pthread_t thread;
    make(late_block);
    for (unsigned i = 0; i < 3; i++)
        make(block[i]);
    if (pthread_key_create(&key, end_of_thread) != 0 || pthread_create(&thread, NULL, in_thread, NULL) != 0)
        return 2;
    pthread_join(thread, NULL);
    atexit(at_exit);
    on_exit(on_the_exit, block[1]);
    fflush(stdout);
    return victim_failures == 0 ? 7 : 1;
}

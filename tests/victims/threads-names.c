/* SPDX-License-Identifier: MIT
 *
 * Victim: a block from the first thread, from two that it starts, and from one that the second of these
 * starts.
 */
#include "victim.h"

#include <pthread.h>

static void *make(size_t bytes)
{
    void *block = malloc(bytes);
    return hide(block);
}

static void *inner(void *argument)
{
    (void)argument;
    return make(2100);
}

static void *outer(void *argument)
{
    pthread_t thread;
    void **blocks = argument;
    blocks[0] = make(2000);
    if (pthread_create(&thread, NULL, inner, NULL) != 0 || pthread_join(thread, &blocks[1]) != 0)
        check(false, "a thread in a thread");
    return NULL;
}

static void *single(void *argument)
{
    void **blocks = argument;
    blocks[2] = make(1000);
    return NULL;
}

int main(void)
{
    void *blocks[4] = {NULL};
    pthread_t first, second;
    blocks[3] = make(3000);
    if (pthread_create(&first, NULL, single, blocks) != 0 ||
        pthread_create(&second, NULL, outer, blocks) != 0)
        return 2;
    pthread_join(first, NULL);
    pthread_join(second, NULL);
    await_go("ready");
    for (int i = 0; i < 4; i++)
        free(blocks[i]);
    return verdict();
}

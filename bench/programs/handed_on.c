/* SPDX-License-Identifier: MIT
 *
 * Threads that hand their blocks on, as a server's do whose connections outlive the thread that took them.
 * Each of two threads replaces blocks of 8 to 512 bytes at random, then ends; the next one goes on with what
 * the other has left.
 *
 *     handed_on GENERATIONS
 */
#include <pthread.h>

#include "../measure.h"

enum { THREADS = 2, BLOCKS = 4000, REPLACED = 40000 };

struct share {
    void *block[BLOCKS];
    uint64_t seed;
    size_t made;
};

static struct share share[THREADS];

static __attribute__((noinline)) char *take(size_t bytes)
{
    char *volatile block = malloc(bytes);
    if (block == NULL)
        exit(1);
    return block;
}

static void *replace(void *argument)
{
    struct share *mine = argument;
    for (size_t i = 0; i < REPLACED; i++) {
        void **const chosen = &mine->block[random_below(&mine->seed, BLOCKS)];
        free(*chosen);
        char *block = take(8 + random_below(&mine->seed, 505));
        block[0] = (char)i;
        *chosen = block;
        mine->made++;
    }
    return NULL;
}

int main(int count, char **words)
{
    const size_t generations = number_in(count, words, 1, 20);
    size_t made = 0;
    for (size_t i = 0; i < THREADS; i++)
        share[i].seed = i + 1;
    for (size_t generation = 0; generation < generations; generation++) {
        pthread_t thread[THREADS];
        for (size_t i = 0; i < THREADS; i++)
            if (pthread_create(&thread[i], NULL, replace, &share[(generation + i) % THREADS]) != 0)
                return 1;
        for (size_t i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
    }
    for (size_t i = 0; i < THREADS; i++)
        made += share[i].made;
    print_figure("made", (double)made);
    return 0;
}

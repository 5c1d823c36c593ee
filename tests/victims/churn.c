/* SPDX-License-Identifier: MIT
 *
 * Victim: `churn SECONDS` lets eight threads allocate, resize and free for so long, blocks of their own and
 * blocks that another thread made; every content is looked at before a block goes. At the end everything is
 * freed; then it says `ready` and waits.
 */
#include "victim.h"

#include <malloc.h>
#include <pthread.h>
#include <stdatomic.h>
#include <time.h>

enum { THREADS = 8, OWN = 64, EXCHANGE = 256, SHARED_BYTES = 512 };

struct block {
    size_t bytes;
    unsigned seed;
    unsigned char data[];
};

static _Atomic(struct block *) exchange[EXCHANGE]; /* from any thread to any other */
static atomic_bool over, spoilt;
static atomic_ulong steps, strange;

struct random {
    uint64_t state;
};

static uint64_t next(struct random *random)
{
    random->state ^= random->state << 13;
    random->state ^= random->state >> 7;
    random->state ^= random->state << 17;
    return random->state;
}

/* Mostly small, now and then up to 300 kB. */
static size_t some_size(struct random *random)
{
    const uint64_t kind = next(random) % 100;
    return 1 + (size_t)(next(random) % (kind < 70 ? 200 : kind < 97 ? 8000 : 300000));
}

static struct block *set(struct block *block, size_t bytes, unsigned seed)
{
    if (block == NULL) {
        atomic_store(&spoilt, true);
        return NULL;
    }
    block->bytes = bytes;
    block->seed = seed;
    fill(block->data, bytes, seed);
    return block;
}

static struct block *make(struct random *random)
{
    const size_t bytes = some_size(random), whole = sizeof(struct block) + bytes;
    struct block *block = NULL;
    switch (next(random) % 4) {
    case 0:
        block = calloc(1, whole);
        if (block != NULL && !is_all(block, whole, 0))
            atomic_store(&spoilt, true);
        break;
    case 1:
        block = memalign((size_t)16 << next(random) % 8, whole);
        break;
    default:
        block = malloc(whole);
    }
    if (getenv("VICTIM_ROUTED") != NULL && !from_shim(block))
        atomic_fetch_add(&strange, 1);
    return set(block, bytes, (unsigned)next(random) & 0xff);
}

static void destroy(struct block *block)
{
    if (block == NULL)
        return;
    if (!is_filled(block->data, block->bytes, block->seed))
        atomic_store(&spoilt, true);
    free(block);
}

static struct block *resize(struct block *block, struct random *random)
{
    if (block == NULL)
        return make(random);
    const size_t old = block->bytes, bytes = some_size(random);
    block = realloc(block, sizeof *block + bytes);
    if (block != NULL && !is_filled(block->data, old < bytes ? old : bytes, block->seed))
        atomic_store(&spoilt, true);
    return set(block, bytes, (unsigned)next(random) & 0xff);
}

/* Both processes may hold this block: both write the same into it. */
static void meet(void)
{
    unsigned char *block = calloc(1, SHARED_BYTES);
    if (block == NULL) {
        atomic_store(&spoilt, true);
        return;
    }
    for (size_t i = 0; i < SHARED_BYTES; i++)
        if (block[i] != 0 && block[i] != 0x5a)
            atomic_store(&spoilt, true);
    memset(block, 0x5a, SHARED_BYTES);
    if (!is_all(block, SHARED_BYTES, 0x5a))
        atomic_store(&spoilt, true);
    free(block);
}

static void one_step(struct block **own, struct random *random)
{
    struct block **place = &own[next(random) % OWN];
    switch (next(random) % 16) {
    case 0:
        meet();
        return;
    case 1:
    case 2:
    case 3:
    case 4:
    case 5: /* another thread will free it */
        if (*place == NULL)
            *place = make(random);
        *place = atomic_exchange(&exchange[next(random) % EXCHANGE], *place);
        return;
    case 6:
    case 7:
    case 8:
        *place = resize(*place, random);
        return;
    default:
        destroy(*place);
        *place = make(random);
    }
}

static void *churn(void *argument)
{
    struct block *own[OWN] = {NULL};
    struct random random = {.state = (uintptr_t)argument * 7919 + (uint64_t)getpid()};
    unsigned long done = 0;
    for (; !atomic_load(&over) && !atomic_load(&spoilt); done++)
        one_step(own, &random);
    for (int i = 0; i < OWN; i++)
        destroy(own[i]);
    atomic_fetch_add(&steps, done);
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t threads[THREADS];
    const struct timespec duration = {.tv_sec = count > 1 ? atoi(arguments[1]) : 1};
    for (uintptr_t i = 0; i < THREADS; i++)
        if (pthread_create(&threads[i], NULL, churn, (void *)(i + 1)) != 0)
            return 2;
    nanosleep(&duration, NULL);
    atomic_store(&over, true);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < EXCHANGE; i++)
        destroy(exchange[i]);
    check(!atomic_load(&spoilt), "every content was as it was written");
    check(atomic_load(&steps) > 1000, "there was something to see");
    check(atomic_load(&strange) == 0, "every block came from the segment");
    await_go("ready");
    return verdict();
}

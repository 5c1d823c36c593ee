/* SPDX-License-Identifier: MIT
 *
 * Victim: a wrapper that very many functions call, more than the shim remembers side by side. Half of them
 * are called taken_N, the others passed_N: says how many blocks of each came from the shim, in each of some
 * rounds.
 */
#include "victim.h"

enum { EACH = 512, ROUNDS = 4 };

void *wrapper(size_t bytes);
typedef void *caller(size_t bytes);

/* Not inlined, and no jump. */
static void *used(void *block)
{
    static _Atomic int count;
    count++;
    return block;
}

void *wrapper(size_t bytes)
{
    void *block = malloc(bytes);
    used(block);
    return block;
}

/* DO(kind, number) for each number of three octal digits. */
#define ONES(DO, kind, n)                                                                                    \
    DO(kind, n##0)                                                                                           \
    DO(kind, n##1) DO(kind, n##2) DO(kind, n##3) DO(kind, n##4) DO(kind, n##5) DO(kind, n##6) DO(kind, n##7)
#define EIGHTS(DO, kind, n)                                                                                  \
    ONES(DO, kind, n##0)                                                                                     \
    ONES(DO, kind, n##1) ONES(DO, kind, n##2) ONES(DO, kind, n##3) ONES(DO, kind, n##4) ONES(DO, kind, n##5) \
        ONES(DO, kind, n##6) ONES(DO, kind, n##7)
#define ALL(DO, kind)                                                                                        \
    EIGHTS(DO, kind, 0)                                                                                      \
    EIGHTS(DO, kind, 1) EIGHTS(DO, kind, 2) EIGHTS(DO, kind, 3) EIGHTS(DO, kind, 4) EIGHTS(DO, kind, 5)      \
        EIGHTS(DO, kind, 6) EIGHTS(DO, kind, 7)

#define DEFINE(kind, number)                                                                                 \
    static void *kind##_##number(size_t bytes)                                                               \
    {                                                                                                        \
        void *block = wrapper(bytes);                                                                        \
        used(block);                                                                                         \
        return block;                                                                                        \
    }
#define NAME(kind, number) kind##_##number,

ALL(DEFINE, taken)
ALL(DEFINE, passed)

static caller *const takers[EACH] = {ALL(NAME, taken)};
static caller *const passers[EACH] = {ALL(NAME, passed)};

static unsigned taken_by(caller *const *callers)
{
    unsigned taken = 0;
    for (unsigned i = 0; i < EACH; i++) {
        void *block = callers[i](100);
        taken += from_shim(block);
        free(block);
    }
    return taken;
}

int main(void)
{
    for (unsigned round = 0; round < ROUNDS; round++) {
        const unsigned passed = taken_by(passers);
        printf("%u and %u\n", passed, taken_by(takers));
    }
    return verdict();
}

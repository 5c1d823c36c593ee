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

/* DO(kind, number) for each number of nine binary digits. */
#define ONE(DO, kind, n)   DO(kind, n##0) DO(kind, n##1)
#define TWO(DO, kind, n)   ONE(DO, kind, n##0) ONE(DO, kind, n##1)
#define THREE(DO, kind, n) TWO(DO, kind, n##0) TWO(DO, kind, n##1)
#define FOUR(DO, kind, n)  THREE(DO, kind, n##0) THREE(DO, kind, n##1)
#define FIVE(DO, kind, n)  FOUR(DO, kind, n##0) FOUR(DO, kind, n##1)
#define SIX(DO, kind, n)   FIVE(DO, kind, n##0) FIVE(DO, kind, n##1)
#define SEVEN(DO, kind, n) SIX(DO, kind, n##0) SIX(DO, kind, n##1)
#define EIGHT(DO, kind, n) SEVEN(DO, kind, n##0) SEVEN(DO, kind, n##1)
#define ALL(DO, kind)      EIGHT(DO, kind, 0) EIGHT(DO, kind, 1)

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

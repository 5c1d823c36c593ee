/* SPDX-License-Identifier: MIT
 *
 * Victim: one block from each of several call sites; says which of them the shim took. `sites wait` says
 * `ready` then and waits.
 */
#include "victim.h"

#include "library.h"

static char taken[256];

static void note(const char *who, void *block)
{
    if (block == NULL) {
        check(false, who);
        return;
    }
    memset(block, 0x21, 100);
    if (from_shim(block)) {
        strcat(taken, " ");
        strcat(taken, who);
    }
}

void *alpha(void);
void *alpha(void)
{
    void *block = malloc(1000);
    note("alpha", block);
    return block;
}

static void *beta(void)
{
    void *block = calloc(8, 512);
    note("beta", block);
    return block;
}

static void *gamma_grow(void)
{
    void *block = realloc(NULL, 100000);
    note("gamma_grow", block);
    return block;
}

static void *delta(void)
{
    void *block = aligned_alloc(64, 6400);
    note("delta", block);
    return block;
}

static void *library(void)
{
    void *block = library_make();
    note("library", block);
    return block;
}

int main(int count, char **arguments)
{
    void *blocks[] = {alpha(), beta(), gamma_grow(), delta(), library(), alpha()};
    printf("taken:%s\n", taken);
    if (count > 1 && strcmp(arguments[1], "wait") == 0)
        await_go("ready");
    for (size_t i = 0; i < sizeof blocks / sizeof blocks[0]; i++)
        free(blocks[i]);
    return verdict();
}

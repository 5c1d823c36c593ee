/* SPDX-License-Identifier: MIT
 *
 * Victim: blocks that are asked for at known lines of files with known names, also from functions that are
 * inlined whatever the compiler thinks; says which of them the shim took. The first is asked for on a small
 * stack. `lines PLUGIN`: another by a module that is loaded, and then again by one that is loaded anew.
 */
#include "victim.h"

#include <dlfcn.h>
#include <pthread.h>

#define INLINED static inline __attribute__((always_inline))
#define APART   __attribute__((noinline))

static const char *names[8];
static void *blocks[8];
static int count;

/* Where there is no call behind it, the compiler would make the one to malloc a jump. */
static void *used(void *block)
{
    static volatile int calls;
    calls++;
    if (block != NULL)
        memset(block, 0x31, 64);
    return block;
}

static void note(const char *name, void *block)
{
    names[count] = name;
    blocks[count++] = block;
}

typedef void *loader(size_t bytes);

APART void *small_init(size_t bytes);
APART void *table_init(size_t bytes);
APART void *field_init(size_t bytes);
APART void *plain_init(size_t bytes);

/* clang-format off */
#line 40 "/src/solver/small.c"
void *small_init(size_t bytes)
{
    return used(malloc(bytes));
}

#line 100 "/src/solver/rows.h"
INLINED void *rows_new(size_t bytes)
{
    void *block = malloc(bytes);
    return used(block);
}

#line 200 "/src/solver/cells.h"
INLINED void *cells_new(size_t bytes)
{
    void *block = rows_new(bytes);
    return used(block);
}

#line 300 "/src/solver/table.c"
void *table_init(size_t bytes)
{
    void *block = cells_new(bytes);
    return used(block);
}

#line 400 "/src/solver/field.c"
void *field_init(size_t bytes)
{
    void *block = rows_new(bytes);
    return used(block);
}

#line 500 "/src/solver/plain.c"
void *plain_init(size_t bytes)
{
    void *block = malloc(bytes);
    return used(block);
}
#line 84 "lines.c"
/* clang-format on */

static void *on_small_stack(void *argument)
{
    (void)argument;
    note("small", small_init(1000));
    return NULL;
}

static void start_on_small_stack(void)
{
    pthread_t thread;
    pthread_attr_t small;
    pthread_attr_init(&small);
    pthread_attr_setstacksize(&small, 64 << 10);
    check(pthread_create(&thread, &small, on_small_stack, NULL) == 0, "a thread with a small stack");
    pthread_join(thread, NULL);
}

static void load(const char *path, const char *name)
{
    void *module = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    void *symbol = module != NULL ? dlsym(module, "plugin_init") : NULL;
    loader *init;
    check(symbol != NULL, name);
    if (symbol == NULL)
        return;
    memcpy(&init, &symbol, sizeof init);
    note(name, init(6000));
    check(dlclose(module) == 0, "unloaded");
}

int main(int argument_count, char **arguments)
{
    start_on_small_stack();
    note("table", table_init(2000));
    note("field", field_init(3000));
    note("plain", plain_init(4000));
    for (int i = 1; i < argument_count; i++)
        load(arguments[i], i == 1 ? "plugin" : "again");
    printf("taken:");
    for (int i = 0; i < count; i++)
        if (from_shim(blocks[i]))
            printf(" %s", names[i]);
    printf("\n");
    for (int i = 0; i < count; i++)
        free(blocks[i]);
    return verdict();
}

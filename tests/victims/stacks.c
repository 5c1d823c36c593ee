/* SPDX-License-Identifier: MIT
 *
 * Victim: blocks that are asked for through wrappers, from several callers, on several stacks; says which of
 * them the shim took. `stacks wait` says `ready` then and waits. `stacks threads N`: threads do the same N
 * times; every block must be taken, or none, as for the first time.
 */
#include "victim.h"

#include <pthread.h>

enum { KINDS = 9, THREADS = 4 };

static const char *const names[KINDS] = {"grid",  "field", "jump",      "known",    "nested",
                                         "plain", "sort",  "recursive", "coroutine"};
static void *blocks[KINDS];

void *wrapper(size_t bytes);
void *outer_wrapper(size_t bytes);
void *jumping_wrapper(size_t bytes);
void *xmalloc(size_t bytes);
void *grid_init(size_t bytes);
void *field_init(size_t bytes);
void *jump_init(size_t bytes);
void *known_init(size_t bytes);
void *nested_init(size_t bytes);
void *plain_init(size_t bytes);
void *recursive_init(size_t bytes, int depth);

/* None of them ends in a call, which the compiler would make a jump. */
static void *used(void *block)
{
    static _Atomic int count;
    count++;
    if (block != NULL)
        memset(block, 0x31, 64);
    return block;
}

void *wrapper(size_t bytes)
{
    void *block = malloc(bytes);
    used(block);
    return block;
}

void *outer_wrapper(size_t bytes)
{
    void *block = wrapper(bytes);
    used(block);
    return block;
}

void *xmalloc(size_t bytes)
{
    void *block = malloc(bytes);
    used(block);
    return block;
}

/* `return malloc(bytes);` as compilers make it with -O2: a jump. */
__asm__(".text\n"
        ".globl jumping_wrapper\n"
        ".type jumping_wrapper, @function\n"
        "jumping_wrapper:\n"
        ".cfi_startproc\n"
        "    jmp malloc@PLT\n"
        ".cfi_endproc\n"
        ".size jumping_wrapper, . - jumping_wrapper\n");

void *grid_init(size_t bytes)
{
    void *block = wrapper(bytes);
    used(block);
    return block;
}

void *field_init(size_t bytes)
{
    void *block = wrapper(bytes);
    used(block);
    return block;
}

void *jump_init(size_t bytes)
{
    void *block = jumping_wrapper(bytes);
    used(block);
    return block;
}

void *known_init(size_t bytes)
{
    void *block = xmalloc(bytes);
    used(block);
    return block;
}

void *nested_init(size_t bytes)
{
    void *block = outer_wrapper(bytes);
    used(block);
    return block;
}

void *plain_init(size_t bytes)
{
    void *block = malloc(bytes);
    used(block);
    return block;
}

void *recursive_init(size_t bytes, int depth)
{
    void *block = depth > 0 ? recursive_init(bytes, depth - 1) : wrapper(bytes);
    used(block);
    return block;
}

static _Thread_local void *from_sort;

static int compare(const void *one, const void *other)
{
    if (from_sort == NULL)
        from_sort = used(wrapper(6000));
    return *(const int *)one - *(const int *)other;
}

static void *sort_init(void)
{
    int numbers[] = {2, 1};
    from_sort = NULL;
    qsort(numbers, 2, sizeof numbers[0], compare);
    return from_sort;
}

static void *on_another_stack(void *argument)
{
    (void)argument;
    return used(grid_init(8000));
}

/* A thread's first allocation, on a stack that nobody has seen. */
static void *thread_init(void)
{
    pthread_t thread;
    void *block = NULL;
    if (pthread_create(&thread, NULL, on_another_stack, NULL) == 0)
        pthread_join(thread, &block);
    return block;
}

static void make_all(void *out[KINDS], bool alone)
{
    out[0] = grid_init(1000);
    out[1] = field_init(1000);
    out[2] = jump_init(2000);
    out[3] = known_init(3000);
    out[4] = nested_init(4000);
    out[5] = plain_init(5000);
    out[6] = sort_init();
    out[7] = recursive_init(7000, 20);
    out[8] = alone ? thread_init() : NULL;
}

static unsigned rounds;

static void *make_again(void *argument)
{
    (void)argument;
    for (unsigned round = 0; round < rounds; round++) {
        void *mine[KINDS];
        make_all(mine, false);
        for (int i = 0; i < KINDS - 1; i++) {
            check(from_shim(mine[i]) == from_shim(blocks[i]), names[i]);
            free(mine[i]);
        }
    }
    return NULL;
}

int main(int count, char **arguments)
{
    pthread_t thread[THREADS];
    make_all(blocks, true);
    printf("taken:");
    for (int i = 0; i < KINDS; i++)
        if (from_shim(blocks[i]))
            printf(" %s", names[i]);
    printf("\n");
    fflush(stdout);
    if (count == 3 && strcmp(arguments[1], "threads") == 0) {
        rounds = (unsigned)atoi(arguments[2]);
        for (int i = 0; i < THREADS; i++)
            check(pthread_create(&thread[i], NULL, make_again, NULL) == 0, "a thread");
        for (int i = 0; i < THREADS; i++)
            pthread_join(thread[i], NULL);
    }
    if (count == 2 && strcmp(arguments[1], "wait") == 0)
        await_go("ready");
    for (int i = 0; i < KINDS; i++)
        free(blocks[i]);
    return verdict();
}

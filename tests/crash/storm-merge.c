/* SPDX-License-Identifier: MIT
 *
 * A process of a storm of merging, alone or preloaded: its threads make tables, write to them, merge, write
 * again, free, fork, exec and exit at random. What a page holds follows from its address and from a version,
 * of which there are few, so processes have much in common; some pages are a thread's own, some are zero. A
 * table must read as it was written, whatever is merged meanwhile and whoever dies.
 *
 *     storm-merge worker BOARD PLACE STEPS
 *
 * STEPS 0: until the storm is over; else one thread, for so many operations.
 */
#include "storm-merge.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { TABLES = 4, PAGE = 4096, PAGES_MOST = 1300, VERSIONS = 2 };

static const size_t sizes[] = {100000, 2000000, 2 << 20, (4 << 20) + 70000};

struct table {
    unsigned char *memory; /* NULL: there is none */
    size_t bytes;
    uint64_t version;
    uint64_t seed[PAGES_MOST]; /* of each page, 0: it is zero */
};

struct actor {
    unsigned number;
    bool child;
    struct storm_dice dice;
    struct table table[TABLES];
};

static struct {
    struct storm_board *board;
    int descriptor;
    unsigned place;
    struct actor actor[STORM_THREADS];
} process;

#define COMPLAIN(...) storm_complain(process.board, __VA_ARGS__)

/* ---------------------------------------------------------------- pages */

static size_t page_count(const struct table *table)
{
    return (table->bytes + PAGE - 1) / PAGE;
}

static size_t words_of(const struct table *table, size_t page)
{
    const size_t left = table->bytes - page * PAGE;
    return (left < PAGE ? left : PAGE) / sizeof(uint64_t);
}

static uint64_t *words_at(const struct table *table, size_t page)
{
    return (uint64_t *)(void *)(table->memory + page * PAGE);
}

static uint64_t word_at(uint64_t seed, size_t index)
{
    return seed != 0 ? (seed + index) * UINT64_C(0x9e3779b97f4a7c15) : 0;
}

/* A fifth of all pages is zero. */
static uint64_t common_seed(const struct table *table, size_t page)
{
    const uint64_t seed = storm_mix((uintptr_t)table->memory + page * PAGE + table->version);
    return seed % 5 != 0 ? seed : 0;
}

static void write_page(struct table *table, size_t page, uint64_t seed)
{
    uint64_t *words = words_at(table, page);
    for (size_t i = 0; i < words_of(table, page); i++)
        words[i] = word_at(seed, i);
    table->seed[page] = seed;
}

static void write_common(struct table *table)
{
    for (size_t page = 0; page < page_count(table); page++)
        if (table->seed[page] != common_seed(table, page))
            write_page(table, page, common_seed(table, page));
}

static bool page_is_whole(const struct table *table, size_t page)
{
    const uint64_t *words = words_at(table, page);
    for (size_t i = 0; i < words_of(table, page); i++)
        if (words[i] != word_at(table->seed[page], i))
            return false;
    return true;
}

static void verify(const struct table *table, const char *when)
{
    for (size_t page = 0; page < page_count(table); page++)
        if (!page_is_whole(table, page)) {
            COMPLAIN("page %zu of a table of %zu bytes at %p is not what was written to it, %s", page,
                     table->bytes, (void *)table->memory, when);
            return;
        }
}

/* Is the page at present a file's? Then it has been merged. */
static void count_merged(const struct table *table, size_t page)
{
    uint64_t entry = 0;
    const int pagemap = open("/proc/self/pagemap", O_RDONLY | O_CLOEXEC);
    const off_t at = (off_t)((uintptr_t)words_at(table, page) / PAGE * sizeof entry);
    if (pagemap >= 0 && pread(pagemap, &entry, sizeof entry, at) == sizeof entry)
        atomic_fetch_add((entry >> 63 & 1) != 0 && (entry >> 61 & 1) != 0 ? &process.board->merged
                                                                          : &process.board->unmerged,
                         1);
    if (pagemap >= 0)
        close(pagemap);
}

/* ---------------------------------------------------------------- tables */

static void make(struct actor *actor, struct table *table)
{
    table->bytes = sizes[storm_roll(&actor->dice, sizeof sizes / sizeof sizes[0])] / 8 * 8;
    table->memory = storm_memory_make(actor->number, table->bytes);
    if (table->memory == NULL)
        return;
    memset(table->seed, 0, sizeof table->seed);
    verify(table, "when it was made");
    table->version = storm_roll(&actor->dice, 4 * VERSIONS) / 4; /* of the page's address the last bits */
    write_common(table);
}

static void destroy(struct table *table)
{
    if (table->memory == NULL)
        return;
    verify(table, "before it is freed");
    storm_memory_free(table->memory);
    table->memory = NULL;
}

static void scribble(struct actor *actor, struct table *table)
{
    const uint32_t pages = storm_roll(&actor->dice, 30) + 1;
    for (uint32_t i = 0; i < pages; i++) {
        const size_t page = storm_roll(&actor->dice, (uint32_t)page_count(table));
        const uint32_t kind = storm_roll(&actor->dice, 4);
        const uint64_t own = storm_mix(storm_roll(&actor->dice, UINT32_MAX) | (uint64_t)storm_line() << 32);
        write_page(table, page, kind == 0 ? 0 : kind == 1 ? own : common_seed(table, page));
    }
}

static void table_step(struct actor *actor)
{
    struct table *table = &actor->table[storm_roll(&actor->dice, TABLES)];
    const uint32_t choice = storm_roll(&actor->dice, 100);
    storm_count(1);
    if (table->memory == NULL) {
        make(actor, table);
    } else if (choice < 8) {
        destroy(table);
    } else if (choice < 25) {
        scribble(actor, table);
    } else if (choice < 30) {
        table->version = storm_roll(&actor->dice, VERSIONS);
        write_common(table);
    } else if (choice < 50) {
        storm_memory_merge(choice < 45 ? table->memory : NULL);
    } else {
        verify(table, "while it was there");
        count_merged(table, storm_roll(&actor->dice, (uint32_t)page_count(table)));
    }
}

static void look_at_all(const struct actor *actor, const char *when)
{
    for (unsigned i = 0; i < TABLES; i++)
        if (actor->table[i].memory != NULL)
            verify(&actor->table[i], when);
}

/* ---------------------------------------------------------------- exec, exit, fork */

static void start_over(unsigned steps)
{
    char place[16], descriptor[16], count[16];
    char *const arguments[] = {(char[]){"storm-merge"}, (char[]){"worker"}, descriptor, place, count, NULL};
    snprintf(place, sizeof place, "%u", storm_place());
    snprintf(descriptor, sizeof descriptor, "%d", process.descriptor);
    snprintf(count, sizeof count, "%u", steps);
    storm_begin(STORM_EXEC);
    atomic_fetch_add(&process.board->execs, 1);
    execv("/proc/self/exe", arguments);
    COMPLAIN("exec: %s", strerror(errno));
    _exit(1);
}

static void leave(struct actor *actor)
{
    atomic_fetch_add(&process.board->exits, 1);
    if (actor->child && storm_roll(&actor->dice, 2) == 0)
        _exit(0);
    storm_begin(STORM_EXIT);
    exit(0);
}

static void one_step(struct actor *actor);

static void live_as_child(struct actor *actor)
{
    actor->child = true;
    actor->dice.state ^= storm_mix((uint64_t)getpid());
    if (!storm_take_place(process.board))
        _exit(0);
    look_at_all(actor, "after a fork, in the child");
    if (!storm_memory_is_ours()) { /* the lock was held by somebody who was stopped */
        atomic_fetch_add(&process.board->apart, 1);
        leave(actor);
    }
    const unsigned steps = storm_roll(&actor->dice, storm_roll(&actor->dice, 8) == 0 ? 300 : 30);
    for (unsigned step = 0; step < steps && !storm_is_over(process.board); step++)
        one_step(actor);
    look_at_all(actor, "at the end of a child");
    if (storm_roll(&actor->dice, 4) == 0)
        start_over(storm_roll(&actor->dice, 50) + 1);
    leave(actor);
}

static void fork_child(struct actor *actor)
{
    storm_begin(STORM_FORK);
    const pid_t pid = fork();
    if (pid == 0)
        live_as_child(actor);
    storm_end();
    atomic_fetch_add(&process.board->forks, 1);
    if (pid < 0)
        COMPLAIN("fork: %s", strerror(errno));
    look_at_all(actor, "after a fork, in the parent");
}

static void bury_children(void)
{
    static atomic_flag busy = ATOMIC_FLAG_INIT;
    if (atomic_flag_test_and_set(&busy))
        return;
    storm_bury(process.board, false);
    atomic_flag_clear(&busy);
}

/* ---------------------------------------------------------------- a life */

static void one_step(struct actor *actor)
{
    const uint32_t choice = storm_roll(&actor->dice, 1000);
    if (choice < 980)
        table_step(actor);
    else if (choice < 988)
        fork_child(actor);
    else if (choice < 990)
        start_over(actor->child ? 20 : 0);
    else if (choice < 991)
        leave(actor);
    else
        bury_children();
}

static void *live(void *argument)
{
    struct actor *actor = argument;
    storm_take_line(process.board, process.place, actor->number);
    while (!storm_is_over(process.board))
        one_step(actor);
    for (unsigned i = 0; i < TABLES; i++)
        destroy(&actor->table[i]);
    return NULL;
}

static void begin_actor(struct actor *actor, unsigned number)
{
    actor->number = number;
    actor->dice.state =
        storm_mix(process.board->seed + atomic_load(&process.board->place[process.place].generation)) +
        number;
}

/* EAGAIN: another thread is in execve() already. */
static bool start_thread(pthread_t *thread, struct actor *actor)
{
    const int error = pthread_create(thread, NULL, live, actor);
    if (error != 0 && error != EAGAIN)
        COMPLAIN("pthread_create: %s", strerror(error));
    return error == 0;
}

static void live_with_threads(void)
{
    pthread_t thread[STORM_THREADS];
    bool started[STORM_THREADS] = {false};
    for (unsigned i = 0; i < STORM_THREADS; i++)
        begin_actor(&process.actor[i], i);
    for (unsigned i = 1; i < STORM_THREADS; i++)
        started[i] = start_thread(&thread[i], &process.actor[i]);
    live(&process.actor[0]);
    for (unsigned i = 1; i < STORM_THREADS; i++)
        if (started[i])
            pthread_join(thread[i], NULL);
}

static void live_alone(unsigned steps)
{
    struct actor *actor = &process.actor[0];
    begin_actor(actor, 0);
    actor->child = true;
    while (steps-- > 0 && !storm_is_over(process.board))
        one_step(actor);
}

int main(int count, char **arguments)
{
    if (count != 5)
        return 2;
    process.descriptor = atoi(arguments[2]);
    process.place = (unsigned)atoi(arguments[3]);
    process.board = storm_join_board(process.descriptor);
    if (process.board == NULL)
        return 2;
    const unsigned steps = (unsigned)atoi(arguments[4]);
    storm_take_line(process.board, process.place, 0);
    atomic_store(&process.board->place[process.place].generation,
                 atomic_fetch_add(&process.board->generation, 1) + 1);
    if (storm_memory_begin(process.board)) {
        if (steps == 0)
            live_with_threads();
        else
            live_alone(steps);
        storm_memory_end();
    }
    storm_begin(STORM_EXIT);
    return 0;
}

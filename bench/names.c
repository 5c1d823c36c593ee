/* SPDX-License-Identifier: MIT
 *
 * Nanoseconds for what is done by name with blocks of 64 bytes, in random order, while LIVE names are there.
 * Names are made beforehand: what is timed is the library. bench/names_boost.cpp does the same with
 * Boost.Interprocess.
 *
 *     bench-names live LIVE ROUNDS
 *
 * with LIVE blocks in the segment:
 *   pair     a block is deallocated and allocated again
 *   find     the address of a name is asked for
 *   attach   another process allocates what is there
 *   miss     one load that waits for the one before and misses the caches: a walk through a table that is
 *            as large as the blocks and what belongs to them, on pages of 4 KiB
 *
 *     bench-names together LIVE ROUNDS
 *
 * pairs in one process, and in two of them, each with names of its own:
 *   one      nanoseconds a pair
 *   both     nanoseconds until both together have done one
 *   scaling  how much more both get done
 */
#include <shmcore.h>

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "measure.h"

enum { NAME_BYTES = 24, BLOCK_BYTES = 64, LINE = 64, REPEATS = 5, SHORT_REPEATS = 20, PROCESSES = 2 };

#define LINES_LEAST ((size_t)16) /* of a table that is walked through */

struct blocks {
    shmcore_segment *segment;
    size_t live;
    char (*name)[NAME_BYTES];
    void **block;
    size_t *order; /* each of them once */
    size_t next;   /* in that order */
    uint64_t seed;
};

static void fail(const char *why)
{
    fprintf(stderr, "bench-names: %s\n", why);
    exit(1);
}

static void *get(size_t count, size_t each)
{
    void *memory = calloc(count, each);
    if (memory == NULL)
        fail("no memory");
    return memory;
}

static shmcore_segment *open_segment(void)
{
    shmcore_segment *segment = shmcore_open("SHARED::bench", NULL);
    if (segment == NULL)
        fail(shmcore_error());
    return segment;
}

static shmcore_statistics look(const shmcore_segment *segment)
{
    shmcore_statistics statistics;
    if (shmcore_stat(segment, &statistics) != 0)
        fail(shmcore_error());
    return statistics;
}

/* ---------------------------------------------------------------- blocks */

static void shuffle(size_t *order, size_t count, uint64_t *seed)
{
    for (size_t i = count; i-- > 1;) {
        const size_t other = random_below(seed, i + 1), kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

/* Their names begin with `letter`. */
static struct blocks make_names(size_t live, char letter)
{
    struct blocks blocks = {.live = live,
                            .name = get(live, NAME_BYTES),
                            .block = get(live, sizeof(void *)),
                            .order = get(live, sizeof(size_t)),
                            .seed = 1};
    for (size_t i = 0; i < live; i++) {
        snprintf(blocks.name[i], NAME_BYTES, "%c%zu", letter, i);
        blocks.order[i] = i;
    }
    shuffle(blocks.order, live, &blocks.seed);
    return blocks;
}

static void drop_names(struct blocks *blocks)
{
    free(blocks->name);
    free(blocks->block);
    free(blocks->order);
}

static void allocate(struct blocks *blocks, size_t at)
{
    blocks->block[at] = shmcore_allocate(blocks->segment, blocks->name[at], BLOCK_BYTES);
    if (blocks->block[at] == NULL)
        fail(shmcore_error());
}

static void deallocate(struct blocks *blocks, size_t at)
{
    if (shmcore_deallocate(blocks->segment, blocks->block[at]) != 0)
        fail(shmcore_error());
}

/* The first `count` of them in their random order. */
static void allocate_some(struct blocks *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        allocate(blocks, blocks->order[i]);
}

static void deallocate_some(struct blocks *blocks, size_t count)
{
    for (size_t i = 0; i < count; i++)
        deallocate(blocks, blocks->order[i]);
}

/* ---------------------------------------------------------------- one thing timed */

/* So many, taken in their random order, with what is known of them at hand: that the program's own tables
 * miss the caches is not timed. */
#define HAND ((size_t)512)
struct hand {
    size_t count;
    size_t at[HAND];
    char name[HAND][NAME_BYTES];
    void *block[HAND];
};

static void take_hand(struct blocks *blocks, struct hand *hand)
{
    hand->count = blocks->live < HAND ? blocks->live : HAND;
    for (size_t i = 0; i < hand->count; i++) {
        const size_t at = hand->at[i] = blocks->order[blocks->next];
        blocks->next = (blocks->next + 1) % blocks->live;
        memcpy(hand->name[i], blocks->name[at], NAME_BYTES);
        hand->block[i] = blocks->block[at];
    }
}

static void put_back(struct blocks *blocks, const struct hand *hand)
{
    for (size_t i = 0; i < hand->count; i++)
        blocks->block[hand->at[i]] = hand->block[i];
}

static void make_pairs(const struct blocks *blocks, struct hand *hand)
{
    for (size_t i = 0; i < hand->count; i++) {
        if (shmcore_deallocate(blocks->segment, hand->block[i]) != 0)
            fail(shmcore_error());
        hand->block[i] = shmcore_allocate(blocks->segment, hand->name[i], BLOCK_BYTES);
        if (hand->block[i] == NULL)
            fail(shmcore_error());
    }
}

static void find_each(const struct blocks *blocks, struct hand *hand)
{
    for (size_t i = 0; i < hand->count; i++)
        if (shmcore_find(blocks->segment, hand->name[i], NULL) != hand->block[i])
            fail("a name was not found");
}

/* A look at the clock takes as long as several of them: few names are gone through many times at a time. */
static double time_each(struct blocks *blocks, size_t rounds,
                        void (*work)(const struct blocks *blocks, struct hand *hand))
{
    struct hand hand;
    double taken = 0;
    size_t done = 0;
    while (done < rounds) {
        take_hand(blocks, &hand);
        const size_t times = HAND / hand.count;
        const double start = busy();
        for (size_t i = 0; i < times; i++)
            work(blocks, &hand);
        taken += busy() - start;
        put_back(blocks, &hand);
        done += times * hand.count;
    }
    return taken / (double)done;
}

static double time_pairs(struct blocks *blocks, size_t rounds)
{
    return time_each(blocks, rounds, make_pairs);
}

static double time_finds(struct blocks *blocks, size_t rounds)
{
    return time_each(blocks, rounds, find_each);
}

/* Only the attaching is timed. */
static double time_attaching(struct blocks *blocks, size_t rounds)
{
    struct hand hand;
    double taken = 0;
    size_t done = 0;
    for (; done < rounds; done += hand.count) {
        take_hand(blocks, &hand);
        const double start = busy();
        for (size_t i = 0; i < hand.count; i++)
            if ((hand.block[i] = shmcore_allocate(blocks->segment, hand.name[i], BLOCK_BYTES)) == NULL)
                fail(shmcore_error());
        taken += busy() - start;
        for (size_t i = 0; i < hand.count; i++)
            if (shmcore_deallocate(blocks->segment, hand.block[i]) != 0)
                fail(shmcore_error());
    }
    return taken / (double)done;
}

/* The lines of the table are one ring in random order, of which the first word of each knows the next. */
static double time_miss(size_t bytes, size_t rounds)
{
    const size_t lines = bytes / LINE > LINES_LEAST ? bytes / LINE : LINES_LEAST;
    size_t *order = get(lines, sizeof *order);
    uint64_t seed = 3;
    char *table = mmap(NULL, lines * LINE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (table == MAP_FAILED)
        fail("no memory");
    madvise(table, lines * LINE, MADV_NOHUGEPAGE);
    for (size_t i = 0; i < lines; i++)
        order[i] = i;
    shuffle(order, lines, &seed);
    for (size_t i = 0; i < lines; i++)
        *(void **)(void *)(table + order[i] * LINE) = table + order[(i + 1) % lines] * LINE;
    void *volatile *at = (void *volatile *)(void *)table;
    for (size_t i = 0; i < lines && i < rounds; i++)
        at = *at;
    const double start = busy();
    for (size_t i = 0; i < rounds; i++)
        at = *at;
    const double each = (busy() - start) / (double)rounds;
    munmap(table, lines * LINE);
    free(order);
    return each;
}

/* ---------------------------------------------------------------- live */

/* Another process, made before this one has a segment, in which `work` runs when the pipe says so. */
static pid_t start(void (*work)(struct blocks *, size_t), struct blocks *blocks, size_t rounds, int *begin)
{
    int ends[2];
    if (pipe(ends) != 0)
        fail("no pipe");
    const pid_t child = fork();
    if (child < 0)
        fail("no process");
    if (child == 0) {
        char byte;
        close(ends[1]);
        if (read(ends[0], &byte, 1) != 1)
            exit(1);
        work(blocks, rounds);
        exit(0);
    }
    close(ends[0]);
    *begin = ends[1];
    return child;
}

static void let_begin(int begin)
{
    if (write(begin, "", 1) != 1)
        fail("a process has ended");
}

static void await(pid_t child)
{
    int status;
    if (waitpid(child, &status, 0) != child || status != 0)
        fail("a process has failed");
}

static void attach(struct blocks *blocks, size_t rounds)
{
    blocks->segment = open_segment();
    double best = 1e18;
    for (int repeat = 0; repeat < REPEATS; repeat++)
        best = least_of(best, time_attaching(blocks, rounds / REPEATS));
    print_figure("attach", best);
    shmcore_close(blocks->segment);
}

static void measure_live(size_t live, size_t rounds)
{
    struct blocks blocks = make_names(live, 'n');
    int begin;
    const pid_t other = start(attach, &blocks, rounds, &begin);
    double pair = 1e18, find = 1e18, miss = 1e18;
    blocks.segment = open_segment();
    const size_t before = look(blocks.segment).reserved;
    allocate_some(&blocks, live);
    const size_t bytes = look(blocks.segment).reserved - before;
    for (int repeat = 0; repeat < REPEATS; repeat++) {
        pair = least_of(pair, time_pairs(&blocks, rounds / REPEATS));
        find = least_of(find, time_finds(&blocks, rounds / REPEATS));
        miss = least_of(miss, time_miss(bytes, rounds / REPEATS));
    }
    print_figure("pair", pair);
    print_figure("find", find);
    print_figure("miss", miss);
    let_begin(begin);
    await(other);
    deallocate_some(&blocks, live);
    shmcore_close(blocks.segment);
    drop_names(&blocks);
}

static void measure_memory(size_t live)
{
    struct blocks blocks = make_names(live, 'n');
    blocks.segment = open_segment();
    const size_t before = look(blocks.segment).reserved;
    allocate_some(&blocks, live);
    print_figure("bytes", (double)(look(blocks.segment).reserved - before) / (double)live);
    shmcore_close(blocks.segment);
    drop_names(&blocks);
}

/* ---------------------------------------------------------------- together */

/* What the processes tell each other: `ready` counts up, and all wait until it has come to their number. */
struct meeting {
    unsigned ready;
    double started[PROCESSES], ended[PROCESSES];
};

static void meet(unsigned *place, unsigned number)
{
    __atomic_add_fetch(place, 1, __ATOMIC_SEQ_CST);
    while (__atomic_load_n(place, __ATOMIC_SEQ_CST) < number)
        usleep(100);
}

static void pairs_in_one(struct meeting *meeting, unsigned index, unsigned processes, size_t live,
                         size_t rounds)
{
    struct blocks blocks = make_names(live, (char)('a' + (int)index));
    blocks.segment = open_segment();
    allocate_some(&blocks, live);
    meet(&meeting->ready, processes);
    meeting->started[index] = now();
    time_pairs(&blocks, rounds);
    meeting->ended[index] = now();
    shmcore_close(blocks.segment);
    drop_names(&blocks);
}

static double time_processes(unsigned processes, size_t live, size_t rounds)
{
    pid_t child[PROCESSES];
    double first = 1e300, last = 0;
    struct meeting *meeting =
        mmap(NULL, sizeof *meeting, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (meeting == MAP_FAILED)
        fail("no memory");
    for (unsigned i = 0; i < processes; i++) {
        child[i] = fork();
        if (child[i] == 0) {
            pairs_in_one(meeting, i, processes, live, rounds);
            exit(0);
        }
    }
    for (unsigned i = 0; i < processes; i++) {
        await(child[i]);
        first = least_of(first, meeting->started[i]);
        last = meeting->ended[i] > last ? meeting->ended[i] : last;
    }
    munmap(meeting, sizeof *meeting);
    return (last - first) / (double)(processes * rounds);
}

static void measure_together(size_t live, size_t rounds)
{
    double one = 1e18, both = 1e18;
    for (int repeat = 0; repeat < SHORT_REPEATS; repeat++) {
        one = least_of(one, time_processes(1, live, rounds / SHORT_REPEATS));
        both = least_of(both, time_processes(PROCESSES, live, rounds / SHORT_REPEATS));
    }
    print_figure("one", one);
    print_figure("both", both);
    print_figure("scaling", one / both);
}

int main(int count, char **words)
{
    const char *what = count > 1 ? words[1] : "";
    const size_t live = number_in(count, words, 2, 1000), rounds = number_in(count, words, 3, 1000000);
    if (live == 0 || rounds < SHORT_REPEATS)
        return 2;
    if (strcmp(what, "live") == 0)
        measure_live(live, rounds);
    else if (strcmp(what, "memory") == 0)
        measure_memory(live);
    else if (strcmp(what, "together") == 0)
        measure_together(live, rounds);
    else
        return 2;
    return 0;
}

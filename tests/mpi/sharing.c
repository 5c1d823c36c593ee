/* SPDX-License-Identifier: MIT
 *
 * What programs do with a segment that all ranks of a node share, as those of LLNL's Umpire do and test: the
 * largest block there is, found by search, and used over and over; and many blocks of all sizes, of which
 * each rank writes its share and sees that of the others, freed in any order.
 */
#include "ranks.h"

#define BLOCKS 1024
#define TIMES  100
#define STEP   61u /* in words: eight in each page, and each rank has some of those */

/* The same in all ranks. */
static uint64_t chance;

static uint64_t roll(uint64_t sides)
{
    chance ^= chance << 13;
    chance ^= chance >> 7;
    chance ^= chance << 17;
    return chance % sides;
}

static void meet(void)
{
    MPI_Barrier(MPI_COMM_WORLD);
}

static uint64_t word_of(uint64_t block, uint64_t at, uint64_t time)
{
    return (block << 40 ^ at) * UINT64_C(0x9e3779b97f4a7c15) + time;
}

/* Words are dealt out to the ranks; a large block's in steps, so that each page has some and not all are
 * touched. */
static void write_share(uint64_t *words, size_t count, size_t step, uint64_t block, uint64_t time)
{
    for (size_t at = (size_t)rank * step; at < count; at += (size_t)ranks * step)
        words[at] = word_of(block, at, time);
}

static bool is_whole(const uint64_t *words, size_t count, size_t step, uint64_t block, uint64_t time)
{
    for (size_t at = 0; at < count; at += step)
        if (words[at] != word_of(block, at, time))
            return false;
    return true;
}

/* ---------------------------------------------------------------- the largest block */

/* Can all ranks have a block of so many words? */
static bool all_can_have(shmcore_segment *segment, size_t count)
{
    meet(); /* nobody has the one of before */
    void *block = shmcore_allocate(segment, "largest", count * sizeof(uint64_t));
    int have = block != NULL;
    MPI_Allreduce(MPI_IN_PLACE, &have, 1, MPI_INT, MPI_MIN, MPI_COMM_WORLD);
    shmcore_deallocate(segment, block);
    return have != 0;
}

/* How many words there can be at the most, to a page. */
static size_t search_largest(shmcore_segment *segment)
{
    size_t fits = 0, too_many = shmcore_get_traits(segment).size / sizeof(uint64_t) + 1;
    while (too_many - fits > 512) {
        const size_t middle = fits + (too_many - fits) / 2;
        *(all_can_have(segment, middle) ? &fits : &too_many) = middle;
    }
    meet();
    return fits;
}

static void test_largest(shmcore_segment *segment, size_t size, size_t empty)
{
    size_t count = search_largest(segment);
    CHECK(count * sizeof(uint64_t) > (size - empty) / 8 * 7, "the largest block is nearly all that is left");
    CHECK(shmcore_actual_size(segment) == empty, "the search leaves nothing");
    count -= count / 16; /* to the last page it would depend on which rank comes first */
    bool good = true;
    for (uint64_t time = 0; time < TIMES; time++) {
        const size_t step = time == 0 ? STEP : 4001;
        uint64_t *words = shmcore_allocate(segment, "largest", count * sizeof *words);
        good = good && words != NULL;
        if (good)
            write_share(words, count, step, 0, time);
        meet();
        good = good && is_whole(words, count, step, 0, time);
        meet();
        good = shmcore_deallocate(segment, words) == 0 && good;
        meet();
        good = good && shmcore_actual_size(segment) == empty;
        meet(); /* nobody has made the next one when others look */
    }
    CHECK(good, "nearly the largest a hundred times: each rank sees what all have written");
    errno = 0;
    CHECK(shmcore_allocate(segment, "largest", size) == NULL && errno == ENOMEM,
          "one that is larger is refused");
    meet();
    CHECK(shmcore_actual_size(segment) == empty, "and takes nothing");
}

/* ---------------------------------------------------------------- many blocks */

static void shuffle(unsigned *order, size_t count)
{
    for (size_t i = count; i-- > 1;) {
        const size_t other = roll(i + 1);
        const unsigned kept = order[i];
        order[i] = order[other];
        order[other] = kept;
    }
}

struct many {
    uint64_t *words[BLOCKS];
    size_t count[BLOCKS];
    unsigned order[BLOCKS];
};

/* From a word to twice the mean, so that all of them take half of the segment. */
static bool allocate_many(shmcore_segment *segment, struct many *many, size_t size)
{
    bool good = true;
    for (unsigned i = 0; i < BLOCKS; i++) {
        char name[32];
        many->count[i] = 1 + roll(size / BLOCKS / sizeof(uint64_t));
        many->order[i] = i;
        snprintf(name, sizeof name, "block/%u", i);
        many->words[i] = shmcore_allocate(segment, name, many->count[i] * sizeof(uint64_t));
        good = good && many->words[i] != NULL;
    }
    return good;
}

static void test_many(shmcore_segment *segment, size_t size, size_t empty)
{
    static struct many many;
    chance = 42;
    bool good = allocate_many(segment, &many, size);
    if (!CHECK(good, "1024 blocks of random sizes"))
        return; /* all ranks do */
    for (unsigned i = 0; i < BLOCKS; i++)
        write_share(many.words[i], many.count[i], STEP, i, 5);
    meet();
    for (unsigned i = 0; i < BLOCKS; i++)
        good = good && is_whole(many.words[i], many.count[i], STEP, i, 5);
    CHECK(good, "each rank sees what all have written");
    chance += (uint64_t)rank * 1000; /* each rank in an order of its own */
    shuffle(many.order, BLOCKS);
    for (unsigned i = 0; i < BLOCKS; i++) {
        const unsigned which = many.order[i];
        good = good && is_whole(many.words[which], many.count[which], STEP, which, 5);
        good = shmcore_deallocate(segment, many.words[which]) == 0 && good;
    }
    CHECK(good, "freed in any order, the rest stays as it is");
    meet();
    CHECK(shmcore_actual_size(segment) == empty, "the actual size is what it was at the start");
    CHECK(shmcore_find(segment, "block/0", NULL) == NULL && errno == ENOENT, "no block is left");
}

/* Blocks that all ranks have, in every part of the segment, as a program has some that stay: what the library
 * notes of ranks and references is there then, and does not come to lie in the middle of the room that is
 * looked for. */
static bool allocate_some(shmcore_segment *segment)
{
    bool good = true;
    for (unsigned i = 0; i < 64; i++) {
        char name[32];
        snprintf(name, sizeof name, "stays/%u", i);
        good = shmcore_allocate(segment, name, 40000) != NULL && good;
    }
    return good;
}

void test_sharing(size_t size)
{
    shmcore_segment *segment = open_part("sharing", 0, size);
    CHECK(allocate_some(segment), "blocks that stay");
    const size_t empty = shmcore_actual_size(segment);
    test_largest(segment, size, empty);
    meet();
    test_many(segment, size, empty);
    meet();
    shmcore_close(segment);
}

/* SPDX-License-Identifier: MIT */
#include "merge-actors.h"

#include <stdio.h>
#include <string.h>

#define BYTES          (STAGE_CHUNKS * MERGE_CHUNK)
#define NAME           "table"
#define UNWRITTEN_EACH 61u

shmcore_segment *actor_segment;
const char *actor_directory;

static struct {
    unsigned char *block;
    char contents;
    size_t merged;
} own;

void actor_failed(const char *file, int line, const char *condition)
{
    dprintf(STDERR_FILENO, "%s:%d: not so: %s (%s)\n", file, line, condition, shmcore_error());
}

/* ---------------------------------------------------------------- contents */

/* Pages of each chunk that are ever written, and a row for each letter: what they hold there, 0 is zero. */
static const uint32_t written[] = {0, 1, 5, CHUNK_PAGES - 1};
static const struct {
    char letter;
    unsigned char seed[COUNT_OF(written)];
} letters[] = {
    {'A', {1, 0, 2, 3}},  {'B', {4, 5, 6, 3}}, /* one page as in A, and one that is zero there */
    {'C', {4, 0, 6, 3}},                       /* as B but for the page that is zero in A */
    {'D', {7, 8, 9, 10}},                      /* nothing as in the others */
    {'E', {7, 8, 9, 10}},                      /* D's in the first chunk, A's in the second */
    {'Z', {0, 0, 0, 0}},
};

static const unsigned char *seeds_of(char letter)
{
    unsigned i = 0;
    while (letters[i].letter != letter)
        i++;
    return letters[i].seed;
}

static uint64_t seed_of(char letter, uint32_t page)
{
    if (letter == 'E' && page >= CHUNK_PAGES)
        letter = 'A';
    for (unsigned i = 0; i < COUNT_OF(written); i++)
        if (page % CHUNK_PAGES == written[i] && seeds_of(letter)[i] != 0)
            return seeds_of(letter)[i] + (uint64_t)page * 16;
    return 0;
}

static uint64_t word_of(uint64_t seed, uint32_t index)
{
    return seed != 0 ? (seed + index) * UINT64_C(0x9e3779b97f4a7c15) : 0;
}

static void fill_page(uint32_t page, uint64_t seed)
{
    uint64_t *words = (uint64_t *)(void *)(own.block + page * PAGE_BYTES);
    for (uint32_t i = 0; i < PAGE_BYTES / sizeof *words; i++)
        words[i] = word_of(seed, i);
}

static bool page_is(uint32_t page, uint64_t seed)
{
    const uint64_t *words = (const uint64_t *)(const void *)(own.block + page * PAGE_BYTES);
    for (uint32_t i = 0; i < PAGE_BYTES / sizeof *words; i++)
        if (words[i] != word_of(seed, i))
            return false;
    return true;
}

void actor_write(char contents)
{
    for (uint32_t page = 0; page < STAGE_CHUNKS * CHUNK_PAGES; page++)
        if (seed_of(own.contents, page) != seed_of(contents, page))
            fill_page(page, seed_of(contents, page));
    own.contents = contents;
}

/* Pages that nobody ever writes are in no file: of those some are looked at. */
static bool is_looked_at(uint32_t page)
{
    for (unsigned i = 0; i < COUNT_OF(written); i++)
        if (page % CHUNK_PAGES == written[i])
            return true;
    return page % UNWRITTEN_EACH == 0;
}

const char *actor_contents(void)
{
    static char sentence[128];
    for (uint32_t page = 0; own.block != NULL && page < STAGE_CHUNKS * CHUNK_PAGES; page++)
        if (is_looked_at(page) && !page_is(page, seed_of(own.contents, page))) {
            snprintf(sentence, sizeof sentence, "page %u is not what was written to it (%c)", page,
                     own.contents);
            return sentence;
        }
    return NULL;
}

size_t actor_shares(char contents)
{
    size_t pages = 0;
    for (uint32_t page = 0; page < STAGE_CHUNKS * CHUNK_PAGES; page++)
        pages += seed_of(contents, page) != 0;
    return pages * PAGE_BYTES;
}

/* ---------------------------------------------------------------- what they do */

void actor_open(void)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.dir = actor_directory;
    traits.job = "death";
    traits.size = MEBI;
    actor_segment = shmcore_open("SHARED::death", &traits);
    MUST(actor_segment != NULL);
}

void actor_have(char contents)
{
    own.block = shmcore_private(actor_segment, NAME, BYTES);
    MUST(own.block != NULL);
    own.contents = 'Z';
    MUST(actor_contents() == NULL);
    actor_write(contents);
}

void actor_merge(void)
{
    const ssize_t merged = shmcore_merge(actor_segment, own.block);
    MUST(merged >= 0);
    own.merged = (size_t)merged;
}

size_t actor_merged(void)
{
    return own.merged;
}

void actor_free(void)
{
    MUST(shmcore_deallocate(actor_segment, own.block) == 0);
    own.block = NULL;
}

void actor_close(void)
{
    shmcore_close(actor_segment);
    actor_segment = NULL;
    own.block = NULL;
}

bool actor_has(void)
{
    return own.block != NULL;
}

uint32_t actor_row(void)
{
    return actor_segment->row;
}

/* SPDX-License-Identifier: MIT
 *
 * What the tests of core/merge share: this process and another that does what it is told, both with the first
 * grain of the merge space as private memory. To be included after cmocka.h.
 */
#ifndef SHM_TEST_MERGE_PAIR_H
#define SHM_TEST_MERGE_PAIR_H

#include <sys/mman.h>

#include "test-merge.h"

#include "merge.h"

static enum hold_way way;
static struct merge_local locals[GRAIN_CHUNKS];
static uint32_t mappings_left = UINT32_MAX;

/* ---------------------------------------------------------------- what a process does */

enum deed { FILL, MERGE, READ, SHARED, OWN, HOLDS };

struct order {
    enum deed deed;
    uint32_t chunk, page, pages;
    uint64_t seed; /* 0: zeros */
};

static inline uint64_t *page_at(uint32_t chunk, uint32_t page)
{
    return (uint64_t *)(uintptr_t)(merged.base + chunk * MERGE_CHUNK + page * PAGE_BYTES);
}

static inline uint64_t word_for(uint64_t seed, uint32_t page, uint32_t word)
{
    return seed == 0 ? 0 : hash_mix(seed << 40 | (uint64_t)page << 16 | word) | 1;
}

static inline void write_pages(const struct order *order)
{
    for (uint32_t page = order->page; page < order->page + order->pages; page++)
        for (uint32_t word = 0; word < PAGE_BYTES / 8; word++)
            page_at(order->chunk, page)[word] = word_for(order->seed, page, word);
}

static inline bool are_as_written(const struct order *order)
{
    for (uint32_t page = order->page; page < order->page + order->pages; page++)
        for (uint32_t word = 0; word < PAGE_BYTES / 8; word++)
            if (page_at(order->chunk, page)[word] != word_for(order->seed, page, word))
                return false;
    return true;
}

static inline uint32_t own_pages(uint32_t chunk)
{
    uint64_t bits[CHUNK_WORDS];
    uint32_t count = 0;
    const int pagemap = os_pagemap_open();
    if (pagemap < 0 || os_pages_own(pagemap, page_at(chunk, 0), CHUNK_PAGES, bits) != 0)
        return UINT32_MAX;
    os_close(pagemap);
    for (unsigned i = 0; i < CHUNK_WORDS; i++)
        count += (uint32_t)__builtin_popcountll(bits[i]);
    return count;
}

static inline enum merge_outcome merge(uint32_t chunk)
{
    struct merge_pass pass;
    if (!merge_pass_begin(&pass, &merged, row, way))
        return MERGE_NEVER;
    pass.mappings_left = mappings_left;
    const enum merge_outcome outcome = merge_chunk(&pass, chunk, &locals[chunk]);
    const int code = errno;
    merge_pass_end(&pass);
    errno = code;
    return outcome;
}

static inline uint64_t perform(const struct order *order)
{
    switch (order->deed) {
    case FILL:
        write_pages(order);
        return 0;
    case MERGE:
        return (uint64_t)merge(order->chunk);
    case READ:
        return are_as_written(order);
    case SHARED:
        return locals[order->chunk].shared;
    case OWN:
        return own_pages(order->chunk);
    case HOLDS:
        return locals[order->chunk].holds;
    }
    return UINT64_MAX;
}

/* ---------------------------------------------------------------- the other process */

static struct child other; /* pid 0: this one */

static inline bool settle(void)
{
    return merge_index_use(&merged, row, 0, GRAIN_CHUNKS) == 0;
}

static inline int obeys(struct child *self, void *argument)
{
    struct order order;
    (void)argument;
    if (!become_member() || os_map_private_at(merged.base, MERGE_GRAIN) != 0 || !settle())
        return 1;
    child_say(self, 'h');
    while (read(self->link, &order, sizeof order) == sizeof order) {
        const uint64_t answer = perform(&order);
        if (write(self->link, &answer, sizeof answer) != sizeof answer)
            return 2;
    }
    return 0;
}

static inline int begin(void **state)
{
    static const uint64_t key[2] = {1, 1};
    uint32_t first;
    if (why_not != NULL)
        return 0;
    memset(locals, 0, sizeof locals);
    if (open_merged(state) != 0 || merge_index_agree(&merged, key, "test", 4, 1, &first) != 0 || first != 0)
        return -1;
    other = child_start(obeys, NULL);
    if (child_hear(&other) != 'h')
        return -1;
    return os_map_private_at(merged.base, MERGE_GRAIN) == 0 && settle() ? 0 : -1;
}

static inline int end(void **state)
{
    if (why_not != NULL)
        return 0;
    if (other.pid != 0)
        child_kill(&other);
    os_unmap(page_at(0, 0), MERGE_GRAIN);
    return close_merged(state);
}

enum { HERE, THERE };

static inline uint64_t ask(int whom, struct order order)
{
    uint64_t answer = UINT64_MAX;
    if (whom == HERE)
        return perform(&order);
    assert_int_equal(write(other.link, &order, sizeof order), sizeof order);
    assert_int_equal(read(other.link, &answer, sizeof answer), sizeof answer);
    return answer;
}

static inline void fill(int whom, uint32_t page, uint32_t pages, uint64_t seed)
{
    ask(whom, (struct order){.deed = FILL, .page = page, .pages = pages, .seed = seed});
}

static inline void fill_all(int whom, uint64_t seed)
{
    fill(whom, 0, CHUNK_PAGES, seed);
}

static inline void expect_pages(int whom, uint32_t page, uint32_t pages, uint64_t seed)
{
    assert_true(ask(whom, (struct order){.deed = READ, .page = page, .pages = pages, .seed = seed}));
}

static inline void expect_all(int whom, uint64_t seed)
{
    expect_pages(whom, 0, CHUNK_PAGES, seed);
}

static inline void expect_merge(int whom, enum merge_outcome outcome)
{
    assert_int_equal(ask(whom, (struct order){.deed = MERGE}), outcome);
}

static inline void expect_shared(int whom, uint32_t shared, uint32_t own)
{
    assert_int_equal(ask(whom, (struct order){.deed = SHARED}), shared);
    assert_int_equal(ask(whom, (struct order){.deed = OWN}), own);
}

static inline void both_merge_the_same(uint64_t seed)
{
    for (int whom = HERE; whom <= THERE; whom++) {
        fill_all(whom, seed);
        expect_merge(whom, MERGE_DONE);
        expect_shared(whom, CHUNK_PAGES, 0);
    }
}

/* ---------------------------------------------------------------- the file */

static inline void sheet_name(uint32_t number, char out[400])
{
    snprintf(out, 400, "%s.0.%x", merged.prefix, number);
}

static inline uint64_t pages_of_file(uint32_t number)
{
    struct stat status;
    char name[400];
    sheet_name(number, name);
    assert_int_equal(stat(name, &status), 0);
    return (uint64_t)status.st_blocks * 512 / PAGE_BYTES;
}

static inline uint64_t hash_of_file(uint32_t number)
{
    char name[400];
    sheet_name(number, name);
    const int descriptor = open(name, O_RDONLY | O_CLOEXEC);
    assert_true(descriptor >= 0);
    void *bytes = malloc(MERGE_CHUNK);
    assert_int_equal(pread(descriptor, bytes, MERGE_CHUNK, 0), MERGE_CHUNK);
    const uint64_t hash = hash_bytes(bytes, MERGE_CHUNK);
    free(bytes);
    close(descriptor);
    return hash;
}

#define RANK(function) cmocka_unit_test_setup_teardown(function, begin, end)

/* In each of the ways of holding writers. */
#define RUN_IN_ALL_WAYS(name, tests)                                                                         \
    do {                                                                                                     \
        static const char *const names[] = {name ", userfaultfd", name ", scan", name ", compare"};          \
        for (way = HOLD_USERFAULT; way <= HOLD_COMPARE; way++)                                               \
            failed +=                                                                                        \
                _cmocka_run_group_tests(names[way], tests, COUNT_OF(tests), way == 0 ? land : NULL, NULL);   \
    } while (0)

#endif

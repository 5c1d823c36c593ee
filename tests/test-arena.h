/* SPDX-License-Identifier: MIT
 *
 * What the tests of core/arena share: a ground on a plain buffer that remembers what it was told. To be
 * included after cmocka.h.
 */
#ifndef SHM_TEST_ARENA_H
#define SHM_TEST_ARENA_H

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

#include "arena.h"

#define GRAINS 64u
#define PAGES  (GRAINS * GRAIN_PAGES)
#define SPACE  (GRAINS * MERGE_GRAIN)
#define TABLES (8 * MEBI)

enum page { OUTSIDE, UNUSED, USED, GONE, STAYING };

/* A ground that remembers what it was told of each page. */
struct field {
    struct arena_ground ground; /* first: the arena knows no more */
    struct arena arena;
    unsigned char *buffer, *tables;
    size_t tables_used;
    uint32_t grains, most; /* given out, and at the most */
    uint32_t skip;         /* grains left out before each span */
    bool poor;             /* no memory for pages */
    bool lazy;             /* what was freed may stay for a moment */
    uint32_t uses, drops, spans;
    unsigned char page[PAGES];
};

static struct field fields[2];

static inline struct field *field_of(struct arena_ground *ground)
{
    return (struct field *)(void *)ground;
}

static inline int extend(struct arena_ground *ground, struct arena *arena, uint32_t ordinal, uint32_t grains,
                         uint32_t *first)
{
    struct field *field = field_of(ground);
    assert_ptr_equal(arena, &field->arena);
    assert_int_equal(ordinal, field->spans);
    if (field->grains + field->skip + grains > field->most)
        return -ENOSPC;
    *first = field->grains + field->skip;
    field->grains = *first + grains;
    field->spans++;
    memset(field->page + *first * GRAIN_PAGES, UNUSED, grains * GRAIN_PAGES);
    return 0;
}

static inline int use(struct arena_ground *ground, uint32_t page, uint32_t pages)
{
    struct field *field = field_of(ground);
    if (field->poor)
        return -ENOMEM;
    for (uint32_t i = page; i < page + pages; i++) {
        assert_true(field->page[i] == UNUSED || field->page[i] == STAYING);
        field->page[i] = USED;
    }
    field->uses++;
    return 0;
}

static inline void drop(struct arena_ground *ground, struct arena *arena, uint32_t page, uint32_t pages)
{
    struct field *field = field_of(ground);
    assert_ptr_equal(arena, &field->arena);
    assert_true(field->page[page] == USED || field->page[page] == STAYING);
    for (uint32_t i = page; i < page + pages; i++) {
        assert_int_not_equal(field->page[i], OUTSIDE); /* not all of a sheet need be in use */
        field->page[i] = UNUSED; /* the model of the random test says GONE where that is so */
    }
    assert_int_equal(madvise(ground->base + page * PAGE_BYTES, pages * PAGE_BYTES, MADV_DONTNEED), 0);
    field->drops++;
}

static inline bool may_stay(struct arena_ground *ground, uint32_t page, uint32_t pages)
{
    struct field *field = field_of(ground);
    if (field->lazy && pages <= DIRTY_PAGES)
        memset(field->page + page, STAYING, pages);
    return field->lazy;
}

static inline void *memory(struct arena_ground *ground, size_t bytes)
{
    struct field *field = field_of(ground);
    bytes = align_up(bytes, 16);
    if (bytes > TABLES - field->tables_used)
        return NULL;
    void *taken = field->tables + field->tables_used;
    field->tables_used += bytes;
    return taken;
}

static inline void clear(struct field *field)
{
    unsigned char *buffer = field->buffer, *tables = field->tables;
    madvise(buffer, SPACE + MERGE_GRAIN, MADV_DONTNEED);
    memset(tables, 0, field->tables_used);
    *field = (struct field){.buffer = buffer, .tables = tables, .most = GRAINS};
    field->ground =
        (struct arena_ground){.base = (unsigned char *)align_up((uintptr_t)field->buffer, MERGE_GRAIN),
                              .extend = extend,
                              .use = use,
                              .drop = drop,
                              .may_stay = may_stay,
                              .memory = memory};
    field->arena.ground = &field->ground;
}

static inline int make_fields(void **state)
{
    (void)state;
    for (unsigned i = 0; i < 2; i++) {
        const int flags = MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE;
        fields[i].buffer = mmap(NULL, SPACE + MERGE_GRAIN, PROT_READ | PROT_WRITE, flags, -1, 0);
        fields[i].tables = mmap(NULL, TABLES, PROT_READ | PROT_WRITE, flags, -1, 0);
        if (fields[i].buffer == MAP_FAILED || fields[i].tables == MAP_FAILED)
            return -1;
    }
    return 0;
}

static inline int clear_fields(void **state)
{
    (void)state;
    clear(&fields[0]);
    clear(&fields[1]);
    return 0;
}

static struct arena *const arena = &fields[0].arena;

static inline uint64_t offset_of(const struct field *field, const void *pointer)
{
    return (uint64_t)((const unsigned char *)pointer - field->ground.base);
}

#define FRESH(function) cmocka_unit_test_setup(function, clear_fields)

static inline void *take(size_t bytes)
{
    int error = 0;
    void *pointer = arena_allocate(arena, bytes, 0, false, &error);
    if (pointer == NULL)
        fail_msg("no %zu bytes: error %d", bytes, error);
    return pointer;
}

#endif

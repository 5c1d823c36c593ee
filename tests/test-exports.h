/* SPDX-License-Identifier: MIT
 *
 * What the tests of core/export have in common: a segment, and blocks in it as the preload makes and frees
 * them.
 */
#ifndef TEST_EXPORTS_H
#define TEST_EXPORTS_H

#include "test-api.h"

#include <pthread.h>
#include <stdbool.h>

#include "export.h"
#include "export_at_once.h"
#include "export_source.h"
#include "handle.h"
#include "label.h"

static shmcore_segment *segment;

static uint32_t make_label(const char *text)
{
    char label[64];
    uint32_t made;
    const int length = snprintf(label, sizeof label, "%s/%c", text, LABEL_HOLE_SEQUENCE);
    assert_true(export_label(segment, label, (size_t)length, 0, &made));
    return made;
}

static struct export_source source_of(const char *text)
{
    return (struct export_source){.label = make_label(text)};
}

static void *make(struct export_source *source, uint64_t sequence, size_t bytes)
{
    void *block = export_allocate(segment, source, sequence, bytes, 0, 0);
    if (block == NULL)
        fail_msg("%zu bytes: %s", bytes, shmcore_error());
    return block;
}

/* As the preload frees. */
static enum export_answer release(void *block)
{
    enum export_given given = export_give(block);
    if (given == EXPORT_GIVEN_LAST)
        export_emptied(block);
    if (given == EXPORT_REFUSED)
        given = export_give_to_another(block);
    return given != EXPORT_REFUSED ? EXPORT_DONE : export_free(segment, block);
}

/* Extents of that kind that this process has. */
static inline uint32_t extents_there(enum quantum_kind kind)
{
    uint32_t extents = 0;
    const struct view *view = &segment->file.view;
    for (uint32_t quantum = 0; quantum < view_quantum_count(view); quantum++)
        extents += heap_begins(view, quantum, OWNER_PROCESS + segment->row, kind);
    return extents;
}

struct listing {
    const char *name;
    unsigned blocks;
    bool found;
    const void *address;
    size_t bytes;
};

static int look(const shmcore_block *block, void *argument)
{
    struct listing *listing = argument;
    listing->blocks += block->kind == SHMCORE_BLOCK_EXPORT;
    if (listing->name != NULL && strcmp(block->name, listing->name) == 0) {
        listing->found = true;
        listing->address = block->address;
        listing->bytes = block->bytes;
    }
    return 0;
}

static inline struct listing list(const char *name)
{
    struct listing listing = {.name = name};
    assert_int_equal(shmcore_for_each(segment, look, &listing), 0);
    return listing;
}

static inline unsigned random_number(unsigned *state)
{
    *state = *state * 1103515245u + 12345u;
    return *state >> 8;
}

static inline bool is_filled(const unsigned char *block, size_t bytes, unsigned char with)
{
    for (size_t i = 0; i < bytes; i++)
        if (block[i] != with)
            return false;
    return true;
}

static int open_segment(void **state)
{
    (void)state;
    if (make_test_directory("exports") != 0)
        return -1;
    const shmcore_traits traits = traits_here(256 * MIB);
    segment = shmcore_open(NODE, &traits);
    return segment != NULL ? 0 : -1;
}

static int close_segment(void **state)
{
    (void)state;
    return shmcore_close(segment);
}

#endif

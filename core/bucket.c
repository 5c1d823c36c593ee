/* SPDX-License-Identifier: MIT */
#include "bucket.h"

#include <string.h>

/* One of more lines is neither split nor joined: the words of these fit the log. */
#define LINES_SPLIT 32u

static_assert((LINES_SPLIT + 1) * sizeof(struct bucket) / 8 < UNDO_ENTRIES - 64, "a split fits the undo log");

struct bucket *bucket_line(const struct view *view, uint32_t owner, uint32_t reference)
{
    const uint64_t offset = (uint64_t)reference * RECORD_UNIT;
    if (offset % sizeof(struct bucket) != 0 || !view_owner_holds(view, owner, offset, sizeof(struct bucket)))
        return NULL;
    return view_at(view, offset);
}

/* The same for who writes to it, or wants to know whether all is well: a slot for lines, that lives. */
static struct bucket *live_line(const struct view *view, uint32_t owner, uint32_t reference)
{
    const uint64_t offset = (uint64_t)reference * RECORD_UNIT;
    const struct slot slot = slab_slot_of_bytes(view, offset, owner);
    if (slot.slab == NULL || slot.slab->slab_class != SLAB_BUCKETS ||
        !slab_slot_is_live(slot.slab, slot.index))
        return NULL;
    return view_at(view, offset);
}

static bool is_empty(const struct bucket *line)
{
    uint32_t any = 0;
    for (uint32_t i = 0; i < BUCKET_ENTRIES; i++)
        any |= line->record[i];
    return any == 0;
}

/* ---------------------------------------------------------------- one entry */

/* The first free entry of the bucket: *line and its number. BUCKET_ENTRIES: there is none, and *line is the
 * last line; NULL when the bucket makes no sense. */
static uint32_t free_entry(const struct view *view, uint32_t owner, struct bucket **line)
{
    for (uint32_t lines = 0; *line != NULL && lines < BUCKET_LINES_MOST; lines++) {
        for (uint32_t i = 0; i < BUCKET_ENTRIES; i++)
            if ((*line)->record[i] == 0)
                return i;
        if ((*line)->next == 0)
            return BUCKET_ENTRIES;
        *line = live_line(view, owner, (*line)->next);
    }
    *line = NULL;
    return BUCKET_ENTRIES;
}

bool bucket_is_full(const struct view *view, uint32_t owner, struct bucket *first)
{
    return free_entry(view, owner, &first) == BUCKET_ENTRIES && first != NULL;
}

/* The bucket goes on in a new line, which is free if we die: only what leads to it needs the log. */
static void append_line(const struct heap *heap, struct shard *shard, struct bucket *last, uint16_t tag,
                        uint32_t reference)
{
    const struct slot slot = slab_take(heap, shard, SLAB_BUCKETS);
    if (UNLIKELY(slot.slab == NULL)) {
        heap->transaction->overflowed = true;
        return;
    }
    struct bucket *line = slab_slot_bytes(heap->view, slot);
    *line = (struct bucket){.tag = {tag}, .record = {reference}};
    UNDO_SET(heap->transaction, &last->next, view_reference(heap->view, line));
}

void bucket_put(const struct heap *heap, struct shard *shard, struct bucket *first, uint16_t tag,
                uint32_t reference)
{
    struct bucket *line = first;
    const uint32_t entry = free_entry(heap->view, heap->owner, &line);
    if (UNLIKELY(line == NULL)) {
        undo_damaged(heap->transaction);
    } else if (LIKELY(entry < BUCKET_ENTRIES)) {
        line->tag[entry] = tag; /* of an entry that is free if we die */
        UNDO_SET(heap->transaction, &line->record[entry], reference);
    } else {
        append_line(heap, shard, line, tag, reference);
    }
}

static void give_line(const struct heap *heap, struct shard *shard, const struct bucket *line,
                      struct slab **empty)
{
    slab_give(heap, shard, slab_slot_of_bytes(heap->view, view_offset(heap->view, line), heap->owner), empty);
}

bool bucket_take(const struct heap *heap, struct shard *shard, struct bucket *first, uint32_t reference,
                 struct slab **empty)
{
    struct bucket *before = NULL, *line = first;
    for (uint32_t lines = 0; line != NULL && lines < BUCKET_LINES_MOST; lines++) {
        uint32_t i = 0;
        while (i < BUCKET_ENTRIES && line->record[i] != reference)
            i++;
        if (i < BUCKET_ENTRIES) {
            UNDO_SET(heap->transaction, &line->record[i], 0);
            if (before != NULL && is_empty(line)) {
                UNDO_SET(heap->transaction, &before->next, line->next);
                give_line(heap, shard, line, empty);
            }
            return true;
        }
        before = line;
        line = line->next != 0 ? live_line(heap->view, heap->owner, line->next) : NULL;
    }
    return false;
}

/* ---------------------------------------------------------------- whole buckets */

/* Buckets that are put together or taken apart: their lines, and what is in them. */
struct taken_apart {
    struct bucket *line[LINES_SPLIT];
    uint32_t lines, entries;
    uint16_t tag[LINES_SPLIT * BUCKET_ENTRIES];
    uint32_t record[LINES_SPLIT * BUCKET_ENTRIES];
};

/* Adds one. False: it has too many lines. */
static bool take_apart(const struct heap *heap, struct bucket *line, struct taken_apart *apart)
{
    while (line != NULL && apart->lines < LINES_SPLIT) {
        apart->line[apart->lines++] = line;
        for (uint32_t i = 0; i < BUCKET_ENTRIES; i++)
            if (line->record[i] != 0) {
                apart->tag[apart->entries] = line->tag[i];
                apart->record[apart->entries++] = line->record[i];
            }
        if (line->next == 0)
            return true;
        line = live_line(heap->view, heap->owner, line->next);
    }
    return false;
}

static void write_line(const struct heap *heap, struct bucket *line, const struct bucket *wanted)
{
    uint64_t words[sizeof *wanted / sizeof(uint64_t)];
    uint64_t *to = (uint64_t *)(void *)line;
    memcpy(words, wanted, sizeof words);
    for (unsigned i = 0; i < COUNT_OF(words); i++)
        if (to[i] != words[i])
            UNDO_SET(heap->transaction, &to[i], words[i]);
}

/* Writes the entries that have the bit, or those that do not (all, where it is 0), to a bucket that begins
 * with `line` and goes on in lines of those taken apart, after number *used. */
static void write_half(const struct heap *heap, struct bucket *line, const struct taken_apart *apart,
                       uint16_t bit, bool moving, uint32_t *used)
{
    struct bucket wanted = {.next = 0};
    uint32_t count = 0;
    for (uint32_t i = 0; i < apart->entries; i++) {
        if (((apart->tag[i] & bit) != 0) != moving)
            continue;
        if (count == BUCKET_ENTRIES) {
            struct bucket *next = apart->line[++*used];
            wanted.next = view_reference(heap->view, next);
            write_line(heap, line, &wanted);
            wanted = (struct bucket){.next = 0};
            line = next;
            count = 0;
        }
        wanted.tag[count] = apart->tag[i];
        wanted.record[count++] = apart->record[i];
    }
    write_line(heap, line, &wanted);
}

static void give_lines(const struct heap *heap, struct shard *shard, const struct taken_apart *apart,
                       uint32_t from, struct slab **empty)
{
    for (uint32_t i = from; i < apart->lines; i++) {
        struct slab *emptied;
        give_line(heap, shard, apart->line[i], &emptied);
        if (emptied != NULL)
            *empty = emptied;
    }
}

/* The lines of the old bucket are enough for both: full lines and one that is not, twice, are at most one
 * line more, and that is the new bucket's own. A slab of lines that gets empty here stays where it is, for
 * there will be others that need it. */
COLD bool bucket_split(const struct heap *heap, struct shard *shard, struct bucket *first,
                       struct bucket *fresh, uint16_t bit)
{
    struct taken_apart apart;
    struct slab *stays;
    uint32_t used = 0;
    apart.lines = apart.entries = 0;
    if (!take_apart(heap, first, &apart))
        return false;
    write_half(heap, first, &apart, bit, false, &used);
    write_half(heap, fresh, &apart, bit, true, &used);
    give_lines(heap, shard, &apart, used + 1, &stays);
    return true;
}

COLD bool bucket_join(const struct heap *heap, struct shard *shard, struct bucket *first, struct bucket *gone,
                      struct slab **empty)
{
    struct taken_apart apart;
    uint32_t used = 0;
    apart.lines = apart.entries = 0;
    if (!take_apart(heap, first, &apart))
        return false;
    const uint32_t of_gone = apart.lines;
    if (!take_apart(heap, gone, &apart))
        return false;
    apart.line[of_gone] = apart.line[--apart.lines]; /* that one is not for others */
    if (apart.entries > apart.lines * BUCKET_ENTRIES)
        return false;
    write_half(heap, first, &apart, 0, false, &used);
    give_lines(heap, shard, &apart, used + 1, empty);
    return true;
}

/* ---------------------------------------------------------------- all entries */

struct bucket_walk bucket_walk(const struct bucket *first)
{
    struct bucket_walk walk = {.entry = 0};
    if (first != NULL)
        walk.line = *first;
    return walk;
}

uint32_t bucket_walk_on(const struct view *view, uint32_t owner, struct bucket_walk *walk)
{
    for (;;) {
        while (walk->entry < BUCKET_ENTRIES) {
            const uint32_t reference = walk->line.record[walk->entry++];
            if (reference != 0)
                return reference;
        }
        const struct bucket *line = walk->line.next != 0 ? bucket_line(view, owner, walk->line.next) : NULL;
        if (line == NULL || ++walk->lines >= BUCKET_LINES_MOST)
            return 0;
        walk->line = *line;
        walk->entry = 0;
    }
}

bool bucket_lines_are_sound(const struct view *view, uint32_t owner, const struct bucket *first)
{
    const struct bucket *line = first;
    for (uint32_t lines = 0; line->next != 0; lines++) {
        line = live_line(view, owner, line->next);
        if (line == NULL || lines >= BUCKET_LINES_MOST || is_empty(line))
            return false;
    }
    return true;
}

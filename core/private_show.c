/* SPDX-License-Identifier: MIT
 *
 * Merged memory for programs that link the library, and for those who look on: shmcore_private(),
 * shmcore_merge(), shmcore_ask_merge(), shmcore_for_each_merged().
 */
#include <errno.h>
#include <string.h>

#include "error.h"
#include "label.h"
#include "os.h"
#include "private.h"
#include "private_own.h"
#include "text.h"

/* ---------------------------------------------------------------- private blocks */

void *shmcore_private(shmcore_segment *segment, const char *name, size_t bytes)
{
    const struct private_rule anybody = {.when = PRIVATE_MANUAL};
    const size_t length = name != NULL ? strlen(name) : 0;
    if (!segment_is_usable(segment, true))
        return NULL;
    if (length == 0 || !text_is_printable(name, length)) {
        error_set(EINVAL, length == 0 ? "a block needs a name" : "the block name is not printable UTF-8");
        return NULL;
    }
    if (length > MERGE_LABEL) {
        error_set(ENAMETOOLONG, "the name of private memory is %zu bytes long; at most %u are possible",
                  length, MERGE_LABEL);
        return NULL;
    }
    struct arena *arena = private_arena(segment, name, length, 0, &anybody);
    return arena != NULL ? private_allocate(arena, bytes, 0, true) : NULL;
}

/* ---------------------------------------------------------------- merging */

static size_t shared_in(const struct private_space *space, uint32_t first, uint32_t end)
{
    size_t pages = 0;
    for (uint32_t chunk = first; chunk < end; chunk++)
        if (space->chunks[chunk].holds)
            pages += space->chunks[chunk].shared;
    return pages * PAGE_BYTES;
}

ssize_t shmcore_merge(shmcore_segment *segment, void *pointer)
{
    struct private_tally tally;
    if (!segment_is_usable(segment, true))
        return -1;
    struct private_space *space = private_space_for(segment);
    uint32_t first = 0, end = 0;
    if (pointer != NULL) {
        const size_t bytes = private_usable(pointer);
        if (space == NULL || private_space_at(pointer) != space || bytes == 0)
            return error_set(EINVAL, "%p is no private block of segment '%s'", pointer, segment->file.name);
        first = private_chunk_of(space, pointer);
        end = private_chunk_of(space, (unsigned char *)pointer + bytes - 1) + 1;
    }
    if (space == NULL)
        return 0;
    private_pass_over(space, first, end, &tally);
    if (tally.looked == 0 && tally.error != 0) {
        errno = tally.error;
        return -1;
    }
    return (ssize_t)shared_in(space, first, pointer != NULL ? end : private_chunks_end(space));
}

/* ---------------------------------------------------------------- asking */

struct census {
    uint32_t listening, answered;
};

static struct census count_answers(const struct merge_index *index, uint32_t wanted)
{
    const struct view *view = &index->segment->view;
    const uint32_t rows = (uint32_t)least(process_rows_used(view), MERGE_ROWS);
    struct census census = {0, 0};
    for (uint32_t row = 0; row < rows; row++) {
        const struct merge_row *this = &index->file->rows[row];
        if (atomic_load(&this->listens) == 0 || process_state(view, row) != ROW_ALIVE ||
            !os_process_exists(view->rows[row].pid))
            continue;
        census.listening++;
        census.answered += (int32_t)(atomic_load(&this->answered) - wanted) >= 0;
    }
    return census;
}

static int ask(struct merge_index *index, unsigned patience)
{
    struct merge_header *header = &index->file->header;
    const uint64_t until = os_clock() + patience * UINT64_C(1000000);
    const uint32_t wanted = atomic_fetch_add(&header->wanted, 1) + 1;
    os_wake(&header->wanted);
    for (;;) {
        const uint32_t done = atomic_load(&header->done);
        const struct census census = count_answers(index, wanted);
        const uint64_t now = os_clock();
        if (census.answered >= census.listening || now >= until)
            return (int)census.answered;
        os_wait(&header->done, done, least(until - now, UINT64_C(200000000)));
    }
}

int shmcore_ask_merge(shmcore_segment *segment, unsigned patience)
{
    struct merge_index index;
    if (!segment_is_usable(segment, true))
        return -1;
    if (!merge_index_is_there(&segment->file))
        return 0;
    if (merge_index_open(&index, &segment->file, false) != 0)
        return -1;
    const int answered = ask(&index, patience);
    merge_index_close(&index);
    return answered;
}

/* ---------------------------------------------------------------- showing */

struct show {
    const struct merge_index *index;
    uint32_t rows;
    int (*visit)(const shmcore_merged *merged, void *argument);
    void *argument;
    shmcore_merged merged;
};

/* Adds one chunk: who has it, what is shared of it, and what the copy costs. */
static uint32_t add_chunk(struct show *show, uint32_t chunk)
{
    uint32_t ranks = 0, shared = 0;
    for (uint32_t row = 0; row < show->rows; row++) {
        const uint32_t held = merge_index_held(show->index, row, chunk);
        ranks += held != HELD_NOTHING;
        shared += held > HELD_SHARED ? held - HELD_SHARED : 0;
    }
    const uint32_t copy = (uint32_t)least(show->index->file->chunks[chunk].pages, CHUNK_PAGES);
    show->merged.ranks = (uint32_t)most(show->merged.ranks, ranks);
    show->merged.merged += shared * PAGE_BYTES;
    if (shared > copy)
        show->merged.saved += (shared - copy) * PAGE_BYTES;
    return ranks;
}

/* "*" for what differs from block to block, or the block's own. */
static void set_name(struct show *show, const struct merge_span *span, const struct merge_chunk *block)
{
    char *name = show->merged.name;
    const size_t length = least(span->length, MERGE_LABEL);
    if (block != NULL) {
        label_render(span->label, length, atomic_load(&block->block_sequence), show->merged.bytes, name,
                     sizeof show->merged.name);
        return;
    }
    for (size_t i = 0; i < length; i++)
        name[i] =
            span->label[i] == LABEL_HOLE_SEQUENCE || span->label[i] == LABEL_HOLE_SIZE ? '*' : span->label[i];
    name[length] = '\0';
}

static int tell(struct show *show, const struct merge_span *span, const struct merge_chunk *block)
{
    set_name(show, span, block);
    return show->merged.ranks != 0 ? show->visit(&show->merged, show->argument) : 0;
}

static void begin(struct show *show, size_t bytes)
{
    show->merged.bytes = bytes;
    show->merged.merged = show->merged.saved = 0;
    show->merged.ranks = 0;
}

/* Blocks of a chunk or more one by one, then what lies between them as one. */
static int show_span(struct show *show, const struct merge_span *span)
{
    uint32_t small = 0;
    const uint32_t first = span->first * GRAIN_CHUNKS, end = first + span->count * GRAIN_CHUNKS;
    for (uint32_t chunk = first; chunk < end;) {
        const struct merge_chunk *block = &show->index->file->chunks[chunk];
        const uint64_t bytes = atomic_load(&block->block_bytes);
        const uint64_t chunks = divide_up(bytes, MERGE_CHUNK);
        begin(show, bytes);
        if (bytes < MERGE_CHUNK || chunks > end - chunk || add_chunk(show, chunk) == 0) {
            chunk++;
            continue;
        }
        for (uint32_t i = 1; i < chunks; i++)
            add_chunk(show, chunk + i);
        const int answer = tell(show, span, block);
        if (answer != 0)
            return answer;
        chunk += (uint32_t)chunks;
    }
    begin(show, 0);
    for (uint32_t chunk = first; chunk < end;) {
        const uint64_t chunks =
            divide_up(atomic_load(&show->index->file->chunks[chunk].block_bytes), MERGE_CHUNK);
        const shmcore_merged before = show->merged;
        const uint32_t ranks = add_chunk(show, chunk);
        if (chunks != 0 && chunks <= end - chunk && ranks != 0) {
            show->merged = before; /* told already */
            chunk += (uint32_t)chunks;
        } else {
            small += ranks != 0;
            chunk++;
        }
    }
    show->merged.bytes = small * MERGE_CHUNK;
    return small != 0 ? tell(show, span, NULL) : 0;
}

static bool is_sound(const struct merge_index *index, const struct merge_span *span)
{
    const uint32_t grains = atomic_load(&index->file->header.grains);
    return span->first < grains && grains <= MERGE_GRAINS && span->count <= grains - span->first;
}

/* The span of the same arena that begins where this one ends (or, not `after`, ends where it begins). */
static const struct merge_span *neighbour(const struct merge_index *index, uint32_t spans,
                                          const struct merge_span *span, bool after)
{
    for (uint32_t i = 0; i < spans; i++) {
        const struct merge_span *other = &index->file->spans[i];
        const bool touches =
            after ? other->first == span->first + span->count : other->first + other->count == span->first;
        if (touches && is_sound(index, other) && other->length == span->length &&
            memcmp(other->label, span->label, sizeof span->label) == 0)
            return other;
    }
    return NULL;
}

/* A block may lie across spans. */
static void take_in_neighbours(const struct merge_index *index, uint32_t spans, struct merge_span *span)
{
    const struct merge_span *next;
    for (uint32_t i = 0; i < spans && (next = neighbour(index, spans, span, true)) != NULL; i++)
        span->count += next->count;
}

int shmcore_for_each_merged(shmcore_segment *segment,
                            int (*visit)(const shmcore_merged *merged, void *argument), void *argument)
{
    struct merge_index index;
    int answer = 0;
    if (!segment_is_usable(segment, false))
        return -1;
    if (visit == NULL)
        return error_set(EINVAL, "shmcore_for_each_merged() needs a function to call");
    if (!merge_index_is_there(&segment->file))
        return 0;
    if (merge_index_open(&index, &segment->file, false) != 0)
        return -1;
    struct show show = {.index = &index,
                        .rows = (uint32_t)least(process_rows_used(&segment->file.view), MERGE_ROWS),
                        .visit = visit,
                        .argument = argument};
    error_format(show.merged.segment, sizeof show.merged.segment, "%s", segment->file.name);
    const uint32_t spans = (uint32_t)least(atomic_load(&index.file->header.spans), MERGE_SPANS);
    for (uint32_t i = 0; i < spans && answer == 0; i++) {
        struct merge_span span = index.file->spans[i];
        if (is_sound(&index, &span) && neighbour(&index, spans, &span, false) == NULL) {
            take_in_neighbours(&index, spans, &span);
            answer = show_span(&show, &span);
        }
    }
    merge_index_close(&index);
    return answer;
}

/* SPDX-License-Identifier: MIT
 *
 * What a sound segment holds. Trusts what it reads: soundness_of() has said that it may.
 */
#include <string.h>

#include "soundness_parts.h"

static void describe(const struct view *view, uint32_t reference, struct sound_block *out)
{
    const struct record *record = view_record(view, reference);
    const uint64_t at = (uint64_t)reference * RECORD_UNIT, start = at / SLAB_BYTES * SLAB_BYTES;
    const struct slab *slab = view_at(view, start);
    const struct slab_shape *shape = &view->shapes[slab->slab_class];
    const uint64_t index = (at - start - shape->records) / sizeof *record;
    const uint32_t length = record->status >> 8 & 0xff;
    const char *text = record->name;
    *out = (struct sound_block){.status = record->status,
                                .bytes = record->status >> 16,
                                .offset = start + shape->data + index * shape->slot_bytes};
    if ((record->status & RECORD_LONG_NAME) != 0) {
        uint32_t kept;
        memcpy(&kept, record->name, sizeof kept);
        const struct long_name *name = view_at(view, (uint64_t)kept * RECORD_UNIT);
        text = name->text;
        out->salt = name->salt;
    }
    memcpy(out->name, text, length);
    if ((record->status & RECORD_EXTENT) != 0) {
        const struct extent_slot *extent = view_at(view, out->offset);
        out->bytes = extent->bytes;
        out->offset = (uint64_t)extent->quantum << QUANTUM_SHIFT;
    }
}

typedef const char *looker(const struct view *view, const struct record *record,
                           const struct sound_block *block, void *argument);

static const char *walk_bucket(const struct view *view, const struct bucket *line, looker *look,
                               void *argument)
{
    for (;;) {
        for (uint32_t i = 0; i < BUCKET_ENTRIES; i++) {
            struct sound_block block;
            const char *answer = NULL;
            if (line->record[i] != 0) {
                describe(view, line->record[i], &block);
                answer = look(view, view_record(view, line->record[i]), &block, argument);
            }
            if (answer != NULL)
                return answer;
        }
        if (line->next == 0)
            return NULL;
        line = view_at(view, (uint64_t)line->next * RECORD_UNIT);
    }
}

static const char *walk(const struct view *view, looker *look, void *argument)
{
    const char *answer = NULL;
    for (uint32_t s = 0; s < view->shard_count; s++)
        for (uint32_t b = 0; answer == NULL && b < view->shards[s].directory.buckets; b++)
            answer = walk_bucket(view, audit_bucket(view, &view->shards[s], b), look, argument);
    return answer;
}

static uint64_t of_holder(uint32_t row, uint32_t count)
{
    return hash_mix((uint64_t)row << 32 | count);
}

static const char *add_to_sum(const struct view *view, const struct record *record,
                              const struct sound_block *block, void *argument)
{
    uint64_t *sum = argument;
    /* a row may hold with its slot and as the first: what counts is both together */
    uint32_t first = record->first_count;
    uint64_t holders = 0;
    for (uint32_t r = record->rows; r != 0;) {
        const struct row_slot *slot = view_at(view, (uint64_t)r * RECORD_UNIT);
        const bool both = first != 0 && slot->process == record->first_process;
        holders += of_holder(slot->process, slot->count + (both ? first : 0));
        first = both ? 0 : first;
        r = slot->next;
    }
    if (first != 0)
        holders += of_holder(record->first_process, first);
    const uint64_t name = hash_bytes(block->name, strlen(block->name)) ^ hash_mix(block->salt);
    *sum += hash_mix(name ^ hash_mix(block->bytes) ^ hash_mix(holders ^ (block->status & 0xff)));
    return NULL;
}

uint64_t soundness_sum(const struct view *view)
{
    uint64_t sum = 0;
    walk(view, add_to_sum, &sum);
    return sum;
}

struct visit {
    const char *(*look)(const struct view *view, const struct sound_block *block);
};

static const char *visit_one(const struct view *view, const struct record *record,
                             const struct sound_block *block, void *argument)
{
    (void)record;
    return ((const struct visit *)argument)->look(view, block);
}

const char *soundness_for_each(const struct view *view,
                               const char *(*look)(const struct view *view, const struct sound_block *block))
{
    struct visit visit = {look};
    return walk(view, visit_one, &visit);
}

/* SPDX-License-Identifier: MIT
 *
 * The names of one shard: buckets, records, what the records lead to, and who holds them.
 */
#include <string.h>

#include "soundness_parts.h"

/* A record on the way through the checks, with what it says. */
struct found_record {
    const struct record *record;
    uint32_t reference, status;
    const char *name;
    uint32_t length;
    uint64_t salt, offset, bytes, rounded;
};

static uint32_t bucket_for(uint32_t hash, uint32_t buckets)
{
    uint32_t level = 1;
    while (level * 2 <= buckets)
        level *= 2;
    const uint32_t index = hash % (level * 2);
    return index < buckets ? index : hash % level;
}

/* ---------------------------------------------------------------- the table of buckets */

/* 256 eight times, 512 four times, 1024 four times … */
static uint32_t buckets_of_piece(uint32_t piece)
{
    return piece < 8 ? 256 : 512u << (piece - 8) / 4;
}

const struct bucket *audit_bucket(const struct view *view, const struct shard *shard, uint32_t index)
{
    uint32_t piece = 0;
    while (index >= buckets_of_piece(piece))
        index -= buckets_of_piece(piece++);
    return (const struct bucket *)view_at(view, (uint64_t)shard->directory.piece[piece] << QUANTUM_SHIFT) +
           index;
}

/* Each piece is a table extent of the right size; there is one for each bucket in use, and at most one more.
 */
static const char *audit_pieces(const struct audit *audit)
{
    const struct directory *directory = &audit->shard->directory;
    uint64_t buckets = 0;
    for (uint32_t p = 0; p < DIRECTORY_PIECES; p++) {
        const uint32_t quantum = directory->piece[p];
        const uint64_t offset = (uint64_t)quantum << QUANTUM_SHIFT;
        const uint64_t bytes = (uint64_t)buckets_of_piece(p) * sizeof(struct bucket);
        if (quantum == 0 && buckets < directory->buckets)
            return complain("shard %u has %u buckets and no piece %u of the table", audit->number,
                            directory->buckets, p);
        if (quantum != 0 && buckets > directory->buckets)
            return complain("shard %u has %u buckets and a piece %u of the table", audit->number,
                            directory->buckets, p);
        buckets += buckets_of_piece(p);
        if (quantum == 0)
            continue;
        if (quantum >= view_quantum_count(audit->view) || !audit_owns(audit->view, quantum, audit->owner) ||
            audit_kind(audit->view, quantum) != QUANTUM_TABLE || audit->reached[quantum] ||
            (uint64_t)audit->view->quanta[quantum].count << QUANTUM_SHIFT != bytes)
            return complain("piece %u of the table of shard %u, at quantum %u, is no such extent", p,
                            audit->number, quantum);
        if (!audit_is_reserved(audit->view, offset, bytes))
            return complain("piece %u of the table of shard %u has no memory", p, audit->number);
        audit->reached[quantum] = 1;
    }
    return NULL;
}

/* ---------------------------------------------------------------- who holds a block */

static const char *one_holder(const struct audit *audit, uint32_t row, uint32_t count, const char *name)
{
    if (!audit_row_is_used(audit->view, row))
        return complain("block '%s' is held by row %u, which is free", name, row);
    if (count == 0)
        return complain("block '%s' is held by row %u zero times", name, row);
    audit->held[row] += count;
    return NULL;
}

static const char *audit_holders(const struct audit *audit, const struct found_record *found,
                                 const char *name)
{
    const struct record *record = found->record;
    uint64_t sum = record->first_count;
    const char *wrong = NULL;
    if (record->first_count != 0)
        wrong = one_holder(audit, record->first_process, record->first_count, name);
    for (uint32_t reference = record->rows; wrong == NULL && reference != 0;) {
        const uint64_t offset = (uint64_t)reference * RECORD_UNIT;
        wrong = audit_reach_slot(audit, offset, false, SLAB_ROW_SLOTS, SLAB_ROW_SLOTS, "a row slot");
        if (wrong != NULL)
            return wrong;
        const struct row_slot *slot = view_at(audit->view, offset);
        for (uint32_t other = record->rows; other != reference;) { /* those before it have been looked at */
            const struct row_slot *before = view_at(audit->view, (uint64_t)other * RECORD_UNIT);
            if (before->process == slot->process)
                return complain("block '%s' has two slots for row %u", name, slot->process);
            other = before->next;
        }
        wrong = one_holder(audit, slot->process, slot->count, name);
        sum += slot->count;
        reference = slot->next;
    }
    if (wrong != NULL)
        return wrong;
    if (sum != record->refs || sum == 0)
        return complain("block '%s' has %u references, and its holders have %lu", name, record->refs,
                        (unsigned long)sum);
    return NULL;
}

/* ---------------------------------------------------------------- what a record says */

static const char *read_name(const struct audit *audit, struct found_record *found)
{
    found->length = found->status >> 8 & 0xff;
    found->name = found->record->name;
    if ((found->status & RECORD_LONG_NAME) == 0)
        return found->length <= RECORD_NAME_BYTES ? NULL
                                                  : complain("a name of %u bytes in a record", found->length);
    uint32_t reference;
    memcpy(&reference, found->record->name, sizeof reference);
    const char *wrong = audit_reach_slot(audit, (uint64_t)reference * RECORD_UNIT, false, SLAB_NAMES_32,
                                         SLAB_NAMES_272, "a long name");
    if (wrong != NULL)
        return wrong;
    const struct long_name *name = view_at(audit->view, (uint64_t)reference * RECORD_UNIT);
    const uint32_t slab = (uint32_t)((uint64_t)reference * RECORD_UNIT / SLAB_BYTES * SLAB_QUANTA);
    const uint32_t slab_class = view_slab(audit->view, slab)->slab_class;
    if (sizeof *name + found->length > audit->view->shapes[slab_class].slot_bytes)
        return complain("a name of %u bytes in a slot of class %u", found->length, slab_class);
    found->name = name->text;
    found->salt = name->salt;
    return NULL;
}

static const char *read_extent(const struct audit *audit, struct found_record *found, const char *name,
                               const struct extent_slot *slot)
{
    const struct view *view = audit->view;
    const uint32_t state = found->status & RECORD_STATE_MASK;
    found->offset = (uint64_t)slot->quantum << QUANTUM_SHIFT;
    found->bytes = slot->bytes;
    found->rounded = (uint64_t)slot->count << QUANTUM_SHIFT;
    if (slot->quantum >= view_quantum_count(view) || !audit_owns(view, slot->quantum, audit->owner) ||
        audit_kind(view, slot->quantum) != QUANTUM_NAMED)
        return complain("block '%s' should lie at quantum %u, where no block is", name, slot->quantum);
    const struct quantum *entry = &view->quanta[slot->quantum];
    if (entry->count != slot->count || found->bytes > found->rounded)
        return complain("block '%s' has %lu bytes in %u quanta of %u", name, (unsigned long)slot->bytes,
                        slot->count, entry->count);
    if (entry->record != found->reference)
        return complain("block '%s' is of record %x, and its extent says %x", name, found->reference,
                        entry->record);
    if (audit->reached[slot->quantum])
        return complain("the extent at %u is of two blocks, one of them '%s'", slot->quantum, name);
    audit->reached[slot->quantum] = 1;
    if (state == RECORD_READY && !audit_is_reserved(view, found->offset, found->bytes))
        return complain("block '%s' is ready and has no memory", name);
    return NULL;
}

static const char *read_bytes(const struct audit *audit, struct found_record *found, const char *name)
{
    const struct view *view = audit->view;
    const uint64_t at = (uint64_t)found->reference * RECORD_UNIT;
    const struct slab *slab = view_at(view, at / SLAB_BYTES * SLAB_BYTES);
    const struct slab_shape *shape = &view->shapes[slab->slab_class];
    const uint64_t index = (at % SLAB_BYTES - shape->records) / sizeof(struct record);
    const uint64_t offset = at / SLAB_BYTES * SLAB_BYTES + shape->data + index * shape->slot_bytes;
    const uint32_t state = found->status & RECORD_STATE_MASK;
    const bool extent = (found->status & RECORD_EXTENT) != 0;
    if (state != RECORD_READY && !(extent && state == RECORD_INITIALISING))
        return complain("block '%s' is in state %u", name, state);
    if (extent != (slab->slab_class == SLAB_EXTENT_SLOTS))
        return complain("block '%s' has status %x in a slab of class %u", name, found->status,
                        slab->slab_class);
    if (extent)
        return read_extent(audit, found, name, view_at(view, offset));
    found->offset = offset;
    found->bytes = found->status >> 16;
    found->rounded = shape->slot_bytes;
    return found->bytes <= found->rounded
               ? NULL
               : complain("block '%s' has %lu bytes in a slot of %lu", name, (unsigned long)found->bytes,
                          (unsigned long)found->rounded);
}

static const char *one_record(const struct audit *audit, uint32_t bucket, uint16_t tag,
                              struct found_record *found)
{
    char name[256];
    found->record = view_at(audit->view, (uint64_t)found->reference * RECORD_UNIT);
    found->status = found->record->status;
    const char *wrong = read_name(audit, found);
    if (wrong != NULL)
        return wrong;
    memcpy(name, found->name, found->length);
    name[found->length] = '\0';
    const uint64_t hash = hash_bytes(name, found->length);
    if (tag != (uint16_t)(hash >> 24))
        return complain("'%s' is beside a tag of another name", name);
    if ((uint32_t)(hash >> 59) % audit->view->shard_count != audit->number)
        return complain("'%s' is in shard %u", name, audit->number);
    if (bucket_for((uint32_t)(hash >> 16), audit->shard->directory.buckets) != bucket)
        return complain("'%s' is in bucket %u of %u", name, bucket, audit->shard->directory.buckets);
    wrong = read_bytes(audit, found, name);
    return wrong != NULL ? wrong : audit_holders(audit, found, name);
}

/* ---------------------------------------------------------------- all of them */

static bool same_name(const struct found_record *a, const struct found_record *b)
{
    return a->length == b->length && a->salt == b->salt && memcmp(a->name, b->name, a->length) == 0;
}

struct sums {
    uint64_t entries, bytes;
};

/* The records of one bucket that have been seen: not all, when it is a very long one. */
struct seen {
    struct found_record record[64];
    unsigned count;
};

static const char *one_entry(const struct audit *audit, uint32_t bucket, const struct bucket *line,
                             uint32_t entry, struct seen *seen, struct sums *sums)
{
    const uint32_t reference = line->record[entry];
    struct found_record *found =
        &seen->record[seen->count < COUNT_OF(seen->record) ? seen->count++ : seen->count - 1];
    *found = (struct found_record){.reference = reference};
    const char *wrong =
        audit_reach_slot(audit, (uint64_t)reference * RECORD_UNIT, true, 0, SLAB_EXTENT_SLOTS, "a record");
    if (wrong == NULL)
        wrong = one_record(audit, bucket, line->tag[entry], found);
    for (unsigned i = 0; wrong == NULL && i + 1 < seen->count; i++)
        if (same_name(&seen->record[i], found))
            wrong = complain("a name of %u bytes is twice in bucket %u", found->length, bucket);
    sums->entries++;
    sums->bytes += found->rounded;
    return wrong;
}

static const char *one_bucket(const struct audit *audit, uint32_t bucket, struct sums *sums)
{
    struct seen seen = {.count = 0};
    const struct bucket *line = audit_bucket(audit->view, audit->shard, bucket);
    const char *wrong = NULL;
    for (bool first = true; wrong == NULL && line != NULL; first = false) {
        unsigned there = 0;
        for (uint32_t i = 0; wrong == NULL && i < BUCKET_ENTRIES; i++)
            if (line->record[i] != 0) {
                wrong = one_entry(audit, bucket, line, i, &seen, sums);
                there++;
            }
        if (wrong == NULL && there == 0 && !first)
            return complain("bucket %u has a further line, which is empty", bucket);
        const uint64_t next = (uint64_t)line->next * RECORD_UNIT;
        if (wrong == NULL && next != 0)
            wrong = audit_reach_slot(audit, next, false, SLAB_BUCKETS, SLAB_BUCKETS, "a line of a bucket");
        line = next != 0 ? view_at(audit->view, next) : NULL;
    }
    return wrong;
}

const char *audit_names(const struct audit *audit)
{
    const struct shard *shard = audit->shard;
    struct sums sums = {0};
    const char *wrong = audit_pieces(audit);
    for (uint32_t b = 0; wrong == NULL && b < shard->directory.buckets; b++)
        wrong = one_bucket(audit, b, &sums);
    if (wrong != NULL)
        return wrong;
    if (sums.entries != shard->directory.entries || sums.entries != shard->blocks)
        return complain("shard %u has %lu names and says %u entries, %lu blocks", audit->number,
                        (unsigned long)sums.entries, shard->directory.entries, (unsigned long)shard->blocks);
    if (sums.bytes != shard->used_bytes)
        return complain("the blocks of shard %u have %lu bytes and it says %lu", audit->number,
                        (unsigned long)sums.bytes, (unsigned long)shard->used_bytes);
    return NULL;
}

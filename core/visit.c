/* SPDX-License-Identifier: MIT
 *
 * Reading a segment as a whole, region by region, in the order of addresses: a block that stays is met
 * exactly once, whatever comes and goes around it.
 *
 * No lock is taken, because a read-only viewer could not and a slow visitor must not hold one. So everything
 * read is checked before it is used to find something else, and a block is described only if it was the
 * same before and after its description was copied. Regions of the pool are not looked at: their tables may
 * have no memory.
 */
#include "visit.h"

#include <errno.h>
#include <string.h>

#include "blocks.h"
#include "directory.h"
#include "export_slots.h"
#include "inherited.h"
#include "label.h"
#include "place.h"
#include "reference.h"

struct visitor {
    shmcore_segment *segment;
    const struct view *view;
    int (*visit)(const shmcore_block *block, void *argument);
    void *argument;
};

typedef int quantum_visitor(const struct visitor *visitor, uint32_t quantum, uint32_t owner, uint32_t kind);

static bool is_shard(const struct view *view, uint32_t owner)
{
    return owner >= OWNER_SHARD && owner < OWNER_SHARD + view->shard_count;
}

static bool is_process(const struct view *view, uint32_t owner)
{
    return owner >= OWNER_PROCESS && owner < OWNER_PROCESS + view->row_count;
}

GLANCES static uint32_t kind_at(const struct view *view, uint32_t quantum)
{
    return atomic_load_explicit(&view->quanta[quantum].kind, memory_order_acquire);
}

/* Calls `look` at the first quantum of every extent of shards and processes. */
GLANCES static int walk(const struct visitor *visitor, quantum_visitor *look)
{
    const struct view *view = visitor->view;
    const uint32_t each = view_region_quanta(view);
    for (uint32_t region = view->table_regions; region < view->region_count; region++) {
        for (uint32_t q = region * each; q < (region + 1) * each; q++) {
            const uint32_t owner = view_owner_of_quantum(view, q);
            if (!is_shard(view, owner) && !is_process(view, owner))
                break;
            const uint32_t kind = kind_at(view, q);
            const int result = kind == QUANTUM_NONE ? 0 : look(visitor, q, owner, kind);
            if (result != 0)
                return result;
        }
    }
    return 0;
}

/* ---------------------------------------------------------------- exported blocks */

GLANCES static pid_t pid_of_row(const struct view *view, uint32_t row)
{
    return row < view->row_count ? view->rows[row].pid : 0;
}

static void begin_block(const struct visitor *visitor, shmcore_block *block, uint64_t offset, uint64_t bytes)
{
    memset(block, 0, sizeof *block);
    memcpy(block->segment, visitor->segment->file.name, sizeof block->segment);
    block->address = view_at(visitor->view, offset);
    block->bytes = bytes;
}

GLANCES static bool set_exported_name(const struct view *view, shmcore_block *block, uint32_t label,
                                      uint32_t owner, uint64_t sequence)
{
    const uint64_t offset = (uint64_t)label << LABEL_SHIFT;
    const uint32_t quantum = (uint32_t)(offset >> QUANTUM_SHIFT);
    if (!view_holds(view, offset, sizeof(struct label)) || view_owner_of_quantum(view, quantum) != owner ||
        kind_at(view, quantum) != QUANTUM_LABELS)
        return false;
    const struct label *text = view_label(view, label);
    const uint32_t length = (uint32_t)least(text->length, LABEL_TEXT);
    label_render(text->text, length, sequence, block->bytes, block->name, sizeof block->name);
    return block->name[0] != '\0';
}

GLANCES static bool describe_export(const struct visitor *visitor, uint32_t quantum, uint32_t owner,
                                    shmcore_block *block)
{
    const struct view *view = visitor->view;
    const struct quantum *entry = &view->quanta[quantum];
    const uint64_t bytes = entry->bytes, sequence = entry->sequence;
    const uint64_t offset = (uint64_t)quantum << QUANTUM_SHIFT;
    const uint32_t count = entry->count;
    if (count == 0 || !view_range_belongs(view, quantum, count, owner) ||
        bytes > (uint64_t)count << QUANTUM_SHIFT)
        return false;
    begin_block(visitor, block, offset, bytes);
    block->kind = SHMCORE_BLOCK_EXPORT;
    block->refs = 1;
    block->owner = pid_of_row(view, owner - OWNER_PROCESS);
    if (!set_exported_name(view, block, entry->label, owner, sequence & ~QUANTUM_FLAGS))
        return false;
    return kind_at(view, quantum) == QUANTUM_EXPORT && entry->sequence == sequence;
}

/* What the slab looks like inside, when that lies in the owner's regions; else NULL. */
GLANCES static const struct export_shape *shape_of(const struct view *view, uint32_t quantum, uint32_t owner)
{
    const struct export_slab *slab = view_at(view, (uint64_t)quantum << QUANTUM_SHIFT);
    const uint32_t slab_class = *(const volatile uint32_t *)&slab->slab_class;
    if (slab_class >= SLAB_DATA_CLASSES)
        return NULL;
    const struct export_shape *shape = &view->export_shapes[slab_class];
    return view_range_belongs(view, quantum, shape->quanta, owner) ? shape : NULL;
}

GLANCES static bool describe_slot(const struct visitor *visitor, uint32_t quantum, uint32_t owner,
                                  const struct export_slab *slab, const struct export_shape *shape,
                                  uint32_t slot, shmcore_block *block)
{
    const uint32_t info = atomic_load_explicit(export_info(slab, shape, slot), memory_order_acquire);
    const uint32_t slack = export_info_slack(shape, info);
    const uint64_t sequence = slab->base + export_info_delta(shape, info);
    const uint64_t start = ((uint64_t)quantum << QUANTUM_SHIFT) + shape->data;
    if (slack > shape->slot_bytes)
        return false;
    begin_block(visitor, block, start + (uint64_t)slot * shape->slot_bytes, shape->slot_bytes - slack);
    block->kind = SHMCORE_BLOCK_EXPORT;
    block->refs = 1;
    block->owner = pid_of_row(visitor->view, owner - OWNER_PROCESS);
    if (!set_exported_name(visitor->view, block, slab->label, owner, sequence))
        return false;
    return export_slot_is_alive(slab, shape, slot) && atomic_load(export_info(slab, shape, slot)) == info;
}

GLANCES static int visit_export_slab(const struct visitor *visitor, uint32_t quantum, uint32_t owner)
{
    const struct export_slab *slab = view_at(visitor->view, (uint64_t)quantum << QUANTUM_SHIFT);
    const struct export_shape *shape = shape_of(visitor->view, quantum, owner);
    if (shape == NULL)
        return 0;
    for (uint32_t slot = 0; slot < shape->slots; slot++) {
        shmcore_block block;
        if (!export_slot_is_alive(slab, shape, slot))
            continue;
        if (kind_at(visitor->view, quantum) != QUANTUM_EXPORT_SLAB ||
            shape_of(visitor->view, quantum, owner) != shape) /* it may change, or go, while we look */
            return 0;
        if (describe_slot(visitor, quantum, owner, slab, shape, slot, &block)) {
            const int result = visitor->visit(&block, visitor->argument);
            if (result != 0)
                return result;
        }
    }
    return 0;
}

static int visit_of_process(const struct visitor *visitor, uint32_t quantum, uint32_t owner, uint32_t kind)
{
    shmcore_block block;
    if (kind == QUANTUM_EXPORT_SLAB)
        return visit_export_slab(visitor, quantum, owner);
    if (kind == QUANTUM_EXPORT && describe_export(visitor, quantum, owner, &block))
        return visitor->visit(&block, visitor->argument);
    return 0;
}

/* ---------------------------------------------------------------- named blocks */

GLANCES static bool describe_named(const struct visitor *visitor, uint32_t owner, uint32_t reference,
                                   shmcore_block *block)
{
    const struct view *view = visitor->view;
    struct block_place place;
    if (!block_describe(view, owner, reference, &place))
        return false;
    const uint32_t status = atomic_load_explicit(&place.record->status, memory_order_acquire);
    if ((status & RECORD_STATE_MASK) != RECORD_READY || !view_holds(view, place.offset, place.bytes))
        return false;
    begin_block(visitor, block, place.offset, place.bytes);
    block->kind = (status & RECORD_SHARE) != 0 ? SHMCORE_BLOCK_SHARE : SHMCORE_BLOCK_NAMED;
    block->refs = place.record->refs;
    block->owner = pid_of_row(view, reference_holder(view, place.record, owner - OWNER_SHARD));
    directory_name(view, place.record, owner, block->name, NULL);
    return block->name[0] != '\0' && atomic_load(&place.record->status) == status;
}

GLANCES static int visit_records(const struct visitor *visitor, uint32_t quantum, uint32_t owner)
{
    const struct view *view = visitor->view;
    const struct slab *slab = slab_at(view, quantum, owner);
    if (slab == NULL)
        return 0;
    const uint32_t slab_class = slab->slab_class;
    if (slab_class > SLAB_EXTENT_SLOTS)
        return 0;
    for (uint32_t index = 0; index < view->shapes[slab_class].slots; index++) {
        shmcore_block block;
        const struct slot slot = {(struct slab *)(uintptr_t)slab, index};
        if (!slab_slot_is_live(slab, index) || slab->slab_class != slab_class)
            continue;
        if (describe_named(visitor, owner, view_reference(view, slab_slot_record(view, slot)), &block)) {
            const int result = visitor->visit(&block, visitor->argument);
            if (result != 0)
                return result;
        }
    }
    return 0;
}

static int visit_quantum(const struct visitor *visitor, uint32_t quantum, uint32_t owner, uint32_t kind)
{
    if (is_process(visitor->view, owner))
        return visit_of_process(visitor, quantum, owner, kind);
    return kind == QUANTUM_RECORDS ? visit_records(visitor, quantum, owner) : 0;
}

int shmcore_for_each(shmcore_segment *segment, int (*visit)(const shmcore_block *block, void *argument),
                     void *argument)
{
    if (!segment_is_usable(segment, false))
        return -1;
    if (visit == NULL)
        return error_set(EINVAL, "shmcore_for_each() needs a function to call");
    const struct visitor visitor = {
        .segment = segment, .view = &segment->file.view, .visit = visit, .argument = argument};
    return walk(&visitor, visit_quantum);
}

/* ---------------------------------------------------------------- find, block_of, sums */

struct search {
    const char *name;
    shmcore_block found;
};

static int compare_name(const shmcore_block *block, void *argument)
{
    struct search *search = argument;
    if (strcmp(block->name, search->name) != 0)
        return 0;
    search->found = *block;
    return 1;
}

static int only_exports(const struct visitor *visitor, uint32_t quantum, uint32_t owner, uint32_t kind)
{
    return is_process(visitor->view, owner) ? visit_of_process(visitor, quantum, owner, kind) : 0;
}

void *shmcore_find(shmcore_segment *segment, const char *name, size_t *bytes)
{
    struct search search = {.name = name};
    if (!segment_is_usable(segment, false))
        return NULL;
    if (name == NULL || name[0] == '\0') {
        error_set(EINVAL, "a block needs a name");
        return NULL;
    }
    void *pointer = block_find(segment, name, bytes);
    if (pointer != NULL)
        return pointer;
    const struct visitor visitor = {
        .segment = segment, .view = &segment->file.view, .visit = compare_name, .argument = &search};
    if (walk(&visitor, only_exports) == 1) {
        if (bytes != NULL)
            *bytes = search.found.bytes;
        return search.found.address;
    }
    error_set(ENOENT, "there is no block '%s' in segment '%s'", name, segment->file.name);
    return NULL;
}

struct covering {
    const unsigned char *pointer;
    shmcore_block *out;
};

static int compare_address(const shmcore_block *block, void *argument)
{
    struct covering *covering = argument;
    const unsigned char *start = block->address;
    const size_t inside = (size_t)(covering->pointer - start);
    if (covering->pointer < start || (inside >= block->bytes && inside != 0))
        return 0;
    *covering->out = *block;
    return 1;
}

/* The extent that the quantum lies in begins at it or before it. */
GLANCES static int describe_covering(const struct visitor *visitor, uint64_t offset)
{
    const struct view *view = visitor->view;
    uint32_t quantum = (uint32_t)(offset >> QUANTUM_SHIFT);
    const uint32_t owner = view_owner_of_quantum(view, quantum);
    if (!is_shard(view, owner) && !is_process(view, owner))
        return 0;
    while (quantum > 0 && view_owner_of_quantum(view, quantum - 1) == owner &&
           (kind_at(view, quantum) == QUANTUM_NONE || kind_at(view, quantum) == QUANTUM_EXPORT_INNER))
        quantum--;
    const uint32_t kind = kind_at(view, quantum);
    if (kind != QUANTUM_NAMED)
        return visit_quantum(visitor, quantum, owner, kind);
    shmcore_block block;
    return describe_named(visitor, owner, view->quanta[quantum].record, &block)
               ? visitor->visit(&block, visitor->argument)
               : 0;
}

int shmcore_block_of(const void *pointer, shmcore_block *out)
{
    shmcore_segment *segment = segment_of_pointer(pointer);
    struct covering covering = {.pointer = pointer, .out = out};
    if (segment == NULL || out == NULL)
        return error_set(EINVAL, "%p is in no open segment", pointer);
    const struct visitor visitor = {
        .segment = segment, .view = &segment->file.view, .visit = compare_address, .argument = &covering};
    if (describe_covering(&visitor, view_offset(&segment->file.view, pointer)) == 1)
        return 0;
    return error_set(EINVAL, "%p is in no live block of segment '%s'", pointer, segment->file.name);
}

struct sum {
    size_t *blocks, *bytes;
};

GLANCES static int add_up(const struct visitor *visitor, uint32_t quantum, uint32_t owner, uint32_t kind)
{
    struct sum *sum = visitor->argument;
    const struct view *view = visitor->view;
    if (!is_process(view, owner))
        return 0;
    if (kind == QUANTUM_EXPORT) {
        (*sum->blocks)++;
        *sum->bytes += (size_t)view->quanta[quantum].count << QUANTUM_SHIFT;
    } else if (kind == QUANTUM_EXPORT_SLAB) {
        const struct export_slab *slab = view_at(view, (uint64_t)quantum << QUANTUM_SHIFT);
        const struct export_shape *shape = shape_of(view, quantum, owner);
        for (uint32_t word = 0; shape != NULL && word < shape->words; word++) {
            const uint32_t live = (uint32_t)__builtin_popcountll(export_alive(slab, shape, word));
            *sum->blocks += live;
            *sum->bytes += (size_t)live * shape->slot_bytes;
        }
    }
    return 0;
}

void visit_sum_exports(const struct view *view, size_t *blocks, size_t *bytes)
{
    struct sum sum = {blocks, bytes};
    const struct visitor visitor = {.view = view, .argument = &sum};
    walk(&visitor, add_up);
}

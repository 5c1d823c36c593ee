/* SPDX-License-Identifier: MIT
 *
 * A slab of exported blocks is in one of three states:
 *   ACTIVE   a thread's source names it; that thread takes slots by setting bits, with no lock
 *   FULL     it had no free slot; in no list
 *   PARTIAL  it has free slots; in the list of its label and size
 * Any thread frees by clearing a bit, then looks at the state. FULL → PARTIAL and PARTIAL → gone are made
 * under the heap's lock. A thread that finds its slab full says FULL first and looks once more: so either
 * it sees a slot freed meanwhile, or whoever freed it sees FULL.
 */
#include "export_own.h"

#include <errno.h>
#include <string.h>

struct export_slab *own_slab(const struct view *view, uint32_t quantum)
{
    return view_at(view, (uint64_t)quantum << QUANTUM_SHIFT);
}

static uint32_t quantum_of(const struct view *view, const struct export_slab *slab)
{
    return (uint32_t)(view_offset(view, slab) >> QUANTUM_SHIFT);
}

const struct export_shape *own_slab_shape(const struct view *view, const struct export_slab *slab)
{
    const uint32_t slab_class = *(const volatile uint32_t *)&slab->slab_class;
    return LIKELY(slab_class < SLAB_DATA_CLASSES) ? &view->export_shapes[slab_class] : NULL;
}

/* The slab that begins at the quantum; NULL when there is none of ours. */
static struct export_slab *slab_of_ours(const shmcore_segment *segment, uint32_t quantum)
{
    const struct view *view = &segment->file.view;
    if (quantum >= view_quantum_count(view) ||
        view_owner_of_quantum(view, quantum) != OWNER_PROCESS + segment->row ||
        atomic_load_explicit(&view->quanta[quantum].kind, memory_order_relaxed) != QUANTUM_EXPORT_SLAB)
        return NULL;
    return own_slab(view, quantum);
}

static uint32_t list_of(uint32_t label, uint32_t slab_class)
{
    return (uint32_t)hash_mix((uint64_t)label << 32 | slab_class) % EXPORT_BINS;
}

/* The lists lie in the slabs. False: somebody scribbled over one, and nothing was changed. */
static bool list_push(shmcore_segment *segment, struct export_slab *slab)
{
    uint32_t *head = &segment->exports.partial[list_of(slab->label, slab->slab_class)];
    struct export_slab *next = *head != 0 ? slab_of_ours(segment, *head) : NULL;
    if (UNLIKELY(*head != 0 && next == NULL))
        return false;
    slab->next = *head;
    slab->previous = 0;
    if (next != NULL)
        next->previous = quantum_of(&segment->file.view, slab);
    *head = quantum_of(&segment->file.view, slab);
    return true;
}

static bool list_drop(shmcore_segment *segment, struct export_slab *slab)
{
    uint32_t *head = &segment->exports.partial[list_of(slab->label, slab->slab_class)];
    struct export_slab *next = slab->next != 0 ? slab_of_ours(segment, slab->next) : NULL;
    struct export_slab *previous = slab->previous != 0 ? slab_of_ours(segment, slab->previous) : NULL;
    if (UNLIKELY((slab->next != 0 && next == NULL) || (slab->previous != 0 && previous == NULL) ||
                 (previous == NULL && *head != quantum_of(&segment->file.view, slab))))
        return false;
    if (next != NULL)
        next->previous = slab->previous;
    if (previous != NULL)
        previous->next = slab->next;
    else
        *head = slab->next;
    return true;
}

static struct export_slab *list_take(shmcore_segment *segment, uint32_t label, uint32_t slab_class)
{
    uint32_t quantum = segment->exports.partial[list_of(label, slab_class)];
    for (uint32_t steps = view_quantum_count(&segment->file.view); quantum != 0 && steps > 0; steps--) {
        struct export_slab *slab = slab_of_ours(segment, quantum);
        if (UNLIKELY(slab == NULL))
            break;
        if (slab->label == label && slab->slab_class == slab_class) {
            if (UNLIKELY(!list_drop(segment, slab)))
                break;
            atomic_store(&slab->state, SLAB_ACTIVE);
            return slab;
        }
        quantum = slab->next;
    }
    if (UNLIKELY(quantum != 0))
        own_heap_is_damaged(segment);
    return NULL;
}

static void mark_slab(shmcore_segment *segment, uint32_t first, const struct export_slab *slab,
                      uint32_t quanta, unsigned flags)
{
    struct quantum *entry = &segment->file.view.quanta[first];
    for (uint32_t i = 1; i < quanta; i++) {
        entry[i].back = i;
        entry[i].owner = slab->owner;
        own_publish(&entry[i], QUANTUM_EXPORT_INNER);
    }
    entry->label = slab->label;
    entry->sequence = export_quantum_flags(flags);
    own_publish(entry, QUANTUM_EXPORT_SLAB);
}

/* With the heap locked. */
static struct export_slab *make_slab(shmcore_segment *segment, const struct export_source *source,
                                     uint32_t slab_class, unsigned flags)
{
    const struct export_shape *shape = &segment->file.view.export_shapes[slab_class];
    const uint32_t first = own_take_extent(segment, shape->quanta, 1);
    if (first == 0)
        return NULL;
    const uint64_t offset = (uint64_t)first << QUANTUM_SHIFT;
    if (space_reserve(&segment->space, offset, shape->data) != 0) {
        own_give_extent(segment, first);
        space_refuse(&segment->space, shape->data, segment->file.name);
        return NULL;
    }
    struct export_slab *slab = own_slab(&segment->file.view, first);
    memset(slab, 0, sizeof *slab);
    slab->slab_class = slab_class;
    slab->owner = OWNER_PROCESS + segment->row;
    slab->label = source->label;
    slab->touched = (flags & EXPORT_TOUCH) != 0;
    slab->ready = slab->touched ? shape->slots : 0;
    atomic_store(&slab->state, SLAB_ACTIVE);
    mark_slab(segment, first, slab, shape->quanta, flags);
    return slab;
}

/* With the heap locked: the slab is empty and in no list. */
static struct region_run remove_slab(shmcore_segment *segment, struct export_slab *slab,
                                     const struct export_shape *shape)
{
    const uint32_t first = quantum_of(&segment->file.view, slab);
    struct quantum *entry = &segment->file.view.quanta[first];
    const bool touched = (entry->sequence & QUANTUM_TOUCHED) != 0;
    for (uint32_t i = 1; i < shape->quanta; i++)
        own_publish(&entry[i], QUANTUM_NONE);
    if (touched)
        own_forget_touched(segment, first, shape->quanta);
    return own_give_extent(segment, first);
}

static bool is_empty(const struct export_slab *slab, const struct export_shape *shape)
{
    for (uint32_t word = 0; word * 64 < shape->slots; word++)
        if (atomic_load(&slab->live[word]) != 0)
            return false;
    return true;
}

/* A free slot at or after the hint, or before it; shape->slots when there is none. */
static uint32_t free_slot(struct export_slab *slab, const struct export_shape *shape)
{
    const uint32_t words = (shape->slots + 63) / 64;
    const uint32_t hint = slab->hint, start = hint < words ? hint : 0;
    for (uint32_t i = 0; i < words; i++) {
        const uint32_t word = start + i < words ? start + i : start + i - words;
        const uint64_t vacant = ~atomic_load(&slab->live[word]);
        const uint32_t slot = word * 64 + (uint32_t)(vacant != 0 ? __builtin_ctzll(vacant) : 64);
        if (vacant != 0 && slot < shape->slots) {
            slab->hint = word;
            return slot;
        }
    }
    return shape->slots;
}

/* Gives memory to some more slots, so that most allocations need not ask. */
static bool make_ready(shmcore_segment *segment, struct export_slab *slab, const struct export_shape *shape,
                       uint32_t slot)
{
    const uint32_t step = (uint32_t)most(QUANTUM_BYTES / shape->slot_bytes, 1);
    const uint32_t ready = (uint32_t)least(shape->slots, (uint64_t)slot + step);
    const uint64_t start = view_offset(&segment->file.view, slab) + shape->data;
    const uint64_t from = start + (uint64_t)least(slab->ready, slot) * shape->slot_bytes;
    if (space_reserve(&segment->space, from, start + (uint64_t)ready * shape->slot_bytes - from) != 0) {
        space_refuse(&segment->space, shape->slot_bytes, segment->file.name);
        return false;
    }
    slab->ready = ready;
    return true;
}

/* The thread's slab is full: it lets go of it and gets another. */
static COLD struct export_slab *next_slab(shmcore_segment *segment, struct export_source *source,
                                          uint32_t slab_class, struct export_slab *full, unsigned flags)
{
    const struct export_shape *shape = &segment->file.view.export_shapes[slab_class];
    own_lock(segment);
    if (full != NULL) {
        atomic_store(&full->state, SLAB_FULL);
        if (free_slot(full, shape) < shape->slots) { /* freed between our look and FULL */
            atomic_store(&full->state, SLAB_ACTIVE);
            own_unlock(segment);
            return full;
        }
    }
    struct export_slab *slab = list_take(segment, source->label, slab_class);
    if (slab == NULL)
        slab = make_slab(segment, source, slab_class, flags);
    own_unlock(segment);
    source->slab[slab_class] = slab != NULL ? quantum_of(&segment->file.view, slab) : 0;
    return slab;
}

void *own_allocate_slot(shmcore_segment *segment, struct export_source *source, uint64_t sequence,
                        uint32_t slab_class, size_t bytes, unsigned flags)
{
    const struct export_shape *shape = &segment->file.view.export_shapes[slab_class];
    const uint32_t quantum = source->slab[slab_class];
    struct export_slab *slab = quantum != 0 ? own_slab(&segment->file.view, quantum) : NULL;
    uint32_t slot = slab != NULL ? free_slot(slab, shape) : 0;
    while (UNLIKELY(slab == NULL || slot >= shape->slots)) {
        slab = next_slab(segment, source, slab_class, slab, flags);
        if (slab == NULL)
            return NULL;
        slot = free_slot(slab, shape);
    }
    if (UNLIKELY(slot >= slab->ready) && !make_ready(segment, slab, shape, slot))
        return NULL;
    atomic_store_explicit(&slab->info[slot], sequence << EXPORT_SLACK_BITS | (shape->slot_bytes - bytes),
                          memory_order_relaxed);
    atomic_fetch_or_explicit(&slab->live[slot / 64], (uint64_t)1 << slot % 64, memory_order_release);
    void *pointer = (unsigned char *)slab + shape->data + (size_t)shape->slot_bytes * slot;
    if ((flags & EXPORT_ZERO) != 0)
        memset(pointer, 0, bytes);
    return pointer;
}

COLD void own_slab_changed(shmcore_segment *segment, struct export_slab *slab)
{
    struct region_run run = {0, 0};
    own_lock(segment);
    const bool is_there = slab_of_ours(segment, quantum_of(&segment->file.view, slab)) != NULL;
    const struct export_shape *shape = is_there ? own_slab_shape(&segment->file.view, slab) : NULL;
    if (shape == NULL) {
        own_unlock(segment); /* another thread freed its last slot and was first */
        return;
    }
    bool sound = true;
    if (atomic_load(&slab->state) == SLAB_FULL) {
        atomic_store(&slab->state, SLAB_PARTIAL);
        sound = list_push(segment, slab);
    }
    if (sound && atomic_load(&slab->state) == SLAB_PARTIAL && is_empty(slab, shape)) {
        atomic_store(&slab->state, 0);
        sound = list_drop(segment, slab);
        if (sound)
            run = remove_slab(segment, slab, shape);
    }
    if (!sound)
        own_heap_is_damaged(segment);
    own_unlock(segment);
    regions_return(segment, run);
}

void own_retire(shmcore_segment *segment, struct export_source *source)
{
    for (uint32_t c = 0; c < SLAB_DATA_CLASSES; c++) {
        if (source->slab[c] == 0)
            continue;
        struct export_slab *slab = own_slab(&segment->file.view, source->slab[c]);
        const struct export_shape *shape = &segment->file.view.export_shapes[c];
        source->slab[c] = 0;
        own_lock(segment); /* once it says FULL it may go with its last slot, and its memory be a block */
        atomic_store(&slab->state, SLAB_FULL);
        const bool has_room = free_slot(slab, shape) < shape->slots;
        own_unlock(segment);
        if (has_room)
            own_slab_changed(segment, slab);
    }
}

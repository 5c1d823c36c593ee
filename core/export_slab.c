/* SPDX-License-Identifier: MIT
 *
 * A slab of exported blocks is in one of three states:
 *   ACTIVE   a thread's source names it; that thread takes slots, with no lock and no atomic operation but
 * loads and stores FULL     it had no free slot; in no list PARTIAL  it has free slots; in the list of its
 * label and size Its thread gives a slot back by clearing the live bit, everybody else by setting the gone
 * bit and then looking at the state. FULL → PARTIAL and PARTIAL → gone are made under the heap's lock. A
 * thread that finds its slab full says FULL first and looks at the gone bits once more: so either it sees a
 * slot freed meanwhile, or whoever freed it sees FULL.
 */
#include "export_own.h"

#include <errno.h>
#include <string.h>

#include "export_slots.h"

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

/* Can a block with that sequence be noted in it? */
static bool is_in_window(const struct export_slab *slab, const struct export_shape *shape, uint64_t sequence)
{
    return sequence - slab->base < export_window(shape);
}

/* Those whose window is over stay in the list until they are empty. */
static struct export_slab *list_take(shmcore_segment *segment, uint32_t label, uint32_t slab_class,
                                     uint64_t sequence)
{
    const struct export_shape *shape = &segment->file.view.export_shapes[slab_class];
    uint32_t quantum = segment->exports.partial[list_of(label, slab_class)];
    for (uint32_t steps = view_quantum_count(&segment->file.view); quantum != 0 && steps > 0; steps--) {
        struct export_slab *slab = slab_of_ours(segment, quantum);
        if (UNLIKELY(slab == NULL))
            break;
        if (slab->label == label && slab->slab_class == slab_class && is_in_window(slab, shape, sequence)) {
            if (UNLIKELY(!list_drop(segment, slab)))
                break;
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
                                     uint32_t slab_class, uint64_t sequence, unsigned flags)
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
    memset(slab, 0, shape->head);
    slab->slab_class = slab_class;
    slab->owner = OWNER_PROCESS + segment->row;
    slab->label = source->label;
    slab->touched = (flags & EXPORT_TOUCH) != 0;
    slab->ready = slab->touched ? shape->slots : 0;
    slab->base = sequence;
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
    for (uint32_t word = 0; word < shape->words; word++)
        if (export_alive(slab, shape, word) != 0)
            return false;
    return true;
}

/* A free slot in or after the word of the hint, or before it; shape->slots when there is none. */
static uint32_t free_slot(struct export_slab *slab, const struct export_shape *shape)
{
    const uint32_t hint = slab->hint, start = hint < shape->words ? hint : 0;
    for (uint32_t i = 0; i < shape->words; i++) {
        const uint32_t word = start + i < shape->words ? start + i : start + i - shape->words;
        const uint64_t vacant = ~atomic_load_explicit(export_live_word(slab, word), memory_order_relaxed);
        const uint32_t slot = word * 64 + (uint32_t)(vacant != 0 ? __builtin_ctzll(vacant) : 64);
        if (LIKELY(vacant != 0 && slot < shape->slots)) {
            slab->hint = word;
            return slot;
        }
    }
    return shape->slots;
}

/* Takes back what others have freed. By the slab's thread, or with the heap's lock when it has none. */
static void take_back(struct export_slab *slab, const struct export_shape *shape)
{
    for (uint32_t word = 0; word < shape->words; word++) {
        const uint64_t gone = atomic_load(export_gone_word(slab, shape, word));
        if (gone == 0)
            continue;
        _Atomic uint64_t *live = export_live_word(slab, word);
        atomic_store(live, atomic_load_explicit(live, memory_order_relaxed) & ~gone);
        atomic_fetch_and(export_gone_word(slab, shape, word), ~gone);
        slab->hint = word;
    }
}

/* After a slot of a slab that is no thread's was freed. */
static COLD void slab_changed(shmcore_segment *segment, struct export_slab *slab)
{
    const int kept_errno = errno;
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
    errno = kept_errno;
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

uint64_t own_thread(void)
{
    static _Thread_local char mark;
    return (uint64_t)(uintptr_t)&mark;
}

static void make_active(struct export_slab *slab, const struct export_shape *shape)
{
    take_back(slab, shape);
    slab->thread = own_thread();
    atomic_store(&slab->state, SLAB_ACTIVE);
}

/* With the heap locked. False: it has room again, freed between our look and FULL. */
static bool let_go(struct export_slab *slab, const struct export_shape *shape)
{
    slab->thread = 0;
    atomic_store(&slab->state, SLAB_FULL);
    take_back(slab, shape);
    return free_slot(slab, shape) >= shape->slots;
}

/* The thread's slab is full, or its window is over: it lets go of it and gets another. */
static COLD struct export_slab *next_slab(shmcore_segment *segment, struct export_source *source,
                                          uint32_t slab_class, struct export_slab *old, uint64_t sequence,
                                          unsigned flags)
{
    const struct export_shape *shape = &segment->file.view.export_shapes[slab_class];
    struct export_slab *slab = NULL, *roomy = NULL;
    own_lock(segment);
    if (old != NULL && !let_go(old, shape)) {
        if (is_empty(old, shape))
            old->base = sequence;
        if (is_in_window(old, shape, sequence))
            slab = old;
        else
            roomy = old;
    }
    if (slab == NULL)
        slab = list_take(segment, source->label, slab_class, sequence);
    if (slab == NULL)
        slab = make_slab(segment, source, slab_class, sequence, flags);
    if (slab != NULL)
        make_active(slab, shape);
    own_unlock(segment);
    if (roomy != NULL)
        slab_changed(segment, roomy);
    source->shapes = segment->file.view.export_shapes;
    source->slab[slab_class] = slab;
    return slab;
}

/* Of a slab that was made for it; shape->slots: it has no slot for this sequence. */
static uint32_t slot_for(struct export_slab *slab, const struct export_shape *shape, uint64_t sequence)
{
    return LIKELY(is_in_window(slab, shape, sequence)) ? free_slot(slab, shape) : shape->slots;
}

/* Readers see the info with the live bit. */
static inline void *take_slot(struct export_slab *slab, const struct export_shape *shape, uint32_t slot,
                              uint64_t sequence, size_t bytes)
{
    _Atomic uint64_t *live = export_live_word(slab, slot / 64);
    const uint64_t before = atomic_load_explicit(live, memory_order_relaxed);
    atomic_store_explicit(export_info(slab, shape, slot),
                          export_make_info(shape, sequence - slab->base, shape->slot_bytes - bytes),
                          memory_order_relaxed);
    atomic_store_explicit(live, before | (uint64_t)1 << slot % 64, memory_order_release);
    return (unsigned char *)slab + shape->data + (size_t)shape->slot_bytes * slot;
}

void *export_take(struct export_source *source, uint32_t slab_class, uint64_t sequence, size_t bytes)
{
    struct export_slab *slab = source->slab[slab_class];
    if (UNLIKELY(slab == NULL))
        return NULL;
    const struct export_shape *shape = &source->shapes[slab_class];
    const uint32_t word = slab->hint < shape->words ? slab->hint : 0;
    const uint64_t vacant = ~atomic_load_explicit(export_live_word(slab, word), memory_order_relaxed);
    const uint32_t slot = word * 64 + (uint32_t)(vacant != 0 ? __builtin_ctzll(vacant) : 64);
    if (UNLIKELY(vacant == 0 || slot >= slab->ready || slot >= shape->slots ||
                 !is_in_window(slab, shape, sequence)))
        return NULL;
    return take_slot(slab, shape, slot, sequence, bytes);
}

void *own_allocate_slot(shmcore_segment *segment, struct export_source *source, uint64_t sequence,
                        uint32_t slab_class, size_t bytes, unsigned flags)
{
    const struct export_shape *shape = &segment->file.view.export_shapes[slab_class];
    struct export_slab *slab = source->slab[slab_class];
    uint32_t slot = slab != NULL ? slot_for(slab, shape, sequence) : shape->slots;
    while (UNLIKELY(slot >= shape->slots)) {
        slab = next_slab(segment, source, slab_class, slab, sequence, flags);
        if (slab == NULL)
            return NULL;
        slot = slot_for(slab, shape, sequence);
    }
    if (UNLIKELY(slot >= slab->ready) && !make_ready(segment, slab, shape, slot))
        return NULL;
    void *pointer = take_slot(slab, shape, slot, sequence, bytes);
    if ((flags & EXPORT_ZERO) != 0)
        memset(pointer, 0, bytes);
    return pointer;
}

/* ---------------------------------------------------------------- freeing */

/* The slab of ours that a quantum lies in; NULL when there is none. */
static struct export_slab *slab_around(const shmcore_segment *segment, uint32_t quantum)
{
    const struct view *view = &segment->file.view;
    const struct quantum *entry = &view->quanta[quantum];
    if (UNLIKELY(view_owner_of_quantum(view, quantum) != OWNER_PROCESS + segment->row))
        return NULL;
    if (atomic_load_explicit(&entry->kind, memory_order_relaxed) == QUANTUM_EXPORT_INNER &&
        LIKELY(entry->back <= quantum)) {
        quantum -= entry->back;
        entry -= entry->back;
    }
    return atomic_load_explicit(&entry->kind, memory_order_relaxed) == QUANTUM_EXPORT_SLAB
               ? own_slab(view, quantum)
               : NULL;
}

bool export_give(shmcore_segment *segment, const void *pointer)
{
    const uint64_t offset = view_offset(&segment->file.view, pointer);
    struct export_slab *slab = slab_around(segment, (uint32_t)(offset >> QUANTUM_SHIFT));
    if (UNLIKELY(slab == NULL || slab->thread != own_thread() || slab->owner != OWNER_PROCESS + segment->row))
        return false;
    const struct export_shape *shape = own_slab_shape(&segment->file.view, slab);
    const uint64_t inside = (uint64_t)((const unsigned char *)pointer - (const unsigned char *)slab);
    if (UNLIKELY(shape == NULL || inside < shape->data))
        return false;
    const uint32_t slot = export_slot_of(shape, inside - shape->data);
    if (UNLIKELY(slot >= shape->slots || inside != shape->data + (uint64_t)slot * shape->slot_bytes))
        return false;
    const uint64_t bit = (uint64_t)1 << slot % 64;
    _Atomic uint64_t *live_word = export_live_word(slab, slot / 64);
    const uint64_t live = atomic_load_explicit(live_word, memory_order_relaxed);
    const uint64_t gone =
        atomic_load_explicit(export_gone_word(slab, shape, slot / 64), memory_order_relaxed);
    if (UNLIKELY((live & ~gone & bit) == 0))
        return false;
    atomic_store_explicit(live_word, live & ~bit, memory_order_release);
    slab->hint = slot / 64;
    return true;
}

/* After a slot was freed the slab may be gone: then this is any number, and slab_changed() finds out. */
GLANCES static uint32_t state_of(const struct export_slab *slab)
{
    return atomic_load(&slab->state);
}

bool own_free_slot(shmcore_segment *segment, struct export_slab *slab, const struct export_shape *shape,
                   uint32_t slot)
{
    const uint64_t bit = (uint64_t)1 << slot % 64;
    _Atomic uint64_t *live_word = export_live_word(slab, slot / 64);
    const uint64_t gone = atomic_fetch_or(export_gone_word(slab, shape, slot / 64), bit);
    const uint64_t live = atomic_load(live_word);
    if (UNLIKELY((gone & bit) != 0))
        return false;                  /* another thread was first */
    if (UNLIKELY((live & bit) == 0)) { /* and it has been taken back already */
        atomic_fetch_and(export_gone_word(slab, shape, slot / 64), ~bit);
        return false;
    }
    const uint32_t state = state_of(slab);
    if (UNLIKELY(state != SLAB_ACTIVE) && (state == SLAB_FULL || (gone | bit) == live))
        slab_changed(segment, slab);
    return true;
}

void own_retire(shmcore_segment *segment, struct export_source *source)
{
    for (uint32_t c = 0; c < SLAB_DATA_CLASSES; c++) {
        struct export_slab *slab = source->slab[c];
        if (slab == NULL)
            continue;
        const struct export_shape *shape = &segment->file.view.export_shapes[c];
        source->slab[c] = NULL;
        own_lock(segment); /* once it says FULL it may go with its last slot, and its memory be a block */
        const bool has_room = !let_go(slab, shape);
        own_unlock(segment);
        if (has_room)
            slab_changed(segment, slab);
    }
}

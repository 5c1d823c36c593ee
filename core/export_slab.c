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

static uint32_t list_of(uint32_t label, uint32_t slot_bytes)
{
    return (uint32_t)hash_mix((uint64_t)label << 32 | slot_bytes) % EXPORT_BINS;
}

static void list_push(shmcore_segment *segment, struct export_slab *slab)
{
    const struct view *view = &segment->file.view;
    uint32_t *head = &segment->exports.partial[list_of(slab->label, slab->slot_bytes)];
    slab->next = *head;
    slab->previous = 0;
    if (*head != 0)
        own_slab(view, *head)->previous = quantum_of(view, slab);
    *head = quantum_of(view, slab);
}

static void list_drop(shmcore_segment *segment, struct export_slab *slab)
{
    const struct view *view = &segment->file.view;
    if (slab->next != 0)
        own_slab(view, slab->next)->previous = slab->previous;
    if (slab->previous != 0)
        own_slab(view, slab->previous)->next = slab->next;
    else
        segment->exports.partial[list_of(slab->label, slab->slot_bytes)] = slab->next;
}

static struct export_slab *list_take(shmcore_segment *segment, uint32_t label, uint32_t slot_bytes)
{
    const struct view *view = &segment->file.view;
    uint32_t quantum = segment->exports.partial[list_of(label, slot_bytes)];
    for (; quantum != 0; quantum = own_slab(view, quantum)->next) {
        struct export_slab *slab = own_slab(view, quantum);
        if (slab->label != label || slab->slot_bytes != slot_bytes)
            continue;
        list_drop(segment, slab);
        atomic_store(&slab->state, SLAB_ACTIVE);
        return slab;
    }
    return NULL;
}

/* Slots begin where alignment wants them: a slot whose size is a multiple of a power of two is aligned to it,
 * up to a page. */
static void lay_out(struct export_slab *slab, uint32_t slot_bytes, uint32_t quanta)
{
    const uint64_t bytes = (uint64_t)quanta << QUANTUM_SHIFT;
    const uint32_t alignment = (uint32_t)least(slot_bytes & (0u - slot_bytes), PAGE_BYTES);
    uint32_t slots = (uint32_t)((bytes - sizeof *slab) / (slot_bytes + sizeof slab->info[0]));
    uint64_t data;
    slots = (uint32_t)least(slots, EXPORT_LIVE_WORDS * 64);
    for (;; slots--) {
        data = align_up(sizeof *slab + slots * sizeof slab->info[0], alignment);
        if (data + (uint64_t)slots * slot_bytes <= bytes)
            break;
    }
    slab->slot_bytes = slot_bytes;
    slab->slots = slots;
    slab->data = (uint32_t)data;
    slab->quanta = quanta;
}

static void mark_slab(shmcore_segment *segment, uint32_t first, const struct export_slab *slab,
                      unsigned flags)
{
    struct quantum *entry = &segment->file.view.quanta[first];
    for (uint32_t i = 1; i < slab->quanta; i++) {
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
                                     uint32_t slot_bytes, unsigned flags)
{
    const uint32_t quanta = slot_bytes <= 4096 ? 4 : 16;
    const uint32_t first = own_take_extent(segment, quanta, 1);
    if (first == 0)
        return NULL;
    struct export_slab shape = {0};
    lay_out(&shape, slot_bytes, quanta);
    const uint64_t offset = (uint64_t)first << QUANTUM_SHIFT;
    if (space_reserve(&segment->space, offset, shape.data) != 0) {
        own_give_extent(segment, first);
        error_set(ENOMEM, "no memory left for segment '%s' in %s", segment->file.name,
                  segment->file.directory);
        return NULL;
    }
    struct export_slab *slab = own_slab(&segment->file.view, first);
    memset(slab, 0, sizeof *slab);
    lay_out(slab, slot_bytes, quanta);
    slab->owner = OWNER_PROCESS + segment->row;
    slab->label = source->label;
    slab->touched = (flags & EXPORT_TOUCH) != 0;
    slab->ready = slab->touched ? slab->slots : 0;
    atomic_store(&slab->state, SLAB_ACTIVE);
    mark_slab(segment, first, slab, flags);
    return slab;
}

/* With the heap locked: the slab is empty and in no list. */
static struct region_run remove_slab(shmcore_segment *segment, struct export_slab *slab)
{
    const uint32_t first = quantum_of(&segment->file.view, slab);
    struct quantum *entry = &segment->file.view.quanta[first];
    for (uint32_t i = 0; i < slab->quanta; i++)
        own_publish(&entry[i], QUANTUM_NONE);
    if (slab->touched)
        own_forget_touched(segment, first, entry->count);
    return own_give_extent(segment, first);
}

static bool is_empty(const struct export_slab *slab)
{
    for (uint32_t word = 0; word * 64 < slab->slots; word++)
        if (atomic_load(&slab->live[word]) != 0)
            return false;
    return true;
}

/* A free slot at or after the hint, or before it; slab->slots when there is none. */
static uint32_t free_slot(struct export_slab *slab)
{
    const uint32_t words = (slab->slots + 63) / 64;
    const uint32_t start = slab->hint < words ? slab->hint : 0;
    for (uint32_t i = 0; i < words; i++) {
        const uint32_t word = start + i < words ? start + i : start + i - words;
        const uint64_t vacant = ~atomic_load(&slab->live[word]);
        const uint32_t slot = word * 64 + (uint32_t)(vacant != 0 ? __builtin_ctzll(vacant) : 64);
        if (vacant != 0 && slot < slab->slots) {
            slab->hint = word;
            return slot;
        }
    }
    return slab->slots;
}

/* Gives memory to some more slots, so that most allocations need not ask. */
static bool make_ready(shmcore_segment *segment, struct export_slab *slab, uint32_t slot)
{
    const uint32_t step = (uint32_t)most(QUANTUM_BYTES / slab->slot_bytes, 1);
    const uint32_t ready = (uint32_t)least(slab->slots, (uint64_t)slot + step);
    const uint64_t start = view_offset(&segment->file.view, slab) + slab->data;
    const uint64_t from = start + (uint64_t)slab->ready * slab->slot_bytes;
    if (space_reserve(&segment->space, from, start + (uint64_t)ready * slab->slot_bytes - from) != 0) {
        error_set(ENOMEM,
                  "no memory left for segment '%s' in %s; free some, or enlarge it (mount -o remount,size=…)",
                  segment->file.name, segment->file.directory);
        return false;
    }
    slab->ready = ready;
    return true;
}

/* The thread's slab is full: it lets go of it and gets another. */
static COLD struct export_slab *next_slab(shmcore_segment *segment, struct export_source *source,
                                          uint32_t slab_class, struct export_slab *full, unsigned flags)
{
    const uint32_t slot_bytes = segment->file.view.shapes[slab_class].slot_bytes;
    own_lock(segment);
    if (full != NULL) {
        atomic_store(&full->state, SLAB_FULL);
        if (free_slot(full) < full->slots) { /* freed between our look and FULL */
            atomic_store(&full->state, SLAB_ACTIVE);
            own_unlock(segment);
            return full;
        }
    }
    struct export_slab *slab = list_take(segment, source->label, slot_bytes);
    if (slab == NULL)
        slab = make_slab(segment, source, slot_bytes, flags);
    own_unlock(segment);
    source->slab[slab_class] = slab != NULL ? quantum_of(&segment->file.view, slab) : 0;
    return slab;
}

void *own_allocate_slot(shmcore_segment *segment, struct export_source *source, uint64_t sequence,
                        uint32_t slab_class, size_t bytes, unsigned flags)
{
    const uint32_t quantum = source->slab[slab_class];
    struct export_slab *slab = quantum != 0 ? own_slab(&segment->file.view, quantum) : NULL;
    uint32_t slot = slab != NULL ? free_slot(slab) : 0;
    while (UNLIKELY(slab == NULL || slot >= slab->slots)) {
        slab = next_slab(segment, source, slab_class, slab, flags);
        if (slab == NULL)
            return NULL;
        slot = free_slot(slab);
    }
    if (UNLIKELY(slot >= slab->ready) && !make_ready(segment, slab, slot))
        return NULL;
    atomic_store_explicit(&slab->info[slot], sequence << EXPORT_SLACK_BITS | (slab->slot_bytes - bytes),
                          memory_order_relaxed);
    atomic_fetch_or_explicit(&slab->live[slot / 64], (uint64_t)1 << slot % 64, memory_order_release);
    void *pointer = (unsigned char *)slab + slab->data + (size_t)slot * slab->slot_bytes;
    if ((flags & EXPORT_ZERO) != 0)
        memset(pointer, 0, bytes);
    return pointer;
}

COLD void own_slab_changed(shmcore_segment *segment, struct export_slab *slab)
{
    struct region_run run = {0, 0};
    const struct quantum *entry = &segment->file.view.quanta[quantum_of(&segment->file.view, slab)];
    own_lock(segment);
    if (atomic_load(&entry->kind) !=
        QUANTUM_EXPORT_SLAB) { /* another thread freed its last slot and was first */
        own_unlock(segment);
        return;
    }
    if (atomic_load(&slab->state) == SLAB_FULL) {
        atomic_store(&slab->state, SLAB_PARTIAL);
        list_push(segment, slab);
    }
    if (atomic_load(&slab->state) == SLAB_PARTIAL && is_empty(slab)) {
        atomic_store(&slab->state, 0);
        list_drop(segment, slab);
        run = remove_slab(segment, slab);
    }
    own_unlock(segment);
    regions_return(segment, run);
}

void own_retire(shmcore_segment *segment, struct export_source *source)
{
    for (uint32_t c = 0; c < SLAB_DATA_CLASSES; c++) {
        if (source->slab[c] == 0)
            continue;
        struct export_slab *slab = own_slab(&segment->file.view, source->slab[c]);
        source->slab[c] = 0;
        atomic_store(&slab->state, SLAB_FULL);
        if (free_slot(slab) < slab->slots)
            own_slab_changed(segment, slab);
    }
}

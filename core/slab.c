/* SPDX-License-Identifier: MIT */
#include "slab.h"

/* The class is read once: for somebody without the lock it may be another the next time. */
GLANCES static const struct slab_shape *shape_of(const struct view *view, const struct slab *slab)
{
    const uint32_t slab_class = *(const volatile uint32_t *)&slab->slab_class;
    return &view->shapes[slab_class < SLAB_CLASSES ? slab_class : 0];
}

static uint32_t quantum_of(const struct view *view, const struct slab *slab)
{
    return (uint32_t)(view_offset(view, slab) >> QUANTUM_SHIFT);
}

/* May it be written to as a neighbour in a list? */
static bool is_neighbour(const struct heap *heap, uint32_t quantum, uint32_t slab_class)
{
    const struct slab *slab = quantum != 0 ? slab_at(heap->view, quantum, heap->owner) : NULL;
    return quantum == 0 || (slab != NULL && slab->slab_class == slab_class);
}

static void list_push(const struct heap *heap, struct shard *shard, struct slab *slab)
{
    uint32_t *head = &shard->partial[slab->slab_class];
    const uint32_t quantum = quantum_of(heap->view, slab);
    if (UNLIKELY(!is_neighbour(heap, *head, slab->slab_class))) {
        undo_damaged(heap->transaction);
        return;
    }
    UNDO_SET(heap->transaction, &slab->next, *head);
    UNDO_SET(heap->transaction, &slab->previous, 0);
    UNDO_SET(heap->transaction, &slab->listed, 1);
    if (*head != 0)
        UNDO_SET(heap->transaction, &view_slab(heap->view, *head)->previous, quantum);
    UNDO_SET(heap->transaction, head, quantum);
}

static void list_drop(const struct heap *heap, struct shard *shard, struct slab *slab)
{
    const uint32_t quantum = quantum_of(heap->view, slab);
    if (UNLIKELY(!is_neighbour(heap, slab->next, slab->slab_class) ||
                 !is_neighbour(heap, slab->previous, slab->slab_class) ||
                 (slab->previous == 0 && shard->partial[slab->slab_class] != quantum))) {
        undo_damaged(heap->transaction);
        return;
    }
    if (slab->next != 0)
        UNDO_SET(heap->transaction, &view_slab(heap->view, slab->next)->previous, slab->previous);
    if (slab->previous != 0)
        UNDO_SET(heap->transaction, &view_slab(heap->view, slab->previous)->next, slab->next);
    else
        UNDO_SET(heap->transaction, &shard->partial[slab->slab_class], slab->next);
    UNDO_SET(heap->transaction, &slab->listed, 0);
}

/* The first free slot after the process's turn, or before it, or the number of slots. What processes take
 * lies apart as long as there is room: a cache line that two of them write to is a slow one. */
static uint32_t free_slot(const struct slab *slab, uint32_t slots, uint32_t turn)
{
    const uint32_t words = (slots + 63) / 64, begin = (uint32_t)((uint64_t)turn * words >> 32);
    uint32_t word = begin;
    do {
        const uint64_t vacant = ~slab->live[word];
        const uint32_t slot = word * 64 + (vacant != 0 ? (uint32_t)__builtin_ctzll(vacant) : slots);
        if (LIKELY(slot < slots)) /* the last word has too many bits */
            return slot;
        word = word + 1 < words ? word + 1 : 0;
    } while (word != begin);
    return slots;
}

struct slot slab_take(const struct heap *heap, struct shard *shard, uint32_t slab_class)
{
    const uint32_t quantum = shard->partial[slab_class];
    const uint32_t slots = heap->view->shapes[slab_class].slots;
    if (quantum == 0)
        return (struct slot){NULL, 0};
    struct slab *slab = slab_at(heap->view, quantum, heap->owner);
    const uint32_t index =
        slab != NULL && slab->slab_class == slab_class ? free_slot(slab, slots, heap->turn) : slots;
    if (UNLIKELY(index >= slots)) { /* what is listed has room */
        undo_damaged(heap->transaction);
        return (struct slot){NULL, 0};
    }
    UNDO_SET(heap->transaction, &slab->live[index / 64], slab->live[index / 64] | (uint64_t)1 << index % 64);
    UNDO_SET(heap->transaction, &slab->used, slab->used + 1);
    if (slab->used == slots)
        list_drop(heap, shard, slab);
    return (struct slot){slab, index};
}

void slab_begin(const struct heap *heap, struct shard *shard, uint32_t quantum, uint32_t slab_class)
{
    struct slab *slab = view_slab(heap->view, quantum);
    UNDO_SET(heap->transaction, &slab->slab_class, slab_class);
    UNDO_SET(heap->transaction, &slab->used, 0);
    for (uint32_t word = 0; word < SLAB_LIVE_WORDS; word++)
        UNDO_SET(heap->transaction, &slab->live[word], 0);
    list_push(heap, shard, slab);
    UNDO_PUBLISH(heap->transaction, &heap->view->quanta[quantum].kind, (uint32_t)QUANTUM_RECORDS);
}

void slab_give(const struct heap *heap, struct shard *shard, struct slot slot, struct slab **empty)
{
    struct slab *slab = slot.slab;
    uint64_t *word = &slab->live[slot.index / 64];
    if (UNLIKELY(!slab_slot_is_live(slab, slot.index) || slab->used == 0)) {
        undo_damaged(heap->transaction);
        *empty = NULL;
        return;
    }
    UNDO_SET(heap->transaction, word, *word & ~((uint64_t)1 << slot.index % 64));
    UNDO_SET(heap->transaction, &slab->used, slab->used - 1);
    if (!slab->listed)
        list_push(heap, shard, slab);
    const bool only_one = slab->next == 0 && slab->previous == 0;
    *empty = slab->used == 0 && !only_one ? slab : NULL;
}

struct extent slab_remove(const struct heap *heap, struct shard *shard, struct slab *slab)
{
    list_drop(heap, shard, slab);
    return heap_give(heap, quantum_of(heap->view, slab));
}

struct record *slab_slot_record(const struct view *view, struct slot slot)
{
    unsigned char *records = (unsigned char *)slot.slab + shape_of(view, slot.slab)->records;
    return (struct record *)(void *)records + slot.index;
}

void *slab_slot_bytes(const struct view *view, struct slot slot)
{
    const struct slab_shape *shape = shape_of(view, slot.slab);
    return (unsigned char *)slot.slab + shape->data + (size_t)shape->slot_bytes * slot.index;
}

GLANCES bool slab_slot_is_live(const struct slab *slab, uint32_t index)
{
    return (slab->live[index / 64] >> index % 64 & 1) != 0;
}

/* The slot of one that is `inside` bytes into the slab, where they begin at `start` and are `each` long. */
static inline struct slot slot_at(const struct slab_shape *shape, struct slab *slab, uint32_t inside,
                                  uint32_t start, uint32_t each)
{
    if (start == 0 || inside < start || (inside - start) % each != 0 ||
        (inside - start) / each >= shape->slots)
        return (struct slot){NULL, 0};
    return (struct slot){slab, (inside - start) / each};
}

static struct slab *slab_around(const struct view *view, uint64_t offset, uint32_t owner)
{
    if (offset >= view->capacity)
        return NULL;
    return slab_at(view, (uint32_t)(align_down(offset, SLAB_BYTES) >> QUANTUM_SHIFT), owner);
}

struct slot slab_slot_of_record(const struct view *view, uint32_t reference, uint32_t owner)
{
    const uint64_t offset = (uint64_t)reference * RECORD_UNIT;
    struct slab *slab = slab_around(view, offset, owner);
    if (slab == NULL)
        return (struct slot){NULL, 0};
    const struct slab_shape *shape = shape_of(view, slab);
    return slot_at(shape, slab, (uint32_t)(offset % SLAB_BYTES), shape->records, sizeof(struct record));
}

struct slot slab_slot_of_bytes(const struct view *view, uint64_t offset, uint32_t owner)
{
    struct slab *slab = slab_around(view, offset, owner);
    if (slab == NULL)
        return (struct slot){NULL, 0};
    const struct slab_shape *shape = shape_of(view, slab);
    return slot_at(shape, slab, (uint32_t)(offset % SLAB_BYTES), shape->data, shape->slot_bytes);
}

/* SPDX-License-Identifier: MIT
 *
 * What a slab of exported blocks is made of: an extent of the process's heap, with a head of bits and infos,
 * and memory for as many of its slots as are in use. Who takes slots from it, and when it goes, is decided in
 * export_turns.c.
 */
#include <errno.h>
#include <string.h>

#include "export_own.h"
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

/* With the heap locked, and `head` bytes of it in memory. 0: error set. */
static uint32_t take_extent(shmcore_segment *segment, const struct export_shape *shape, uint64_t head)
{
    const uint32_t first = own_take_extent(segment, shape->quanta, 1);
    if (first == 0 || LIKELY(space_reserve(&segment->space, (uint64_t)first << QUANTUM_SHIFT, head) == 0))
        return first;
    own_give_extent(segment, first);
    space_refuse(&segment->space, head, segment->file.name);
    return 0;
}

struct slab_book *own_make_slab(shmcore_segment *segment, const struct export_source *source,
                                uint32_t slab_class, uint64_t sequence, unsigned flags)
{
    const struct export_shape *shape = &segment->file.view.export_shapes[slab_class];
    struct slab_book *book = book_new(segment, shape);
    if (book == NULL) {
        error_set(ENOMEM, "no memory for the tables of segment '%s'", segment->file.name);
        return NULL;
    }
    /* infos get memory with their slots, and mean nothing before */
    const bool touch = (flags & EXPORT_TOUCH) != 0;
    const uint32_t first = take_extent(segment, shape, touch ? shape->data : export_bits_end(shape));
    if (first == 0) {
        book_drop(segment, book);
        return NULL;
    }
    struct export_slab *slab = own_slab(&segment->file.view, first);
    memset(slab, 0, export_bits_end(shape));
    slab->slab_class = slab_class;
    book->slab_class = (uint16_t)slab_class;
    slab->owner = OWNER_PROCESS + segment->row;
    slab->label = book->label = source->label;
    own_label_hold(segment, book->label);
    slab->touched = touch;
    slab->base = book->base = sequence;
    book_describe(book, slab);
    book->ready = slab->touched ? shape->slots : 0;
    mark_slab(segment, first, slab, shape->quanta, flags);
    book_enter(segment, first, shape->quanta, book);
    return book;
}

struct region_run own_give_up_slab(shmcore_segment *segment, struct slab_book *book)
{
    const uint32_t first = quantum_of(&segment->file.view, book_slab(book));
    struct quantum *entry = &segment->file.view.quanta[first];
    const bool touched = (entry->sequence & QUANTUM_TOUCHED) != 0;
    for (uint32_t i = 1; i < book->shape->quanta; i++)
        own_publish(&entry[i], QUANTUM_NONE);
    if (touched)
        own_forget_touched(segment, first, book->shape->quanta);
    book_enter(segment, first, book->shape->quanta, NULL);
    own_label_drop(segment, book->label);
    return own_give_extent(segment, first);
}

/* Gives memory to some more slots, so that most allocations need not ask: to as many again as have it, since
 * programs have thousands of call sites that make a few blocks, and some that make many. Whole pages. */
COLD bool own_make_ready(shmcore_segment *segment, struct slab_book *book, uint32_t slot)
{
    const struct export_shape *shape = book->shape;
    const struct view *view = &segment->file.view;
    const uint32_t from = (uint32_t)least(book->ready, slot);
    const uint64_t more = most(least((uint64_t)from * shape->slot_bytes, QUANTUM_BYTES), shape->slot_bytes);
    const uint64_t start = view_offset(view, book->data);
    const uint64_t end = align_up(start + (uint64_t)slot * shape->slot_bytes + more, PAGE_BYTES);
    const uint32_t ready = (uint32_t)least(shape->slots, (end - start) / shape->slot_bytes),
                   count = ready - from;
    const uint64_t infos = view_offset(view, &book->infos[from]);
    if (space_reserve(&segment->space, infos, count * sizeof *book->infos) != 0 ||
        space_reserve(&segment->space, start + (uint64_t)from * shape->slot_bytes,
                      (uint64_t)count * shape->slot_bytes) != 0) {
        space_refuse(&segment->space, shape->slot_bytes, segment->file.name);
        return false;
    }
    book->ready = ready;
    return true;
}

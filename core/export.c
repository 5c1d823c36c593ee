/* SPDX-License-Identifier: MIT */
#include "export.h"

#include <errno.h>
#include <string.h>

#include "blocks.h"
#include "export_own.h"
#include "export_slots.h"
#include "inherited.h"
#include "os.h"
#include "registry.h"
#include "slab.h"

/* A quantum inside a slab is at most so many behind the first one. */
#define INNER_MOST 15u

/* The class for a size and an alignment: slots are aligned to 64 from 64 bytes on, and to their own size when
 * that is a power of two. SLAB_CLASSES: no class serves. */
static uint32_t class_for(size_t bytes, size_t alignment)
{
    if (alignment <= 16)
        return slab_data_class(bytes);
    if (alignment > PAGE_BYTES)
        return SLAB_CLASSES;
    size_t slot = bytes > alignment ? bytes : alignment;
    if (slot >= SLOT_BYTES_END)
        return SLAB_CLASSES;
    if (alignment > 64)
        slot = is_power_of_two(slot) ? slot : (size_t)2 << log2_floor(slot);
    return slab_data_class(slot < 64 ? 64 : slot);
}

static void *allocate(shmcore_segment *segment, struct export_source *source, uint64_t sequence, size_t bytes,
                      size_t alignment, unsigned flags)
{
    const uint32_t slab_class = class_for(bytes, alignment);
    if (slab_class < SLAB_DATA_CLASSES)
        return own_allocate_slot(segment, source, sequence, slab_class, bytes, flags);
    return own_allocate_extent(segment, source, sequence, bytes, alignment, flags);
}

void *export_allocate(shmcore_segment *segment, struct export_source *source, uint64_t sequence, size_t bytes,
                      size_t alignment, unsigned flags)
{
    if (UNLIKELY(sequence >> EXPORT_SEQUENCE_BITS != 0)) {
        error_set(ENOMEM, "a call site has made more blocks than can be numbered");
        return NULL;
    }
    void *pointer = allocate(segment, source, sequence, bytes, alignment, flags);
    if (UNLIKELY(pointer == NULL) && bytes <= segment->file.view.capacity) {
        const bool gathered = regions_gather(segment);
        if (reap_for_room(segment) || gathered)
            pointer = allocate(segment, source, sequence, bytes, alignment, flags);
    }
    return pointer;
}

/* ---------------------------------------------------------------- what a pointer is */

/* Looks a block up in a table of quanta: this process's, or a copy that a fork left. */
struct found {
    const struct quantum *extent;
    struct export_slab *slab;
    const struct export_shape *shape; /* of the slab */
    uint32_t slot, quantum;
};

static bool is_own(const shmcore_segment *segment, uint64_t offset)
{
    return view_owner_of_quantum(&segment->file.view, (uint32_t)(offset >> QUANTUM_SHIFT)) ==
           OWNER_PROCESS + segment->row;
}

static bool is_process(const shmcore_segment *segment, uint64_t offset)
{
    return view_owner_of_quantum(&segment->file.view, (uint32_t)(offset >> QUANTUM_SHIFT)) >= OWNER_PROCESS;
}

/* The table that describes the offset: this process's, or a copy that a fork left, which ends where its
 * regions ended. NULL: another process's. */
static const struct quantum *quanta_for(const shmcore_segment *segment, uint64_t offset)
{
    const struct quantum *copy = inherited_quanta(segment, offset);
    if (copy != NULL)
        return copy;
    const bool readable = is_own(segment, offset) || (segment->tables_lost && is_process(segment, offset));
    return readable ? segment->file.view.quanta : NULL;
}

/* Both the extent's length and the block's must make sense: programs copy by what we say. */
static bool look_up_extent(const struct view *view, const struct quantum *entry, struct found *out)
{
    out->extent = entry;
    return entry->count != 0 && entry->count <= view_quantum_count(view) - out->quantum &&
           entry->bytes <= (uint64_t)entry->count << QUANTUM_SHIFT;
}

static bool look_up(const shmcore_segment *segment, const struct quantum *quanta, uint64_t offset,
                    struct found *out)
{
    const struct view *view = &segment->file.view;
    const uint32_t quantum = (uint32_t)(offset >> QUANTUM_SHIFT);
    const struct quantum *entry = &quanta[quantum];
    struct slab_book *book = quanta == view->quanta ? own_book(segment, offset) : NULL;
    uint32_t kind = atomic_load_explicit(&entry->kind, memory_order_relaxed);
    *out = (struct found){.quantum = quantum};
    if (book != NULL) {
        out->slab = book_slab(book);
        out->shape = book->shape;
        return own_slot_is_alive(book, view_at(view, offset), &out->slot);
    }
    if (kind == QUANTUM_EXPORT)
        return offset % QUANTUM_BYTES == 0 && look_up_extent(view, entry, out);
    if (kind == QUANTUM_EXPORT_INNER && entry->back <= INNER_MOST && entry->back <= quantum &&
        quanta_for(segment, (uint64_t)(quantum - entry->back) << QUANTUM_SHIFT) == quanta) {
        out->quantum -= entry->back;
        kind = atomic_load_explicit(&quanta[out->quantum].kind, memory_order_relaxed);
    }
    if (kind != QUANTUM_EXPORT_SLAB)
        return false;
    struct export_slab *slab = own_slab(view, out->quantum);
    const uint64_t inside = offset - ((uint64_t)out->quantum << QUANTUM_SHIFT);
    out->shape = own_slab_shape(view, slab);
    if (UNLIKELY(out->shape == NULL) || inside < out->shape->data)
        return false;
    out->slab = slab;
    out->slot = export_slot_of(out->shape->inverse, inside - out->shape->data);
    return out->slot < out->shape->slots &&
           inside - out->shape->data == (uint64_t)out->slot * out->shape->slot_bytes &&
           export_slot_is_alive(slab, out->shape, out->slot);
}

enum export_answer export_free(shmcore_segment *segment, void *pointer)
{
    const struct view *view = &segment->file.view;
    const uint64_t offset = view_offset(view, pointer);
    struct found found;
    if (UNLIKELY(segment->inherited != NULL) && inherited_quanta(segment, offset) != NULL)
        return EXPORT_DONE; /* inherited: its room comes back with the process's end */
    if (UNLIKELY(!is_own(segment, offset)))
        return segment->tables_lost && is_process(segment, offset) ? EXPORT_DONE : EXPORT_NOT_OURS;
    struct slab_book *book = own_book(segment, offset);
    if (book != NULL)
        return own_free_slot(segment, book, pointer) ? EXPORT_DONE : EXPORT_NOT_LIVE;
    if (UNLIKELY(!look_up(segment, view->quanta, offset, &found) || found.slab != NULL))
        return EXPORT_NOT_LIVE;
    const int kept_errno = errno;
    own_free_extent(segment, found.quantum);
    errno = kept_errno;
    return EXPORT_DONE;
}

size_t export_usable(shmcore_segment *segment, const void *pointer)
{
    const uint64_t offset = view_offset(&segment->file.view, pointer);
    const struct quantum *quanta = quanta_for(segment, offset);
    struct found found;
    if (quanta == NULL || !look_up(segment, quanta, offset, &found))
        return 0;
    return found.slab != NULL ? found.shape->slot_bytes : found.extent->bytes;
}

/* The first quantum of the extent that the offset lies in; the offset is in what `quanta` describes. */
static uint32_t extent_around(const shmcore_segment *segment, const struct quantum *quanta, uint64_t offset)
{
    uint32_t quantum = (uint32_t)(offset >> QUANTUM_SHIFT);
    for (; quantum > 0; quantum--) {
        const uint32_t kind = atomic_load_explicit(&quanta[quantum].kind, memory_order_relaxed);
        if ((kind != QUANTUM_NONE && kind != QUANTUM_EXPORT_INNER) ||
            quanta_for(segment, (uint64_t)(quantum - 1) << QUANTUM_SHIFT) != quanta)
            break;
    }
    return quantum;
}

static size_t shared_left(const void *pointer)
{
    shmcore_block block;
    if (shmcore_block_of(pointer, &block) != 0)
        return 0;
    return block.bytes - (size_t)((const unsigned char *)pointer - (const unsigned char *)block.address);
}

size_t export_left(shmcore_segment *segment, const void *pointer)
{
    const struct view *view = &segment->file.view;
    const uint64_t offset = view_offset(view, pointer);
    const struct quantum *quanta = quanta_for(segment, offset);
    struct found found;
    if (quanta == NULL)
        return shared_left(pointer);
    uint64_t start = (uint64_t)extent_around(segment, quanta, offset) << QUANTUM_SHIFT;
    const uint32_t kind = atomic_load_explicit(&quanta[start >> QUANTUM_SHIFT].kind, memory_order_relaxed);
    if (kind == QUANTUM_EXPORT_SLAB) {
        const struct export_slab *slab = own_slab(view, (uint32_t)(start >> QUANTUM_SHIFT));
        const struct export_shape *shape = own_slab_shape(view, slab);
        if (shape == NULL || offset - start < shape->data)
            return 0;
        start = offset - (offset - start - shape->data) % shape->slot_bytes;
    }
    if (!look_up(segment, quanta, start, &found))
        return 0;
    const uint64_t bytes = found.slab != NULL ? found.shape->slot_bytes : found.extent->bytes;
    return bytes > offset - start ? bytes - (offset - start) : 0;
}

static bool resize_extent(shmcore_segment *segment, uint32_t first, size_t bytes)
{
    struct quantum *entry = &segment->file.view.quanta[first];
    const uint64_t room = (uint64_t)entry->count << QUANTUM_SHIFT, offset = (uint64_t)first << QUANTUM_SHIFT;
    const uint64_t from = align_down(entry->bytes, PAGE_BYTES);
    if (bytes < SLOT_BYTES_END || bytes < entry->bytes / 2 || bytes > segment->file.view.capacity)
        return false;
    if (bytes > room && !own_lengthen_extent(segment, first, (uint32_t)divide_up(bytes, QUANTUM_BYTES)))
        return false;
    if (bytes > from && (entry->sequence & QUANTUM_TOUCHED) == 0 &&
        space_reserve(&segment->space, offset + from, bytes - from) != 0)
        return false;
    entry->bytes = bytes;
    return true;
}

bool export_resize(shmcore_segment *segment, void *pointer, size_t bytes)
{
    const struct view *view = &segment->file.view;
    const uint64_t offset = view_offset(view, pointer);
    struct found found;
    if (inherited_quanta(segment, offset) != NULL || !is_own(segment, offset) ||
        !look_up(segment, view->quanta, offset, &found))
        return false;
    if (found.slab == NULL)
        return resize_extent(segment, found.quantum, bytes);
    return own_resize_slot(export_info(found.slab, found.shape, found.slot), found.shape->slack_bits,
                           found.shape->slot_bytes, bytes);
}

/* ---------------------------------------------------------------- for the preload */

bool export_label(shmcore_segment *segment, const char *text, size_t length, uint64_t salt, uint32_t *label)
{
    return own_label(segment, text, length, salt, label);
}

void export_retire(shmcore_segment *segment, struct export_source *source)
{
    own_retire(segment, source);
}

void *export_share(shmcore_segment *segment, const char *name, uint64_t salt, size_t bytes, bool *created)
{
    return block_allocate(segment, name, salt, bytes, true, created);
}

shmcore_segment *export_segment_of(const void *pointer)
{
    return segment_of_pointer(pointer);
}

bool export_is_member(const shmcore_segment *segment)
{
    return segment->row != ROW_NONE;
}

size_t export_share_size(const void *pointer)
{
    shmcore_block block;
    return shmcore_block_of(pointer, &block) == 0 && block.address == pointer &&
                   block.kind != SHMCORE_BLOCK_EXPORT
               ? block.bytes
               : 0;
}

/* Of the job, or of the session outside jobs; found out once. */
static uint64_t company(void)
{
    static _Atomic uint64_t known;
    uint64_t value = atomic_load_explicit(&known, memory_order_relaxed);
    if (value == 0) {
        char job[64];
        if (segment_find_job(job) != 0)
            job[0] = '\0';
        value = (job[0] != '\0' ? hash_bytes(job, strlen(job)) : hash_mix((uint64_t)os_session() + 1)) | 1;
        atomic_store_explicit(&known, value, memory_order_relaxed);
    }
    return value;
}

uint64_t export_key(const char *sentence)
{
    return hash_bytes(sentence, strlen(sentence)) ^ hash_mix(company());
}

void export_learn_job(const char *const *environment)
{
    segment_learn_job(environment);
    (void)company();
}

bool export_first_to_say(const char *sentence)
{
    return registry_first_to_say(export_key(sentence));
}

void export_forget_said(void)
{
    registry_tidy(true);
}

bool export_in_window(const shmcore_segment *segment)
{
    const uint64_t base = (uint64_t)(uintptr_t)segment->file.view.base;
    return base >= WINDOW_BASE && base + segment->file.view.capacity <= WINDOW_END;
}

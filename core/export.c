/* SPDX-License-Identifier: MIT
 *
 * A slab of exported blocks is in one of three states:
 *   ACTIVE   a thread's source names it; that thread takes slots by setting bits, with no lock
 *   FULL     it had no free slot; in no list
 *   PARTIAL  it has free slots; in the list of its label and size
 * Any thread frees by clearing a bit, then looks at the state. FULL → PARTIAL and PARTIAL → gone are made
 * under the heap's lock. A thread that finds its slab full says FULL first and looks once more: so either
 * it sees a slot freed meanwhile, or whoever freed it sees FULL.
 *
 * Readers in other processes take no lock: `kind` is stored last when a thing is made and first when it goes.
 */
#include "export.h"

#include <errno.h>
#include <string.h>

#include "blocks.h"
#include "forked.h"
#include "os.h"
#include "registry.h"
#include "slab.h"

/* Free memory kept for reuse by a process; zeroing is far cheaper than giving back and faulting in again. */
#define WATERMARK   (64 * MEBI)
#define LABELS_EACH ((uint32_t)(QUANTUM_BYTES / LABEL_BYTES))
#define SLACK_BITS  16u

enum slab_state { SLAB_ACTIVE = 1, SLAB_FULL = 2, SLAB_PARTIAL = 3 };

static struct transaction direct(const shmcore_segment *segment)
{
    return (struct transaction){.base = segment->file.view.base};
}

static struct heap heap_of(shmcore_segment *segment, struct transaction *transaction)
{
    return (struct heap){.view = &segment->file.view,
                         .bins = &segment->exports.bins,
                         .transaction = transaction,
                         .owner = OWNER_PROCESS + segment->row};
}

static void lock_heap(shmcore_segment *segment)
{
    pthread_mutex_lock(&segment->exports.lock);
}

static void unlock_heap(shmcore_segment *segment)
{
    pthread_mutex_unlock(&segment->exports.lock);
}

/* ---------------------------------------------------------------- extents of the process */

/* With the heap locked. Marked INNER: not a block yet. */
static uint32_t take_extent(shmcore_segment *segment, uint32_t count, uint32_t alignment)
{
    struct transaction transaction = direct(segment);
    const struct heap heap = heap_of(segment, &transaction);
    uint32_t first = heap_take(&heap, count, alignment, QUANTUM_EXPORT_INNER);
    if (first != 0)
        return first;
    const struct region_run run = regions_take(segment, count, alignment);
    if (run.count == 0)
        return 0;
    if (forked_overlaps(segment, run)) { /* under copies that a parent left us: out of use while we live */
        error_set(ENOMEM, "the free part of segment '%s' lies under copies made by fork", segment->file.name);
        return 0;
    }
    const uint32_t each = view_region_quanta(heap.view);
    heap_add(&heap, (struct extent){run.first * each, run.count * each});
    first = heap_take(&heap, count, alignment, QUANTUM_EXPORT_INNER);
    if (first == 0)
        out_of_space(segment, (uint64_t)count << QUANTUM_SHIFT);
    return first;
}

/* With the heap locked; the result is for regions_return() after unlocking. */
static struct region_run give_extent(shmcore_segment *segment, uint32_t first)
{
    struct transaction transaction = direct(segment);
    const struct heap heap = heap_of(segment, &transaction);
    const struct extent freed = heap_give(&heap, first);
    const struct region_run run = regions_inside(heap.view, freed);
    if (run.count == 0 || heap.bins->free_quanta << QUANTUM_SHIFT <= WATERMARK ||
        process_has_children(heap.view, segment->row))
        return (struct region_run){0, 0};
    const uint32_t each = view_region_quanta(heap.view);
    heap_cut(&heap, freed, (struct extent){run.first * each, run.count * each});
    return run;
}

static void publish(struct quantum *entry, enum quantum_kind kind)
{
    atomic_store_explicit(&entry->kind, (uint32_t)kind, memory_order_release);
}

static void *allocate_extent(shmcore_segment *segment, const struct export_source *source, uint64_t sequence,
                             size_t bytes, size_t alignment, unsigned flags)
{
    const struct view *view = &segment->file.view;
    if (bytes > view->capacity || alignment > view->capacity) {
        out_of_space(segment, bytes);
        return NULL;
    }
    const uint32_t count = (uint32_t)most(divide_up(bytes, QUANTUM_BYTES), 1);
    lock_heap(segment);
    const uint32_t first = take_extent(segment, count, (uint32_t)most(alignment >> QUANTUM_SHIFT, 1));
    unlock_heap(segment);
    if (first == 0)
        return NULL;
    const uint64_t offset = (uint64_t)first << QUANTUM_SHIFT;
    if ((flags & EXPORT_ZERO) != 0)
        space_zero_old(view, offset, bytes);
    if ((flags & EXPORT_TOUCH) == 0 && space_reserve(&segment->space, offset, most(bytes, 1)) != 0) {
        char size[ERROR_SIZE_BYTES];
        lock_heap(segment);
        const struct region_run run = give_extent(segment, first);
        unlock_heap(segment);
        regions_return(segment, run);
        error_set(
            ENOMEM,
            "no memory left in %s for a block of %s in segment '%s'; free some, or enlarge it (mount -o "
            "remount,size=…)",
            segment->file.directory, error_size(size, bytes), segment->file.name);
        return NULL;
    }
    struct quantum *entry = &view->quanta[first];
    entry->label = source->label;
    entry->bytes = bytes;
    entry->sequence = sequence | ((flags & EXPORT_TOUCH) != 0 ? QUANTUM_TOUCHED : 0);
    publish(entry, QUANTUM_EXPORT);
    return view_at(view, offset);
}

/* What a touched extent left behind is not in the bitmap: it goes, or later blocks would find old bytes
 * there. */
static void forget_touched(shmcore_segment *segment, uint32_t first, uint32_t count)
{
    space_give_back(&segment->space, (uint64_t)first << QUANTUM_SHIFT, (uint64_t)count << QUANTUM_SHIFT);
}

static void free_extent(shmcore_segment *segment, uint32_t first)
{
    const struct quantum *entry = &segment->file.view.quanta[first];
    if ((entry->sequence & QUANTUM_TOUCHED) != 0)
        forget_touched(segment, first, entry->count);
    lock_heap(segment);
    const struct region_run run = give_extent(segment, first);
    unlock_heap(segment);
    regions_return(segment, run);
}

/* ---------------------------------------------------------------- slabs */

static struct export_slab *slab_of(const struct view *view, uint32_t quantum)
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
        slab_of(view, *head)->previous = quantum_of(view, slab);
    *head = quantum_of(view, slab);
}

static void list_drop(shmcore_segment *segment, struct export_slab *slab)
{
    const struct view *view = &segment->file.view;
    if (slab->next != 0)
        slab_of(view, slab->next)->previous = slab->previous;
    if (slab->previous != 0)
        slab_of(view, slab->previous)->next = slab->next;
    else
        segment->exports.partial[list_of(slab->label, slab->slot_bytes)] = slab->next;
}

static struct export_slab *list_take(shmcore_segment *segment, uint32_t label, uint32_t slot_bytes)
{
    const struct view *view = &segment->file.view;
    uint32_t quantum = segment->exports.partial[list_of(label, slot_bytes)];
    for (; quantum != 0; quantum = slab_of(view, quantum)->next) {
        struct export_slab *slab = slab_of(view, quantum);
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

static void mark_slab(shmcore_segment *segment, uint32_t first, const struct export_slab *slab)
{
    struct quantum *entry = &segment->file.view.quanta[first];
    for (uint32_t i = 1; i < slab->quanta; i++) {
        entry[i].back = i;
        entry[i].owner = slab->owner;
        publish(&entry[i], QUANTUM_EXPORT_INNER);
    }
    entry->label = slab->label;
    entry->sequence = slab->touched ? QUANTUM_TOUCHED : 0;
    publish(entry, QUANTUM_EXPORT_SLAB);
}

/* With the heap locked. */
static struct export_slab *make_slab(shmcore_segment *segment, const struct export_source *source,
                                     uint32_t slot_bytes, unsigned flags)
{
    const uint32_t quanta = slot_bytes <= 4096 ? 4 : 16;
    const uint32_t first = take_extent(segment, quanta, 1);
    if (first == 0)
        return NULL;
    struct export_slab shape = {0};
    lay_out(&shape, slot_bytes, quanta);
    const uint64_t offset = (uint64_t)first << QUANTUM_SHIFT;
    if (space_reserve(&segment->space, offset, shape.data) != 0) {
        give_extent(segment, first);
        error_set(ENOMEM, "no memory left for segment '%s' in %s", segment->file.name,
                  segment->file.directory);
        return NULL;
    }
    struct export_slab *slab = slab_of(&segment->file.view, first);
    memset(slab, 0, sizeof *slab);
    lay_out(slab, slot_bytes, quanta);
    slab->owner = OWNER_PROCESS + segment->row;
    slab->label = source->label;
    slab->touched = (flags & EXPORT_TOUCH) != 0;
    slab->ready = slab->touched ? slab->slots : 0;
    atomic_store(&slab->state, SLAB_ACTIVE);
    mark_slab(segment, first, slab);
    return slab;
}

/* With the heap locked: the slab is empty and in no list. */
static struct region_run remove_slab(shmcore_segment *segment, struct export_slab *slab)
{
    const uint32_t first = quantum_of(&segment->file.view, slab);
    struct quantum *entry = &segment->file.view.quanta[first];
    for (uint32_t i = 0; i < slab->quanta; i++)
        publish(&entry[i], QUANTUM_NONE);
    if (slab->touched)
        forget_touched(segment, first, entry->count);
    return give_extent(segment, first);
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
    lock_heap(segment);
    if (full != NULL) {
        atomic_store(&full->state, SLAB_FULL);
        if (free_slot(full) < full->slots) { /* freed between our look and FULL */
            atomic_store(&full->state, SLAB_ACTIVE);
            unlock_heap(segment);
            return full;
        }
    }
    struct export_slab *slab = list_take(segment, source->label, slot_bytes);
    if (slab == NULL)
        slab = make_slab(segment, source, slot_bytes, flags);
    unlock_heap(segment);
    source->slab[slab_class] = slab != NULL ? quantum_of(&segment->file.view, slab) : 0;
    return slab;
}

static void *allocate_slot(shmcore_segment *segment, struct export_source *source, uint64_t sequence,
                           uint32_t slab_class, size_t bytes, unsigned flags)
{
    const uint32_t quantum = source->slab[slab_class];
    struct export_slab *slab = quantum != 0 ? slab_of(&segment->file.view, quantum) : NULL;
    uint32_t slot = slab != NULL ? free_slot(slab) : 0;
    while (UNLIKELY(slab == NULL || slot >= slab->slots)) {
        slab = next_slab(segment, source, slab_class, slab, flags);
        if (slab == NULL)
            return NULL;
        slot = free_slot(slab);
    }
    if (UNLIKELY(slot >= slab->ready) && !make_ready(segment, slab, slot))
        return NULL;
    atomic_store_explicit(&slab->info[slot], sequence << SLACK_BITS | (slab->slot_bytes - bytes),
                          memory_order_relaxed);
    atomic_fetch_or_explicit(&slab->live[slot / 64], (uint64_t)1 << slot % 64, memory_order_release);
    void *pointer = (unsigned char *)slab + slab->data + (size_t)slot * slab->slot_bytes;
    if ((flags & EXPORT_ZERO) != 0)
        memset(pointer, 0, bytes);
    return pointer;
}

/* After a slot of a slab that is no thread's was freed. */
static COLD void slab_changed(shmcore_segment *segment, struct export_slab *slab)
{
    struct region_run run = {0, 0};
    lock_heap(segment);
    if (atomic_load(&slab->state) == SLAB_FULL) {
        atomic_store(&slab->state, SLAB_PARTIAL);
        list_push(segment, slab);
    }
    if (atomic_load(&slab->state) == SLAB_PARTIAL && is_empty(slab)) {
        atomic_store(&slab->state, 0);
        list_drop(segment, slab);
        run = remove_slab(segment, slab);
    }
    unlock_heap(segment);
    regions_return(segment, run);
}

void export_retire(shmcore_segment *segment, struct export_source *source)
{
    for (uint32_t c = 0; c < SLAB_DATA_CLASSES; c++) {
        if (source->slab[c] == 0)
            continue;
        struct export_slab *slab = slab_of(&segment->file.view, source->slab[c]);
        source->slab[c] = 0;
        atomic_store(&slab->state, SLAB_FULL);
        if (free_slot(slab) < slab->slots)
            slab_changed(segment, slab);
    }
}

/* ---------------------------------------------------------------- allocate */

/* The class for a size and an alignment: slots are aligned to 64 from 64 bytes on, and to their own size when
 * that is a power of two. SLAB_CLASSES: no class serves. */
static uint32_t class_for(size_t bytes, size_t alignment)
{
    if (alignment <= 16)
        return slab_data_class(bytes);
    if (alignment > PAGE_BYTES)
        return SLAB_CLASSES;
    size_t slot = bytes > alignment ? bytes : alignment;
    if (alignment > 64)
        slot = is_power_of_two(slot) ? slot : (size_t)2 << log2_floor(slot);
    return slab_data_class(slot < 64 ? 64 : slot);
}

void *export_allocate(shmcore_segment *segment, struct export_source *source, uint64_t sequence, size_t bytes,
                      size_t alignment, unsigned flags)
{
    if (UNLIKELY(sequence >> EXPORT_SEQUENCE_BITS != 0)) {
        error_set(ENOMEM, "a call site has made more blocks than can be numbered");
        return NULL;
    }
    const uint32_t slab_class = class_for(bytes, alignment);
    if (slab_class < SLAB_DATA_CLASSES)
        return allocate_slot(segment, source, sequence, slab_class, bytes, flags);
    return allocate_extent(segment, source, sequence, bytes, alignment, flags);
}

/* ---------------------------------------------------------------- what a pointer is */

/* Looks a block up in a table of quanta: this process's, or a copy that a fork left. */
struct found {
    const struct quantum *extent;
    struct export_slab *slab;
    uint32_t slot, quantum;
};

static bool look_up(const struct view *view, const struct quantum *quanta, uint64_t offset, struct found *out)
{
    const uint32_t quantum = (uint32_t)(offset >> QUANTUM_SHIFT);
    const struct quantum *entry = &quanta[quantum];
    const uint32_t kind = atomic_load_explicit(&entry->kind, memory_order_relaxed);
    *out = (struct found){.quantum = quantum};
    if (kind == QUANTUM_EXPORT) {
        out->extent = entry;
        return offset % QUANTUM_BYTES == 0;
    }
    if (kind == QUANTUM_EXPORT_INNER && entry->back != 0 && entry->back <= quantum)
        out->quantum -= entry->back;
    else if (kind != QUANTUM_EXPORT_SLAB)
        return false;
    struct export_slab *slab = slab_of(view, out->quantum);
    const uint64_t inside = offset - ((uint64_t)out->quantum << QUANTUM_SHIFT);
    if (inside < slab->data)
        return false;
    out->slab = slab;
    out->slot = (uint32_t)((inside - slab->data) / slab->slot_bytes);
    return out->slot < slab->slots && inside - slab->data == (uint64_t)out->slot * slab->slot_bytes &&
           (atomic_load_explicit(&slab->live[out->slot / 64], memory_order_relaxed) >> out->slot % 64 & 1) !=
               0;
}

static bool is_own(const shmcore_segment *segment, uint64_t offset)
{
    return view_owner_of_quantum(&segment->file.view, (uint32_t)(offset >> QUANTUM_SHIFT)) ==
           OWNER_PROCESS + segment->row;
}

enum export_answer export_free(shmcore_segment *segment, void *pointer)
{
    const struct view *view = &segment->file.view;
    const uint64_t offset = view_offset(view, pointer);
    struct found found;
    if (UNLIKELY(segment->inherited != NULL) && forked_quanta(segment, offset) != NULL)
        return EXPORT_DONE; /* a private copy: its room comes back with the process's end */
    if (UNLIKELY(!is_own(segment, offset)))
        return EXPORT_NOT_OURS;
    if (UNLIKELY(!look_up(view, view->quanta, offset, &found)))
        return EXPORT_NOT_LIVE;
    if (found.slab == NULL) {
        free_extent(segment, found.quantum);
        return EXPORT_DONE;
    }
    const uint64_t bit = (uint64_t)1 << found.slot % 64;
    const uint64_t before = atomic_fetch_and(&found.slab->live[found.slot / 64], ~bit);
    if (UNLIKELY((before & bit) == 0))
        return EXPORT_NOT_LIVE; /* another thread was first */
    const uint32_t state = atomic_load(&found.slab->state);
    if (UNLIKELY(state != SLAB_ACTIVE) && (state == SLAB_FULL || before == bit))
        slab_changed(segment, found.slab);
    return EXPORT_DONE;
}

static const struct quantum *quanta_for(const shmcore_segment *segment, uint64_t offset)
{
    const struct quantum *copy = forked_quanta(segment, offset);
    if (copy != NULL)
        return copy;
    return is_own(segment, offset) ? segment->file.view.quanta : NULL;
}

size_t export_usable(shmcore_segment *segment, const void *pointer)
{
    const uint64_t offset = view_offset(&segment->file.view, pointer);
    const struct quantum *quanta = quanta_for(segment, offset);
    struct found found;
    if (quanta == NULL || !look_up(&segment->file.view, quanta, offset, &found))
        return 0;
    return found.slab != NULL ? found.slab->slot_bytes : found.extent->bytes;
}

static bool resize_extent(shmcore_segment *segment, uint32_t first, size_t bytes)
{
    struct quantum *entry = &segment->file.view.quanta[first];
    const uint64_t room = (uint64_t)entry->count << QUANTUM_SHIFT;
    if (bytes > room || bytes <= EXPORT_SLOT_MOST || bytes < entry->bytes / 2)
        return false;
    if (bytes > entry->bytes && space_reserve(&segment->space, (uint64_t)first << QUANTUM_SHIFT, bytes) != 0)
        return false;
    entry->bytes = bytes;
    return true;
}

bool export_resize(shmcore_segment *segment, void *pointer, size_t bytes)
{
    const struct view *view = &segment->file.view;
    const uint64_t offset = view_offset(view, pointer);
    struct found found;
    if (forked_quanta(segment, offset) != NULL || !is_own(segment, offset) ||
        !look_up(view, view->quanta, offset, &found))
        return false;
    if (found.slab == NULL)
        return resize_extent(segment, found.quantum, bytes);
    const uint32_t slot_bytes = found.slab->slot_bytes;
    if (bytes > slot_bytes || bytes < slot_bytes / 2)
        return false;
    const uint64_t info = atomic_load_explicit(&found.slab->info[found.slot], memory_order_relaxed);
    atomic_store_explicit(&found.slab->info[found.slot],
                          info >> SLACK_BITS << SLACK_BITS | (slot_bytes - bytes), memory_order_relaxed);
    return true;
}

/* ---------------------------------------------------------------- labels and the rest */

static bool new_label_extent(shmcore_segment *segment)
{
    const uint32_t first = take_extent(segment, 1, 1);
    if (first == 0)
        return false;
    if (space_reserve(&segment->space, (uint64_t)first << QUANTUM_SHIFT, QUANTUM_BYTES) != 0) {
        give_extent(segment, first);
        return false;
    }
    memset(view_at(&segment->file.view, (uint64_t)first << QUANTUM_SHIFT), 0, QUANTUM_BYTES);
    publish(&segment->file.view.quanta[first], QUANTUM_LABELS);
    segment->exports.labels = first;
    segment->exports.labels_used = 0;
    return true;
}

bool export_label(shmcore_segment *segment, const char *text, size_t length, uint64_t salt, uint32_t *out)
{
    struct export_heap *exports = &segment->exports;
    if (length > LABEL_TEXT)
        return false;
    lock_heap(segment);
    const bool room =
        (exports->labels != 0 && exports->labels_used < LABELS_EACH) || new_label_extent(segment);
    if (room) {
        *out = (exports->labels << (QUANTUM_SHIFT - LABEL_SHIFT)) + exports->labels_used++;
        struct label *label = view_label(&segment->file.view, *out);
        memcpy(label->text, text, length);
        label->salt = salt;
        label->owner = OWNER_PROCESS + segment->row;
        label->length = (uint32_t)length;
    }
    unlock_heap(segment);
    return room;
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
    return shmcore_block_of(pointer, &block) == 0 && block.address == pointer ? block.bytes : 0;
}

bool export_first_to_say(const char *sentence)
{
    char job[64];
    segment_find_job(job);
    uint64_t key = hash_bytes(sentence, strlen(sentence)) ^ hash_mix(hash_bytes(job, strlen(job)));
    if (job[0] == '\0')
        key ^= hash_mix((uint64_t)os_session() + 1);
    return registry_first_to_say(key);
}

bool export_in_window(const shmcore_segment *segment)
{
    const uint64_t base = (uint64_t)(uintptr_t)segment->file.view.base;
    return base >= WINDOW_BASE && base + segment->file.view.capacity <= WINDOW_END;
}

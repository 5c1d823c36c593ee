/* SPDX-License-Identifier: MIT
 *
 * Labels of this process: what its exported blocks are called. One belongs to its *users*: the source it was
 * made for, as long as its thread takes blocks from it, slabs, and extents; when the last of them goes, the
 * next label has its place. So a program may make and end as many threads as it likes.
 *
 * The numbers of users lie in the segment, beside the text: whoever scribbles over them makes a name wrong,
 * and nothing else. Free labels are a list through them. Under the heap's lock.
 */
#include <string.h>

#include "export_own.h"

#define LABELS_EACH ((uint32_t)(QUANTUM_BYTES / LABEL_BYTES))

/* `users` of one that is free, over the number of the next one. */
#define LABEL_IS_FREE (UINT64_C(1) << 63)

/* NULL: there is none of ours. */
static struct label *label_at(const shmcore_segment *segment, uint32_t label)
{
    const struct view *view = &segment->file.view;
    const uint32_t quantum = label >> (QUANTUM_SHIFT - LABEL_SHIFT);
    return heap_begins(view, quantum, OWNER_PROCESS + segment->row, QUANTUM_LABELS) ? view_label(view, label)
                                                                                    : NULL;
}

static bool new_extent(shmcore_segment *segment)
{
    const uint32_t first = own_take_extent(segment, 1, 1);
    if (first == 0)
        return false;
    if (space_reserve(&segment->space, (uint64_t)first << QUANTUM_SHIFT, QUANTUM_BYTES) != 0) {
        own_give_extent(segment, first);
        return false;
    }
    memset(view_at(&segment->file.view, (uint64_t)first << QUANTUM_SHIFT), 0, QUANTUM_BYTES);
    own_publish(&segment->file.view.quanta[first], QUANTUM_LABELS);
    segment->exports.labels = first;
    segment->exports.labels_used = 0;
    return true;
}

/* 0: there is none. A list that was scribbled over is given up. */
static uint32_t take_free(shmcore_segment *segment)
{
    const uint32_t found = segment->exports.free_label;
    const struct label *label = found != 0 ? label_at(segment, found) : NULL;
    const bool sound = label != NULL && (label->users & LABEL_IS_FREE) != 0;
    segment->exports.free_label = sound ? (uint32_t)label->users : 0;
    return sound ? found : 0;
}

/* 0: no room. */
static uint32_t take(shmcore_segment *segment)
{
    struct export_heap *exports = &segment->exports;
    const uint32_t found = take_free(segment);
    if (found != 0)
        return found;
    if ((exports->labels == 0 || exports->labels_used == LABELS_EACH) && !new_extent(segment))
        return 0;
    return (exports->labels << (QUANTUM_SHIFT - LABEL_SHIFT)) + exports->labels_used++;
}

bool own_label(shmcore_segment *segment, const char *text, size_t length, uint64_t salt, uint32_t *out)
{
    if (length > LABEL_TEXT)
        return false;
    own_lock(segment);
    const uint32_t taken = take(segment);
    if (taken != 0) {
        struct label *label = view_label(&segment->file.view, taken);
        memcpy(label->text, text, length);
        label->salt = salt;
        label->owner = OWNER_PROCESS + segment->row;
        label->length = (uint32_t)length;
        label->users = 1;
        *out = taken;
    }
    own_unlock(segment);
    return taken != 0;
}

void own_label_hold(shmcore_segment *segment, uint32_t number)
{
    struct label *label = label_at(segment, number);
    if (LIKELY(label != NULL && (label->users & LABEL_IS_FREE) == 0))
        label->users++;
}

void own_label_drop(shmcore_segment *segment, uint32_t number)
{
    struct label *label = label_at(segment, number);
    if (UNLIKELY(label == NULL || label->users == 0 || (label->users & LABEL_IS_FREE) != 0) ||
        --label->users != 0)
        return;
    label->users = LABEL_IS_FREE | segment->exports.free_label;
    segment->exports.free_label = number;
}

/* SPDX-License-Identifier: MIT
 *
 * Extents and slabs of one shard, worked out anew from its quanta.
 */
#include "soundness_parts.h"

static uint32_t count_at(const struct audit *audit, uint32_t quantum)
{
    return audit->view->quanta[quantum].count;
}

unsigned audit_bin_of(uint32_t count)
{
    unsigned bin = count - 1;
    if (count > 16) {
        unsigned power = 4;
        while (count >> power > 1)
            power++;
        bin = 16 + 2 * (power - 4) + (count >= 3u << (power - 1));
    }
    return bin < HEAP_BINS ? bin : HEAP_BINS - 1;
}

/* ---------------------------------------------------------------- extents */

/* What is free, bin by bin, as the quanta say. */
struct free_extents {
    uint32_t count[HEAP_BINS];
    uint64_t quanta;
};

static const char *inside_of_extent(const struct audit *audit, uint32_t first, uint32_t count)
{
    const bool is_free = audit_kind(audit->view, first) == QUANTUM_FREE;
    for (uint32_t q = first + 1; q < first + count; q++) {
        const bool marked = is_free && q == first + count - 1;
        if (!audit_owns(audit->view, q, audit->owner))
            return complain("the extent of %u quanta at %u leaves the regions of shard %u", count, first,
                            audit->number);
        if (audit_kind(audit->view, q) != (marked ? QUANTUM_FREE : QUANTUM_NONE))
            return complain("quantum %u inside the extent at %u has kind %u", q, first,
                            audit_kind(audit->view, q));
        if (marked && count_at(audit, q) != count)
            return complain("the ends of the free extent at %u do not agree: %u and %u", first, count,
                            count_at(audit, q));
    }
    return NULL;
}

static const char *one_extent(const struct audit *audit, uint32_t first, bool after_free,
                              struct free_extents *found)
{
    const struct quantum *entry = &audit->view->quanta[first];
    const uint32_t kind = audit_kind(audit->view, first);
    if (kind != QUANTUM_FREE && kind != QUANTUM_NAMED && kind != QUANTUM_RECORDS && kind != QUANTUM_TABLE)
        return complain("quantum %u of shard %u, where an extent should begin, has kind %u", first,
                        audit->number, kind);
    if (entry->owner != audit->owner)
        return complain("the extent at %u says %x is its owner, and it lies in shard %u", first, entry->owner,
                        audit->number);
    if (entry->count == 0 || entry->count > view_quantum_count(audit->view) - first)
        return complain("the extent at %u has %u quanta", first, entry->count);
    if (kind == QUANTUM_FREE) {
        if (after_free)
            return complain("the free extent at %u touches another one", first);
        found->count[audit_bin_of(entry->count)]++;
        found->quanta += entry->count;
    }
    return inside_of_extent(audit, first, entry->count);
}

static const char *one_bin(const struct audit *audit, unsigned bin, uint32_t expected)
{
    const struct view *view = audit->view;
    const struct heap_bins *bins = &audit->shard->bins;
    uint32_t previous = 0, found = 0;
    if ((bins->occupied >> bin & 1) != (expected != 0))
        return complain("bin %u of shard %u has %u extents and its bit says something else", bin,
                        audit->number, expected);
    for (uint32_t first = bins->head[bin]; first != 0; first = view->quanta[first].next) {
        if (++found > expected)
            return complain("bin %u of shard %u should have %u extents and has more", bin, audit->number,
                            expected);
        if (first >= view_quantum_count(view) || !audit_owns(view, first, audit->owner) ||
            audit_kind(view, first) != QUANTUM_FREE || audit_bin_of(count_at(audit, first)) != bin)
            return complain("bin %u of shard %u holds %u, which is no free extent of its size", bin,
                            audit->number, first);
        if (view->quanta[first].previous != previous)
            return complain("the free extent %u in bin %u says %u is before it, and it is %u", first, bin,
                            view->quanta[first].previous, previous);
        previous = first;
    }
    return found == expected ? NULL
                             : complain("bin %u of shard %u should have %u extents and has %u", bin,
                                        audit->number, expected, found);
}

const char *audit_extents(const struct audit *audit)
{
    const struct view *view = audit->view;
    const uint32_t end = view_quantum_count(view);
    struct free_extents found = {.quanta = 0};
    const char *wrong = NULL;
    bool after_free = false;
    for (uint32_t q = 0, count; wrong == NULL && q < end; q += count) {
        const bool ours = audit_owns(view, q, audit->owner);
        count = ours ? count_at(audit, q) : view_region_quanta(view);
        if (ours)
            wrong = one_extent(audit, q, after_free, &found);
        after_free = ours && wrong == NULL && audit_kind(view, q) == QUANTUM_FREE;
    }
    for (unsigned bin = 0; wrong == NULL && bin < HEAP_BINS; bin++)
        wrong = one_bin(audit, bin, found.count[bin]);
    if (wrong == NULL && found.quanta != audit->shard->bins.free_quanta)
        wrong = complain("%lu quanta of shard %u are free and it says %lu", (unsigned long)found.quanta,
                         audit->number, (unsigned long)audit->shard->bins.free_quanta);
    return wrong;
}

/* ---------------------------------------------------------------- slabs */

static const char *one_slab(const struct audit *audit, uint32_t quantum, uint32_t with_room[SLAB_CLASSES])
{
    const struct slab *slab = view_slab(audit->view, quantum);
    if (count_at(audit, quantum) != SLAB_QUANTA || quantum % SLAB_QUANTA != 0)
        return complain("the slab at %u has %u quanta", quantum, count_at(audit, quantum));
    if (!audit_is_reserved(audit->view, (uint64_t)quantum << QUANTUM_SHIFT, SLAB_BYTES))
        return complain("the slab at %u has no memory", quantum);
    if (slab->slab_class >= SLAB_CLASSES)
        return complain("the slab at %u has class %u", quantum, slab->slab_class);
    const uint32_t slots = audit->view->shapes[slab->slab_class].slots;
    uint32_t live = 0;
    for (uint32_t word = 0; word < SLAB_LIVE_WORDS; word++) {
        const uint32_t there = (uint32_t)least(most(slots, word * 64) - word * 64, 64);
        live += (uint32_t)__builtin_popcountll(slab->live[word]);
        if (there < 64 && slab->live[word] >> there != 0)
            return complain("the slab at %u has %u slots, and others live", quantum, slots);
    }
    if (live != slab->used)
        return complain("%u slots of the slab at %u live and it says %u", live, quantum, slab->used);
    if (slab->listed != (live < slots))
        return complain("%u of %u slots of the slab at %u live, and listed is %u", live, slots, quantum,
                        slab->listed);
    with_room[slab->slab_class] += live < slots;
    return NULL;
}

static const char *one_list(const struct audit *audit, uint32_t slab_class, uint32_t expected)
{
    const struct view *view = audit->view;
    uint32_t previous = 0, found = 0;
    for (uint32_t quantum = audit->shard->partial[slab_class]; quantum != 0;) {
        if (quantum >= view_quantum_count(view) || !audit_owns(view, quantum, audit->owner) ||
            audit_kind(view, quantum) != QUANTUM_RECORDS ||
            view_slab(view, quantum)->slab_class != slab_class)
            return complain("the list of class %u of shard %u holds %u, which is no slab of it", slab_class,
                            audit->number, quantum);
        const struct slab *slab = view_slab(view, quantum);
        if (slab->previous != previous)
            return complain("the slab at %u says %u is before it, and it is %u", quantum, slab->previous,
                            previous);
        if (++found > expected)
            break;
        previous = quantum;
        quantum = slab->next;
    }
    return found == expected ? NULL
                             : complain("%u slabs of class %u of shard %u have room and %u are listed",
                                        expected, slab_class, audit->number, found);
}

const char *audit_slabs(const struct audit *audit)
{
    const struct view *view = audit->view;
    uint32_t with_room[SLAB_CLASSES] = {0};
    const char *wrong = NULL;
    for (uint32_t q = 0; wrong == NULL && q < view_quantum_count(view); q++)
        if (audit_owns(view, q, audit->owner) && audit_kind(view, q) == QUANTUM_RECORDS)
            wrong = one_slab(audit, q, with_room);
    for (uint32_t c = 0; wrong == NULL && c < SLAB_CLASSES; c++)
        wrong = one_list(audit, c, with_room[c]);
    return wrong;
}

/* ---------------------------------------------------------------- is everything reached? */

const char *audit_reach_slot(const struct audit *audit, uint64_t offset, bool record, uint32_t least_class,
                             uint32_t most_class, const char *what)
{
    const struct view *view = audit->view;
    const uint32_t quantum = (uint32_t)(offset / SLAB_BYTES * SLAB_QUANTA);
    if (offset >= view->capacity || !audit_owns(view, quantum, audit->owner) ||
        audit_kind(view, quantum) != QUANTUM_RECORDS)
        return complain("%s at %lx is in no slab of shard %u", what, (unsigned long)offset, audit->number);
    const struct slab *slab = view_slab(view, quantum);
    if (slab->slab_class < least_class || slab->slab_class > most_class)
        return complain("%s at %lx is in a slab of class %u", what, (unsigned long)offset, slab->slab_class);
    const struct slab_shape *shape = &view->shapes[slab->slab_class];
    const uint64_t inside = offset % SLAB_BYTES, start = record ? shape->records : shape->data;
    const uint64_t each = record ? sizeof(struct record) : shape->slot_bytes;
    const uint64_t index = (inside - start) / each;
    if (inside < start || (inside - start) % each != 0 || index >= shape->slots)
        return complain("%s at %lx does not begin a slot", what, (unsigned long)offset);
    if ((slab->live[index / 64] >> index % 64 & 1) == 0)
        return complain("%s at %lx is in a slot that does not live", what, (unsigned long)offset);
    uint64_t *word = &audit->slots_reached[quantum / SLAB_QUANTA][index / 64];
    if ((*word >> index % 64 & 1) != 0)
        return complain("%s at %lx is reached twice", what, (unsigned long)offset);
    *word |= (uint64_t)1 << index % 64;
    return NULL;
}

const char *audit_nothing_lost(const struct audit *audit)
{
    const struct view *view = audit->view;
    for (uint32_t q = 0; q < view_quantum_count(view); q++) {
        if (!audit_owns(view, q, audit->owner))
            continue;
        const uint32_t kind = audit_kind(view, q);
        if ((kind == QUANTUM_NAMED || kind == QUANTUM_TABLE) && !audit->reached[q])
            return complain("nothing leads to the extent of kind %u at %u of shard %u", kind, q,
                            audit->number);
        if (kind != QUANTUM_RECORDS)
            continue;
        const struct slab *slab = view_slab(view, q);
        for (uint32_t word = 0; word < SLAB_LIVE_WORDS; word++)
            if (slab->live[word] != audit->slots_reached[q / SLAB_QUANTA][word])
                return complain("slots of class %u in the slab at %u live and nothing leads to them",
                                slab->slab_class, q);
    }
    return NULL;
}

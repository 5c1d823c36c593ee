/* SPDX-License-Identifier: MIT
 *
 * What one living, quiet process has exported. Which slabs and free extents its private lists lead to cannot
 * be seen from outside, but the links themselves lie in the segment and must agree.
 */
#include "export_slots.h"
#include "soundness_parts.h"

static const char *free_links(const struct view *view, uint32_t owner, uint32_t first)
{
    const struct quantum *entry = &view->quanta[first];
    const uint32_t neighbours[2] = {entry->next, entry->previous};
    for (unsigned i = 0; i < 2; i++) {
        const uint32_t other = neighbours[i];
        if (other == 0)
            continue;
        if (other >= view_quantum_count(view) || !audit_owns(view, other, owner) ||
            audit_kind(view, other) != QUANTUM_FREE ||
            audit_bin_of(view->quanta[other].count) != audit_bin_of(entry->count) ||
            (i == 0 ? view->quanta[other].previous : view->quanta[other].next) != first)
            return complain("the free extent at %u and its neighbour %u do not agree", first, other);
    }
    return NULL;
}

static const char *a_label(const struct view *view, uint32_t owner, uint32_t label)
{
    const uint64_t offset = (uint64_t)label << LABEL_SHIFT;
    if (!view_holds(view, offset, sizeof(struct label)) ||
        !audit_owns(view, (uint32_t)(offset >> QUANTUM_SHIFT), owner) ||
        audit_kind(view, (uint32_t)(offset >> QUANTUM_SHIFT)) != QUANTUM_LABELS)
        return complain("label %u is none", label);
    const struct label *text = view_label(view, label);
    return text->owner == owner && text->length <= LABEL_TEXT
               ? NULL
               : complain("label %u is of %x and has %u bytes", label, text->owner, text->length);
}

static const char *a_slot(const struct view *view, uint32_t first, const struct export_slab *slab,
                          uint32_t slot)
{
    const struct export_shape *shape = &view->export_shapes[slab->slab_class];
    const uint64_t at = ((uint64_t)first << QUANTUM_SHIFT) + shape->data + (uint64_t)slot * shape->slot_bytes;
    if (slot >= shape->slots || export_info_slack(shape, *export_info(slab, shape, slot)) > shape->slot_bytes)
        return complain("slot %u of the slab of exports at %u makes no sense", slot, first);
    if (!slab->touched && !audit_is_reserved(view, at, shape->slot_bytes))
        return complain("slot %u of the slab of exports at %u has no memory", slot, first);
    return NULL;
}

static const char *a_slab(const struct view *view, uint32_t owner, uint32_t first)
{
    const struct export_slab *slab = view_at(view, (uint64_t)first << QUANTUM_SHIFT);
    if (slab->owner != owner || slab->slab_class >= SLAB_DATA_CLASSES ||
        view->export_shapes[slab->slab_class].quanta != view->quanta[first].count)
        return complain("the slab of exports at %u makes no sense", first);
    for (uint32_t i = 1; i < view->quanta[first].count; i++)
        if (audit_kind(view, first + i) != QUANTUM_EXPORT_INNER || view->quanta[first + i].back != i)
            return complain("quantum %u of the slab of exports at %u does not lead back", i, first);
    const struct export_shape *shape = &view->export_shapes[slab->slab_class];
    for (uint32_t i = 0; i < shape->words * 64; i++) {
        const char *wrong = export_slot_is_alive(slab, shape, i) ? a_slot(view, first, slab, i) : NULL;
        if (wrong != NULL)
            return wrong;
    }
    return a_label(view, owner, slab->label);
}

static const char *an_extent(const struct view *view, uint32_t owner, uint32_t first, uint32_t kind)
{
    const struct quantum *entry = &view->quanta[first];
    switch (kind) {
    case QUANTUM_FREE:
        return free_links(view, owner, first);
    case QUANTUM_EXPORT:
        if (entry->bytes > (uint64_t)entry->count << QUANTUM_SHIFT)
            return complain("the exported block at %u has %lu bytes in %u quanta", first,
                            (unsigned long)entry->bytes, entry->count);
        if ((entry->sequence & QUANTUM_TOUCHED) == 0 &&
            !audit_is_reserved(view, (uint64_t)first << QUANTUM_SHIFT, entry->bytes))
            return complain("the exported block at %u has no memory", first);
        return a_label(view, owner, entry->label);
    case QUANTUM_EXPORT_SLAB:
        return a_slab(view, owner, first);
    case QUANTUM_LABELS:
        return NULL;
    default:
        return complain("quantum %u of exports, where an extent should begin, has kind %u", first, kind);
    }
}

static const char *ends_of(const struct view *view, uint32_t owner, uint32_t first, uint32_t kind)
{
    const uint32_t count = view->quanta[first].count;
    for (uint32_t q = first; q < first + count; q++) {
        const bool marked =
            q == first || kind == QUANTUM_EXPORT_SLAB || (kind == QUANTUM_FREE && q == first + count - 1);
        if (!audit_owns(view, q, owner))
            return complain("the extent of exports at %u leaves its regions", first);
        if (!marked && audit_kind(view, q) != QUANTUM_NONE)
            return complain("quantum %u inside the extent of exports at %u has kind %u", q, first,
                            audit_kind(view, q));
    }
    if (kind == QUANTUM_FREE && view->quanta[first + count - 1].count != count)
        return complain("the ends of the free extent of exports at %u do not agree", first);
    return NULL;
}

const char *soundness_of_exports(const struct view *view, uint32_t row)
{
    const uint32_t owner = OWNER_PROCESS + row, end = view_quantum_count(view);
    bool after_free = false;
    for (uint32_t q = 0, count; q < end; q += count) {
        count = view_region_quanta(view);
        if (!audit_owns(view, q, owner)) {
            after_free = false;
            continue;
        }
        const uint32_t kind = audit_kind(view, q);
        count = view->quanta[q].count;
        if (view->quanta[q].owner != owner || count == 0 || count > end - q)
            return complain("the extent of exports at %u has %u quanta and owner %x", q, count,
                            view->quanta[q].owner);
        if (after_free && kind == QUANTUM_FREE)
            return complain("the free extent of exports at %u touches another one", q);
        after_free = kind == QUANTUM_FREE;
        const char *wrong = an_extent(view, owner, q, kind);
        if (wrong == NULL)
            wrong = ends_of(view, owner, q, kind);
        if (wrong != NULL)
            return wrong;
    }
    return NULL;
}

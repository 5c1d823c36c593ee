/* SPDX-License-Identifier: MIT */
#include "soundness_parts.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "process.h"

static char sentence[512];

const char *complain(const char *format, ...)
{
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(sentence, sizeof sentence, format, arguments);
    va_end(arguments);
    return sentence;
}

/* ---------------------------------------------------------------- what the parts ask */

bool audit_region_is_free(const struct view *view, uint32_t region)
{
    return (view->region_free[region / 64] >> region % 64 & 1) != 0;
}

bool audit_owns(const struct view *view, uint32_t quantum, uint32_t owner)
{
    const uint32_t region = quantum >> (view->region_shift - QUANTUM_SHIFT);
    return region < view->region_count && view->region_owner[region] == owner &&
           !audit_region_is_free(view, region);
}

uint32_t audit_kind(const struct view *view, uint32_t quantum)
{
    return atomic_load_explicit(&view->quanta[quantum].kind, memory_order_relaxed);
}

bool audit_row_is_used(const struct view *view, uint32_t row)
{
    return row < view->row_count && view->rows[row].state != ROW_FREE;
}

bool audit_is_reserved(const struct view *view, uint64_t offset, uint64_t bytes)
{
    for (uint64_t page = offset / PAGE_BYTES; page * PAGE_BYTES < offset + bytes; page++)
        if ((view->reserved[page / 64] >> page % 64 & 1) == 0)
            return false;
    return true;
}

/* ---------------------------------------------------------------- locks */

static const char *audit_guard(const char *whose, uint32_t number, const struct lock *lock,
                               const struct undo *undo, uint32_t sequence, uint32_t poisoned)
{
    uint32_t word;
    memcpy(&word, lock->opaque, sizeof word);
    if (poisoned != 0)
        return complain("%s %u is poisoned", whose, number);
    if (word != 0)
        return complain("the lock of %s %u is taken: its word is %x", whose, number, word);
    if (undo->count != 0)
        return complain("the undo log of %s %u holds %lu entries", whose, number, (unsigned long)undo->count);
    if ((sequence & 1) != 0)
        return complain("the sequence of %s %u is odd: %u", whose, number, sequence);
    return NULL;
}

static const char *audit_guards(const struct view *view)
{
    const struct pool *pool = view->pool;
    const char *wrong = audit_guard("pool", 0, &pool->lock, &pool->undo, pool->sequence, pool->poisoned);
    for (uint32_t s = 0; wrong == NULL && s < view->shard_count; s++) {
        const struct shard *shard = &view->shards[s];
        wrong = audit_guard("shard", s, &shard->lock, &shard->undo, shard->sequence, shard->poisoned);
        if (wrong == NULL && shard->loose.count != 0)
            wrong = complain("shard %u has a loose run of %u regions", s, shard->loose.count);
    }
    return wrong;
}

/* ---------------------------------------------------------------- pool and rows */

static const char *audit_free_region(const struct view *view, uint32_t region)
{
    const uint32_t each = view_region_quanta(view);
    if (region < view->pool->hint)
        return complain("region %u is free and lies below the hint %u", region, view->pool->hint);
    for (uint32_t q = region * each; q < (region + 1) * each; q++)
        if (audit_kind(view, q) != QUANTUM_NONE)
            return complain("quantum %u of the free region %u has kind %u", q, region, audit_kind(view, q));
    return NULL;
}

/* The row whose region it is, or was until it began to return it; UINT32_MAX: no row's. */
static uint32_t row_of_owner(uint32_t owner)
{
    if (owner >= OWNER_RETURNING)
        return owner - OWNER_RETURNING;
    return owner >= OWNER_PROCESS ? owner - OWNER_PROCESS : UINT32_MAX;
}

static const char *audit_owner(const struct view *view, uint32_t region)
{
    const uint32_t owner = view->region_owner[region], row = row_of_owner(owner);
    if (region < view->table_regions)
        return owner == OWNER_TABLES ? NULL : complain("region %u of the tables has owner %x", region, owner);
    if (owner >= OWNER_SHARD && owner < OWNER_SHARD + view->shard_count)
        return NULL;
    if (!audit_row_is_used(view, row))
        return complain("region %u has owner %x, which is nobody", region, owner);
    if (view->rows[row].had_regions == 0)
        return complain("region %u is row %u's, where nobody would look for one", region, row);
    return NULL;
}

static const char *audit_pool(const struct view *view)
{
    const char *wrong = NULL;
    uint32_t free_regions = 0;
    for (uint32_t r = 0; wrong == NULL && r < view->region_count; r++) {
        const bool is_free = audit_region_is_free(view, r);
        free_regions += is_free;
        wrong = is_free && r >= view->table_regions ? audit_free_region(view, r) : audit_owner(view, r);
        if (wrong == NULL && is_free && r < view->table_regions)
            wrong = complain("region %u of the tables is free", r);
    }
    if (wrong == NULL && free_regions != view->pool->free_regions)
        wrong = complain("%u regions are free and the pool says %u", free_regions, view->pool->free_regions);
    return wrong;
}

static const char *audit_rows(const struct view *view)
{
    const uint32_t used = view->pool->rows_used;
    if (used > view->row_count)
        return complain("%u of %u rows are said to be used", used, view->row_count);
    for (uint32_t row = 0; row < view->row_count; row++) {
        const uint32_t state = view->rows[row].state;
        if (state > ROW_PINNED || (row >= used && state != ROW_FREE))
            return complain("row %u of %u used ones is in state %u", row, used, state);
        if (state == ROW_FREE && view->rows[row].parent != 0)
            return complain("row %u is free and has a parent", row);
    }
    return NULL;
}

/* ---------------------------------------------------------------- all of it */

static const char *audit_held(const struct audit *audit)
{
    const struct view *view = audit->view;
    for (uint32_t row = 0; row < view->row_count; row++) {
        const uint32_t said = view->held[(size_t)audit->number * view->row_count + row];
        if (said != audit->held[row])
            return complain("row %u has %lu references in shard %u and held says %u", row,
                            (unsigned long)audit->held[row], audit->number, said);
        if (said != 0 && !process_has_entered(view, row, audit->number))
            return complain("row %u has %u references in shard %u and is not said to have been there", row,
                            said, audit->number);
    }
    return NULL;
}

static const char *audit_shard(struct audit *audit, uint32_t number)
{
    audit->number = number;
    audit->owner = OWNER_SHARD + number;
    audit->shard = &audit->view->shards[number];
    memset(audit->held, 0, audit->view->row_count * sizeof *audit->held);
    const char *wrong = audit_extents(audit);
    if (wrong == NULL)
        wrong = audit_slabs(audit);
    if (wrong == NULL)
        wrong = audit_names(audit);
    if (wrong == NULL)
        wrong = audit_held(audit);
    return wrong != NULL ? wrong : audit_nothing_lost(audit);
}

const char *soundness_of(const struct view *view)
{
    struct audit audit = {.view = view};
    const char *wrong = audit_guards(view);
    if (wrong == NULL)
        wrong = audit_rows(view);
    if (wrong == NULL)
        wrong = audit_pool(view);
    if (wrong != NULL)
        return wrong;
    const uint32_t quanta = view_quantum_count(view);
    audit.reached = calloc(quanta, 1);
    audit.slots_reached = calloc(quanta / SLAB_QUANTA + 1, sizeof *audit.slots_reached);
    audit.held = calloc(view->row_count, sizeof *audit.held);
    if (audit.reached == NULL || audit.slots_reached == NULL || audit.held == NULL)
        wrong = complain("there is no memory for the check");
    for (uint32_t s = 0; wrong == NULL && s < view->shard_count; s++)
        wrong = audit_shard(&audit, s);
    free(audit.reached);
    free(audit.slots_reached);
    free(audit.held);
    return wrong;
}

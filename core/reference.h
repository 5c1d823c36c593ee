/* SPDX-License-Identifier: MIT
 *
 * Who holds a named block: counts per process row, kept in the record for the first process and in a list
 * of row slots for the others. record.refs is always their sum, and held[shard][row] the sum of one
 * row's references in the shard: all three change in one transaction.
 *
 * Same purity as the heap; the caller holds the shard's lock.
 */
#ifndef SHM_REFERENCE_H
#define SHM_REFERENCE_H

#include "slab.h"

/* References that `row` holds. */
uint32_t reference_count(const struct view *view, const struct record *record, uint32_t shard, uint32_t row);

/* True when reference_add() will want a slot of SLAB_ROW_SLOTS. */
bool reference_wants_slot(const struct view *view, const struct record *record, uint32_t shard, uint32_t row,
                          uint32_t times);

/* The first one, to a record that is being made: nothing leads to it yet, and what is in it now means
 * nothing. */
void reference_begin(const struct heap *heap, uint32_t shard_number, struct record *record, uint32_t row);

/* Adds `times` of them. False: no slot, or more references than can be counted. */
bool reference_add(const struct heap *heap, struct shard *shard, uint32_t shard_number, struct record *record,
                   uint32_t row, uint32_t times);

/* Drops one, or with `all` all of the row's. False: the row holds none. *empty as for slab_give(). */
bool reference_drop(const struct heap *heap, struct shard *shard, uint32_t shard_number,
                    struct record *record, uint32_t row, bool all, struct slab **empty);

/* A row that holds a reference, ROW_NONE (UINT32_MAX) if there is none. */
uint32_t reference_holder(const struct view *view, const struct record *record, uint32_t shard);

bool reference_is_sound(const struct view *view, const struct record *record, uint32_t shard);

#endif

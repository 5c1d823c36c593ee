/* SPDX-License-Identifier: MIT
 *
 * A table from keys to call sites that is read on the way of every allocation that a rule might match.
 *
 * Reading takes no lock and writes nothing: open addressing, an entry's key stored after its site, never more
 * than half full. A table that grows is replaced whole, and the old one left to those who still read it.
 * Writers take turns: the caller holds a lock.
 *
 * It does not know what keys mean, nor when an entry has outlived its module: its user says so.
 */
#ifndef SHM_SITE_TABLE_H
#define SHM_SITE_TABLE_H

#include "base.h"

struct site;

#define SITE_TABLE_FREE      UINT64_C(0)
#define SITE_TABLE_FORGOTTEN UINT64_C(1) /* a key that nothing has, in the place of one that is gone */

struct site_table_entry {
    _Atomic uint64_t key;
    _Atomic(struct site *) site;
    uint64_t origin; /* its user's */
};

struct site_table {
    uint32_t mask, shift; /* as many of a hash's highest bits as there are in the mask */
    uint32_t used;
    struct site_table_entry entry[];
};

/* Has the entry, with a key that is neither free nor forgotten, outlived what it is about? */
typedef bool site_table_stale(const struct site_table_entry *entry);

/* The entry of the key, or the free one where it belongs. The hash is one multiplication: by 2^64 divided by
 * the golden ratio, which spreads neighbours (Knuth, The Art of Computer Programming 3, 6.4). */
static inline const struct site_table_entry *site_table_entry_for(const struct site_table *table,
                                                                  uint64_t key)
{
    uint32_t index = (uint32_t)(key * UINT64_C(0x9e3779b97f4a7c15) >> table->shift);
    for (;;) {
        const struct site_table_entry *entry = &table->entry[index];
        const uint64_t found = atomic_load_explicit(&entry->key, memory_order_acquire);
        if (LIKELY(found == key) || found == SITE_TABLE_FREE)
            return entry;
        index = (index + 1) & table->mask;
    }
}

/* True: the key is there, with *site, which may be NULL. */
static inline bool site_table_find(const _Atomic(struct site_table *) *place, uint64_t key,
                                   struct site **site)
{
    const struct site_table *table = atomic_load_explicit(place, memory_order_acquire);
    const struct site_table_entry *entry = site_table_entry_for(table, key);
    if (UNLIKELY(atomic_load_explicit(&entry->key, memory_order_acquire) != key))
        return false;
    *site = atomic_load_explicit(&entry->site, memory_order_relaxed);
    return true;
}

/* What a place holds that has no table yet: nothing. The first that is put there makes one. */
extern INTERNAL struct site_table site_table_empty;

/* Makes room for one more, and puts it there; of stale entries it keeps none when it moves. False: there is
 * no memory, and nothing more is remembered. */
bool site_table_put(_Atomic(struct site_table *) *place, uint64_t key, struct site *site, uint64_t origin,
                    site_table_stale *is_stale);

#endif

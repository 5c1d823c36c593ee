/* SPDX-License-Identifier: MIT */
#include "site_table.h"

#include "os.h"

#define FIRST_ENTRIES 1024u

struct site_table site_table_empty = {
    .mask = 1, .shift = 63, .used = 1, .entry = {{SITE_TABLE_FREE}, {SITE_TABLE_FREE}}};

/* For so many entries, a power of two of at least 2. NULL: no memory. Never given back. */
static struct site_table *make_table(uint32_t entries)
{
    void *memory;
    if (os_map_private(sizeof(struct site_table) + entries * sizeof(struct site_table_entry), &memory) != 0)
        return NULL;
    struct site_table *table = memory;
    table->mask = entries - 1;
    table->shift = 64 - (uint32_t)__builtin_popcount(entries - 1);
    return table;
}

static void put(struct site_table *table, uint64_t key, struct site *site, uint64_t origin)
{
    struct site_table_entry *entry = &table->entry[site_table_entry_for(table, key) - table->entry];
    entry->origin = origin;
    atomic_store_explicit(&entry->site, site, memory_order_relaxed);
    atomic_store_explicit(&entry->key, key, memory_order_release);
    table->used++;
}

static bool is_worth_keeping(const struct site_table_entry *entry, site_table_stale *is_stale)
{
    const uint64_t key = atomic_load_explicit(&entry->key, memory_order_relaxed);
    return key != SITE_TABLE_FREE && key != SITE_TABLE_FORGOTTEN && !is_stale(entry);
}

static struct site_table *begin(_Atomic(struct site_table *) *place)
{
    struct site_table *table = make_table(FIRST_ENTRIES);
    if (table != NULL)
        atomic_store_explicit(place, table, memory_order_release);
    return table;
}

/* NULL when there is no memory. */
static struct site_table *table_with_room(_Atomic(struct site_table *) *place, site_table_stale *is_stale)
{
    struct site_table *table = atomic_load_explicit(place, memory_order_relaxed);
    if (table->used * 2 <= table->mask)
        return table;
    uint32_t kept = 0;
    if (table == &site_table_empty)
        return begin(place);
    for (uint32_t i = 0; i <= table->mask; i++)
        kept += is_worth_keeping(&table->entry[i], is_stale);
    struct site_table *next = make_table((table->mask + 1) * (kept * 4 > table->mask ? 2 : 1));
    if (next == NULL)
        return table->used < table->mask - 1 ? table : NULL;
    for (uint32_t i = 0; i <= table->mask; i++) {
        const struct site_table_entry *entry = &table->entry[i];
        if (is_worth_keeping(entry, is_stale))
            put(next, atomic_load_explicit(&entry->key, memory_order_relaxed),
                atomic_load_explicit(&entry->site, memory_order_relaxed), entry->origin);
    }
    atomic_store_explicit(place, next, memory_order_release);
    return next;
}

bool site_table_put(_Atomic(struct site_table *) *place, uint64_t key, struct site *site, uint64_t origin,
                    site_table_stale *is_stale)
{
    struct site_table *table = table_with_room(place, is_stale);
    if (table != NULL)
        put(table, key, site, origin);
    return table != NULL;
}

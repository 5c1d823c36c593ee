/* SPDX-License-Identifier: MIT */
#include "record_rows.h"

#include <pthread.h>
#include <string.h>

#include "build_id.h"
#include "error.h"
#include "os.h"
#include "record_file.h"

/* Twice as many as there can be rows; stacks seen again after a module was unloaded take more. */
#define PLACES     (UINT32_C(1) << 16)
#define FULL       (PLACES - PLACES / 4)
#define TRIES_MOST 64u

/* There was none left for a stack. That stays so: to look again at each call would take too long. */
#define NO_ROW UINT32_MAX

struct place {
    _Atomic uint64_t hash; /* 0: free */
    _Atomic uint32_t row;
};

/* On a line of the processor's cache of its own. */
struct row_lock {
    _Alignas(64) _Atomic bool taken;
};

/* In one mapping. */
struct tables {
    struct place by_address[PLACES];  /* by the hash of return addresses */
    struct place by_identity[PLACES]; /* by that of modules and offsets */
    struct row_lock lock[RECORD_SITES_MAX];
};

static struct {
    pthread_mutex_t lock;
    struct tables *tables;
    uint32_t used[2]; /* places of each kind */
} rows = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---------------------------------------------------------------- places */

static uint64_t hash_of(const uintptr_t *frame, unsigned count, uint64_t epoch)
{
    uint64_t hash = epoch + count;
    for (unsigned i = 0; i < count; i++)
        hash = (hash ^ frame[i] ^ hash >> 29) * UINT64_C(0x9e3779b97f4a7c15);
    return hash_mix(hash) | 1;
}

static struct place *place_for(struct place *table, uint64_t hash)
{
    uint32_t index = (uint32_t)(hash >> 32) % PLACES;
    for (;;) {
        struct place *place = &table[index];
        const uint64_t found = atomic_load_explicit(&place->hash, memory_order_acquire);
        if (found == hash || found == 0)
            return place;
        index = (index + 1) % PLACES;
    }
}

/* 0: it is not there. */
static uint32_t look_up(struct place *table, uint64_t hash)
{
    const struct place *place = place_for(table, hash);
    if (atomic_load_explicit(&place->hash, memory_order_acquire) != hash)
        return 0;
    return atomic_load_explicit(&place->row, memory_order_relaxed);
}

/* A table that is full remembers no more; the rows are found all the same, slower. */
static void remember(struct place *table, uint32_t *used, uint64_t hash, uint32_t row)
{
    if (*used >= FULL)
        return;
    struct place *place = place_for(table, hash);
    *used += atomic_load_explicit(&place->hash, memory_order_relaxed) == 0;
    atomic_store_explicit(&place->row, row, memory_order_relaxed);
    atomic_store_explicit(&place->hash, hash, memory_order_release);
}

/* ---------------------------------------------------------------- modules */

static bool is_module(const struct record_module *module, const struct os_module *found, const char *path,
                      const unsigned char *id, size_t id_bytes)
{
    return module->address == found->load_address && module->build_id_bytes == id_bytes &&
           memcmp(module->build_id, id, id_bytes) == 0 &&
           strncmp(module->path, path, sizeof module->path - 1) == 0;
}

/* Index + 1; 0: there is no room for one more. */
static uint32_t module_of(const struct os_module *found)
{
    const unsigned char *id = NULL;
    struct record_header *header = record_file.header;
    const size_t id_bytes = (size_t)least(build_id_of(found, &id), sizeof record_file.modules->build_id);
    const char *path = found->path[0] != '\0' ? found->path : header->program;
    if (id_bytes == 0)
        id = (const unsigned char *)"";
    for (uint32_t i = header->module_count; i > 0; i--)
        if (is_module(&record_file.modules[i - 1], found, path, id, id_bytes))
            return i;
    if (!record_file_room(RECORD_MODULES, header->module_count))
        return 0;
    struct record_module *fresh = &record_file.modules[header->module_count];
    memset(fresh, 0, sizeof *fresh);
    fresh->address = found->load_address;
    fresh->build_id_bytes = (uint32_t)id_bytes;
    memcpy(fresh->build_id, id, id_bytes);
    error_format(fresh->path, sizeof fresh->path, "%s", path);
    __atomic_store_n(&header->module_count, header->module_count + 1, __ATOMIC_RELEASE);
    return header->module_count;
}

static struct record_frame frame_of(uintptr_t address)
{
    struct os_module found;
    const uint32_t module = os_find_module(address - 1, &found) ? module_of(&found) : 0;
    return (struct record_frame){.module = module,
                                 .offset = module != 0 ? address - found.load_address : address};
}

/* ---------------------------------------------------------------- rows */

/* Index + 1, or NO_ROW. */
static uint32_t make_row(const struct record_frame *frame, unsigned count)
{
    struct record_header *header = record_file.header;
    const uint32_t index = header->site_count;
    if (!record_file_room(RECORD_SITES, index))
        return NO_ROW;
    struct record_site *site = &record_file.sites[index];
    memset(site, 0, sizeof *site);
    memcpy(site->frame, frame, count * sizeof *frame);
    site->frame_count = count;
    site->least_size = UINT64_MAX;
    __atomic_store_n(&header->site_count, index + 1, __ATOMIC_RELEASE);
    return index + 1;
}

/* The lock is held. */
static uint32_t row_of(const uintptr_t *frame, unsigned count)
{
    struct record_frame identity[RECORD_FRAMES];
    memset(identity, 0, sizeof identity);
    for (unsigned i = 0; i < count; i++)
        identity[i] = frame_of(frame[i]);
    const uint64_t hash = hash_bytes(identity, count * sizeof identity[0]) | 1;
    const uint32_t known = look_up(rows.tables->by_identity, hash);
    if (known != 0)
        return known;
    const uint32_t made = make_row(identity, count);
    remember(rows.tables->by_identity, &rows.used[1], hash, made);
    return made;
}

static COLD uint32_t find_slowly(const uintptr_t *frame, unsigned count, uint64_t hash)
{
    pthread_mutex_lock(&rows.lock);
    uint32_t row = look_up(rows.tables->by_address, hash);
    if (row == 0) {
        row = row_of(frame, count);
        remember(rows.tables->by_address, &rows.used[0], hash, row);
    }
    pthread_mutex_unlock(&rows.lock);
    return row;
}

uint32_t record_rows_find(const uintptr_t *frame, unsigned count, uint64_t epoch)
{
    const uint64_t hash = hash_of(frame, count, epoch);
    uint32_t row = look_up(rows.tables->by_address, hash);
    if (UNLIKELY(row == 0))
        row = find_slowly(frame, count, hash);
    if (LIKELY(row != NO_ROW))
        return row;
    __atomic_fetch_add(&record_file.header->dropped_calls, 1, __ATOMIC_RELAXED);
    return 0;
}

/* ---------------------------------------------------------------- counters */

/* Was it taken? Where there is one thread nobody else can want it: a signal handler that allocates finds
 * itself inside the shim. */
static bool take(struct row_lock *lock)
{
    if (LIKELY(os_is_alone()))
        return false;
    for (unsigned tries = 1; atomic_exchange_explicit(&lock->taken, true, memory_order_acquire); tries++)
        if (tries % TRIES_MOST == 0)
            os_pause(UINT64_C(50000)); /* its holder may wait for this very processor */
    return true;
}

static void give(struct row_lock *lock, bool taken)
{
    if (UNLIKELY(taken))
        atomic_store_explicit(&lock->taken, false, memory_order_release);
}

void record_rows_allocated(uint32_t row, size_t bytes, enum policy_call call)
{
    struct record_site *site = &record_file.sites[row - 1];
    struct row_lock *lock = &rows.tables->lock[row - 1];
    const bool taken = take(lock);
    site->entry_points |= call;
    site->calls++;
    site->bytes += bytes;
    site->live_blocks++;
    site->live_bytes += bytes;
    if (site->live_blocks > site->peak_blocks)
        site->peak_blocks = site->live_blocks;
    if (site->live_bytes > site->peak_bytes)
        site->peak_bytes = site->live_bytes;
    if (bytes < site->least_size)
        site->least_size = bytes;
    if (bytes > site->most_size)
        site->most_size = bytes;
    site->sizes[bytes != 0 ? log2_floor(bytes) : 0]++;
    give(lock, taken);
}

void record_rows_freed(uint32_t row, size_t bytes, uint64_t lifetime)
{
    struct record_site *site = &record_file.sites[row - 1];
    struct row_lock *lock = &rows.tables->lock[row - 1];
    const unsigned index = lifetime != 0 ? log2_floor(lifetime) : 0;
    const bool taken = take(lock);
    site->frees++;
    site->live_blocks--;
    site->live_bytes -= bytes;
    site->lifetimes[index < RECORD_LIFETIMES ? index : RECORD_LIFETIMES - 1]++;
    give(lock, taken);
}

/* ---------------------------------------------------------------- */

bool record_rows_begin(void)
{
    void *memory;
    if (os_map_sparse(sizeof(struct tables), &memory) != 0)
        return false;
    if (rows.tables != NULL)
        os_unmap(rows.tables, sizeof(struct tables));
    rows.tables = memory;
    memset(rows.used, 0, sizeof rows.used);
    return true;
}

void record_rows_lock(void)
{
    pthread_mutex_lock(&rows.lock);
}

void record_rows_unlock(void)
{
    pthread_mutex_unlock(&rows.lock);
}

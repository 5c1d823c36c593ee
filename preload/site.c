/* SPDX-License-Identifier: MIT */
#include "site.h"

#include <elf.h>
#include <errno.h>
#include <link.h>
#include <pthread.h>
#include <string.h>

#include "error.h"
#include "log.h"
#include "os.h"

#define FIRST_ENTRIES  1024u
#define CHUNK_BYTES    ((size_t)64 << 10)
#define FUNCTION_BYTES 1024u

#define FORGOTTEN 1u /* an address that no call returns to, in the place of one whose module is gone */

struct entry {
    _Atomic uintptr_t address; /* 0: free */
    _Atomic(struct site *) site;
};

struct table {
    uint32_t mask;
    uint32_t used;
    struct entry entry[];
};

static struct {
    const struct policy *policy;
    const char *program;
    site_function_finder *finder;
    pthread_mutex_t lock;
    _Atomic(struct table *) table;
    _Atomic bool passed[POLICY_RULES_MAX];
    _Atomic bool blind;
    uint32_t next_id;
    unsigned char *chunk; /* private memory for sites and strings, never given back */
    size_t chunk_left;
} sites = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---------------------------------------------------------------- private memory */

static void *carve(size_t bytes)
{
    bytes = align_up(bytes, 16);
    if (bytes > sites.chunk_left) {
        void *chunk;
        if (bytes > CHUNK_BYTES || os_map_private(CHUNK_BYTES, &chunk) != 0)
            return NULL;
        sites.chunk = chunk;
        sites.chunk_left = CHUNK_BYTES;
    }
    void *piece = sites.chunk;
    sites.chunk += bytes;
    sites.chunk_left -= bytes;
    return piece;
}

static const char *keep_text(const char *text)
{
    const size_t length = strlen(text);
    char *copy = carve(length + 1);
    if (copy != NULL)
        memcpy(copy, text, length + 1);
    return copy;
}

/* ---------------------------------------------------------------- modules */

struct module {
    bool is_program;
    const char *name; /* base name */
    uint64_t offset, build;
};

static const char *base_name(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash != NULL ? slash + 1 : path;
}

/* The build-id in one segment of notes; its length, 0 when it is not there. */
static size_t build_id_in(const unsigned char *at, size_t bytes, const unsigned char **id)
{
    const unsigned char *end = at + bytes;
    while (at + sizeof(ElfW(Nhdr)) <= end) {
        const ElfW(Nhdr) *note = (const void *)at;
        const unsigned char *name = at + sizeof *note;
        const unsigned char *description = name + align_up(note->n_namesz, 4);
        if (description + note->n_descsz > end)
            break;
        *id = description;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(name, "GNU", 4) == 0)
            return note->n_descsz;
        at = description + align_up(note->n_descsz, 4);
    }
    return 0;
}

/* Hash of the build-id, or of the path where there is none. */
static uint64_t build_of(const struct os_module *found, const char *path)
{
    const ElfW(Phdr) *headers = found->headers;
    for (unsigned i = 0; i < found->header_count; i++) {
        const unsigned char *id;
        const size_t length =
            headers[i].p_type != PT_NOTE
                ? 0
                : build_id_in((const unsigned char *)found->load_address + headers[i].p_vaddr,
                              headers[i].p_memsz, &id);
        if (length > 0)
            return hash_bytes(id, length);
    }
    return hash_bytes(path, strlen(path));
}

/* Of code made at run time there is only the address. */
static struct module module_of(uintptr_t address)
{
    struct os_module found;
    if (!os_find_module(address, &found))
        return (struct module){.name = "?", .offset = address};
    const bool is_program = found.path[0] == '\0';
    const char *path = is_program ? sites.program : found.path;
    return (struct module){.is_program = is_program,
                           .name = base_name(path),
                           .offset = address - found.load_address,
                           .build = build_of(&found, path)};
}

/* ---------------------------------------------------------------- making a site */

static uint32_t matching_rules(const struct policy_site *site, uint16_t out[POLICY_RULES_MAX])
{
    uint32_t count = 0;
    bool routes = false;
    for (size_t i = 0; i < sites.policy->rule_count; i++) {
        const struct policy_rule *rule = &sites.policy->rules[i];
        if (!policy_rule_matches_site(rule, site))
            continue;
        out[count++] = (uint16_t)i;
        routes |= rule->verb != POLICY_PASS;
    }
    if (routes)
        return count;
    for (uint32_t i = 0; i < count; i++)
        atomic_store_explicit(&sites.passed[out[i]], true, memory_order_relaxed);
    return 0;
}

bool site_was_passed(uint16_t rule)
{
    return atomic_load_explicit(&sites.passed[rule], memory_order_relaxed);
}

static bool a_rule_asks_for_functions(void)
{
    for (size_t i = 0; i < sites.policy->rule_count; i++)
        if (sites.policy->rules[i].func != NULL)
            return true;
    return false;
}

/* Names are read from files. When these cannot be opened or mapped, it is not the rule that is wrong. */
static COLD void explain_missing_name(uintptr_t address)
{
    void *page = NULL;
    const int descriptor = os_open_file("/proc/self/maps", OS_READ);
    const int error = descriptor < 0 ? descriptor : os_map_private(PAGE_BYTES, &page);
    if (descriptor >= 0)
        os_close(descriptor);
    if (error == 0) {
        os_unmap(page, PAGE_BYTES);
        return;
    }
    atomic_store_explicit(&sites.blind, true, memory_order_relaxed);
    log_say(SETTINGS_LOG_WARN, "name",
            "the function that allocates at 0x%lx cannot be named, so func= does not match it: %s",
            (unsigned long)address,
            error == -ENOMEM ? "no further mapping is possible (vm.max_map_count)" : error_words(-error));
}

bool site_was_blind(void)
{
    return atomic_load_explicit(&sites.blind, memory_order_relaxed);
}

/* NULL: no rule can match, or no memory to remember more. */
static struct site *make_site(uintptr_t address)
{
    char function[FUNCTION_BYTES];
    uint16_t rules[POLICY_RULES_MAX];
    uint64_t function_offset = 0;
    const struct module module = module_of(address);
    const bool named =
        sites.finder != NULL && sites.finder(address - 1, function, sizeof function, &function_offset);
    if (!named && sites.finder != NULL && a_rule_asks_for_functions())
        explain_missing_name(address);
    const struct policy_site facts = {.module = module.name,
                                      .module_is_program = module.is_program,
                                      .offset = module.offset,
                                      .function = named ? function : NULL};
    const uint32_t count = matching_rules(&facts, rules);
    struct site *site = count > 0 ? carve(sizeof *site + count * sizeof rules[0]) : NULL;
    if (site == NULL)
        return NULL;
    *site = (struct site){.id = sites.next_id++,
                          .rule_count = count,
                          .module = keep_text(module.name),
                          .function = named ? keep_text(function) : NULL,
                          .module_offset = module.offset,
                          .function_offset = named ? function_offset + 1 : module.offset,
                          .build = module.build};
    memcpy(site->rules, rules, count * sizeof rules[0]);
    return site->module != NULL ? site : NULL;
}

size_t site_describe(const void *return_address, char *out, size_t bytes)
{
    char function[FUNCTION_BYTES / 2];
    const uintptr_t address = (uintptr_t)return_address;
    uint64_t offset = 0;
    const struct module module = module_of(address);
    if (sites.finder == NULL || !sites.finder(address - 1, function, sizeof function, &offset))
        return error_format(out, bytes, "%s!0x%lx", module.name, (unsigned long)module.offset);
    return error_format(out, bytes, "%s+0x%lx (%s!0x%lx)", function, (unsigned long)offset + 1, module.name,
                        (unsigned long)module.offset);
}

/* ---------------------------------------------------------------- the cache */

static struct entry *entry_for(struct table *table, uintptr_t address)
{
    uint32_t index = (uint32_t)hash_mix(address) & table->mask;
    for (;;) {
        struct entry *entry = &table->entry[index];
        const uintptr_t found = atomic_load_explicit(&entry->address, memory_order_acquire);
        if (found == address || found == 0)
            return entry;
        index = (index + 1) & table->mask;
    }
}

static struct table *make_table(uint32_t entries)
{
    void *memory;
    if (os_map_private(sizeof(struct table) + entries * sizeof(struct entry), &memory) != 0)
        return NULL;
    struct table *table = memory;
    table->mask = entries - 1;
    return table;
}

static void put(struct table *table, uintptr_t address, struct site *site)
{
    struct entry *entry = entry_for(table, address);
    atomic_store_explicit(&entry->site, site, memory_order_relaxed);
    atomic_store_explicit(&entry->address, address, memory_order_release);
    table->used++;
}

/* Keeps the table at most half full. NULL when there is no memory: then nothing more is remembered. */
static struct table *table_with_room(void)
{
    struct table *table = atomic_load_explicit(&sites.table, memory_order_relaxed);
    if (table->used * 2 <= table->mask)
        return table;
    struct table *larger = make_table((table->mask + 1) * 2);
    if (larger == NULL)
        return table->used < table->mask - 1 ? table : NULL;
    for (uint32_t i = 0; i <= table->mask; i++) {
        const uintptr_t address = atomic_load_explicit(&table->entry[i].address, memory_order_relaxed);
        if (address != 0 && address != FORGOTTEN)
            put(larger, address, atomic_load_explicit(&table->entry[i].site, memory_order_relaxed));
    }
    atomic_store_explicit(&sites.table, larger, memory_order_release);
    return larger;
}

static COLD struct site *look_up_slowly(uintptr_t address)
{
    pthread_mutex_lock(&sites.lock);
    struct entry *entry = entry_for(atomic_load(&sites.table), address);
    struct site *site = atomic_load_explicit(&entry->site, memory_order_relaxed);
    if (atomic_load_explicit(&entry->address, memory_order_relaxed) == 0) {
        struct table *table = table_with_room();
        site = table != NULL ? make_site(address) : NULL;
        if (table != NULL)
            put(table, address, site);
    }
    pthread_mutex_unlock(&sites.lock);
    return site;
}

bool site_known(const void *return_address, struct site **site)
{
    const uintptr_t address = (uintptr_t)return_address;
    struct table *table = atomic_load_explicit(&sites.table, memory_order_acquire);
    const struct entry *entry = entry_for(table, address);
    if (UNLIKELY(atomic_load_explicit(&entry->address, memory_order_acquire) != address))
        return false;
    *site = atomic_load_explicit(&entry->site, memory_order_relaxed);
    return true;
}

struct site *site_look_up(const void *return_address)
{
    struct site *site;
    return site_known(return_address, &site) ? site : look_up_slowly((uintptr_t)return_address);
}

void site_forget_unloaded(void)
{
    struct os_module module;
    pthread_mutex_lock(&sites.lock);
    struct table *table = atomic_load(&sites.table);
    for (uint32_t i = 0; i <= table->mask; i++) {
        const uintptr_t address = atomic_load_explicit(&table->entry[i].address, memory_order_relaxed);
        if (address != 0 && address != FORGOTTEN && !os_find_module(address, &module))
            atomic_store_explicit(&table->entry[i].address, FORGOTTEN, memory_order_release);
    }
    pthread_mutex_unlock(&sites.lock);
}

void site_begin(const struct policy *policy, const char *program, site_function_finder *finder)
{
    sites.policy = policy;
    sites.program = program;
    sites.finder = finder;
    atomic_store(&sites.table, make_table(FIRST_ENTRIES));
}

void site_lock(void)
{
    pthread_mutex_lock(&sites.lock);
}

void site_unlock(void)
{
    pthread_mutex_unlock(&sites.lock);
}

/* SPDX-License-Identifier: MIT
 *
 * From an address to the name of its function: a part of shmpreload-symbols.so.
 *
 * The symbol table of a module's file is read once, at the first question, put in order and kept: a program
 * whose own wrappers around malloc are known asks for the name of every function that calls one, and many
 * libraries have tens of thousands. What was read is known again by the module's build, so it stays true
 * when modules come and go; the names stay where they are, in the mapped file. Static functions are found
 * where the file has its full table, or the compressed one of MiniDebugInfo.
 *
 * A name holds for the bytes that the table says are the function's, and no further: in a stripped program a
 * function that has no name must not get its neighbour's. Files of another build than the module in memory
 * are not believed. The caller sees to it that one thread asks at a time.
 */
#include "names.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "build_id.h"
#include "demangle.h"
#include "elf_image.h"
#include "mini_debug.h"
#include "os.h"

/* Where functions lie in one another, the nearest start is the innermost; no deeper than this. */
#define NESTED_MOST 8u

struct symbol {
    uint64_t start, end; /* as in the file */
    const char *name;
    unsigned rank; /* the less, the better a name */
    bool sizeless;
};

struct symbols {
    struct symbols *next;
    uint64_t build;
    struct symbol *symbol; /* by start, then by rank */
    size_t count;
};

static struct {
    struct symbols *known;
} names;

/* ---------------------------------------------------------------- reading a table */

static bool is_function(const ElfW(Sym) * symbol)
{
    const unsigned type = ELF64_ST_TYPE(symbol->st_info);
    return (type == STT_FUNC || type == STT_GNU_IFUNC) && symbol->st_shndx != SHN_UNDEF;
}

/* Several names for one address: the one that others see comes first. */
static unsigned rank_of(const ElfW(Sym) * symbol)
{
    const unsigned binding = ELF64_ST_BIND(symbol->st_info);
    return binding == STB_GLOBAL ? 0 : binding == STB_WEAK ? 1 : 2;
}

/* Some functions that were written in assembler have no size: theirs ends with their section, or where the
 * next one begins. */
static uint64_t end_of(const struct elf_image *image, const ElfW(Sym) * symbol)
{
    if (symbol->st_size > 0 || symbol->st_shndx >= image->section_count)
        return symbol->st_value + symbol->st_size;
    const ElfW(Shdr) *section = &image->sections[symbol->st_shndx];
    return section->sh_addr + section->sh_size;
}

static const ElfW(Sym) * table_of(const struct elf_image *image, uint32_t type, size_t *count,
                                  const char **text, uint64_t *text_bytes)
{
    const ElfW(Shdr) *table = elf_image_section(image, type, NULL);
    if (table == NULL || table->sh_link >= image->section_count || table->sh_entsize != sizeof(ElfW(Sym)) ||
        table->sh_offset % sizeof(uint64_t) != 0)
        return NULL;
    const ElfW(Shdr) *strings = &image->sections[table->sh_link];
    if (strings->sh_type != SHT_STRTAB || strings->sh_size == 0 || strings->sh_size > image->size ||
        strings->sh_offset > image->size - strings->sh_size)
        return NULL;
    *text = elf_image_contents(image, strings);
    *text_bytes = strings->sh_size;
    *count = table->sh_size / sizeof(ElfW(Sym));
    return (*text)[*text_bytes - 1] == '\0' ? elf_image_contents(image, table) : NULL;
}

/* Adds what one table holds. */
static void add(const struct elf_image *image, uint32_t type, struct symbols *out)
{
    size_t count, functions = 0;
    const char *text;
    uint64_t text_bytes;
    const ElfW(Sym) *table = table_of(image, type, &count, &text, &text_bytes);
    for (size_t i = 0; table != NULL && i < count; i++)
        functions += is_function(&table[i]);
    struct symbol *all = functions > 0 ? realloc(out->symbol, (out->count + functions) * sizeof *all) : NULL;
    if (all == NULL)
        return;
    out->symbol = all;
    for (size_t i = 0; i < count; i++)
        if (is_function(&table[i]) && table[i].st_name < text_bytes && text[table[i].st_name] != '\0')
            all[out->count++] = (struct symbol){.start = table[i].st_value,
                                                .end = end_of(image, &table[i]),
                                                .name = text + table[i].st_name,
                                                .rank = rank_of(&table[i]),
                                                .sizeless = table[i].st_size == 0};
}

static int in_order(const void *left, const void *right)
{
    const struct symbol *a = left, *b = right;
    if (a->start != b->start)
        return a->start < b->start ? -1 : 1;
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    return strcmp(a->name, b->name);
}

static void put_in_order(struct symbols *symbols)
{
    if (symbols->count == 0)
        return;
    qsort(symbols->symbol, symbols->count, sizeof *symbols->symbol, in_order);
    uint64_t next = UINT64_MAX;
    for (size_t i = symbols->count; i-- > 0;) {
        struct symbol *symbol = &symbols->symbol[i];
        if (i + 1 < symbols->count && symbols->symbol[i + 1].start != symbol->start)
            next = symbols->symbol[i + 1].start;
        if (symbol->sizeless)
            symbol->end = least(symbol->end, next);
    }
}

/* ---------------------------------------------------------------- files */

/* The notes of the file that the module was loaded from must be those in memory. */
static bool is_build(const struct elf_image *image, const struct os_module *module)
{
    const unsigned char *in_memory, *in_file;
    const size_t bytes = build_id_of(module, &in_memory);
    const ElfW(Shdr) *notes = elf_image_section(image, SHT_NOTE, ".note.gnu.build-id");
    if (bytes == 0 || notes == NULL)
        return bytes == 0 && notes == NULL;
    return build_id_in(elf_image_contents(image, notes), notes->sh_size, &in_file) == bytes &&
           memcmp(in_memory, in_file, bytes) == 0;
}

static bool map_build(const char *path, const struct os_module *module, struct elf_image *out)
{
    if (!elf_image_map(path, out))
        return false;
    if (is_build(out, module))
        return true;
    elf_image_unmap(out);
    return false;
}

/* Where distributions put what they have stripped off. */
static bool map_debug_file(const struct os_module *module, struct elf_image *out)
{
    char path[sizeof "/usr/lib/debug/.build-id//.debug" + 2 * 64];
    const unsigned char *id;
    const size_t bytes = build_id_of(module, &id);
    if (bytes < 2 || bytes > 64)
        return false;
    int length = snprintf(path, sizeof path, "/usr/lib/debug/.build-id/%02x/", id[0]);
    for (size_t i = 1; i < bytes; i++)
        length += snprintf(path + length, sizeof path - (size_t)length, "%02x", id[i]);
    snprintf(path + length, sizeof path - (size_t)length, ".debug");
    return map_build(path, module, out);
}

/* The files stay mapped: the names lie in them. */
static void read_files(const struct os_module *module, struct symbols *out)
{
    struct elf_image image, other;
    if (!map_build(module->path[0] != '\0' ? module->path : "/proc/self/exe", module, &image))
        return;
    if (elf_image_section(&image, SHT_SYMTAB, NULL) != NULL) {
        add(&image, SHT_SYMTAB, out);
        return;
    }
    add(&image, SHT_DYNSYM, out);
    if (map_debug_file(module, &other) || mini_debug_read(&image, &other))
        add(&other, SHT_SYMTAB, out);
}

static uint64_t build_hash(const struct os_module *module)
{
    const unsigned char *id;
    const size_t bytes = build_id_of(module, &id);
    return bytes > 0 ? hash_bytes(id, bytes) : hash_bytes(module->path, strlen(module->path));
}

static const struct symbols *symbols_of(const struct os_module *module)
{
    const uint64_t build = build_hash(module);
    for (const struct symbols *known = names.known; known != NULL; known = known->next)
        if (known->build == build)
            return known;
    struct symbols *symbols = calloc(1, sizeof *symbols);
    if (symbols == NULL)
        return NULL;
    symbols->build = build;
    read_files(module, symbols);
    put_in_order(symbols);
    symbols->next = names.known;
    names.known = symbols;
    return symbols;
}

/* ---------------------------------------------------------------- looking */

/* How many begin at the address or before it. */
static size_t begun_at(const struct symbols *symbols, uint64_t address)
{
    size_t low = 0, high = symbols->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (symbols->symbol[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The best of those that begin at the last start whose function reaches as far. */
static const struct symbol *symbol_at(const struct symbols *symbols, uint64_t address)
{
    size_t at = begun_at(symbols, address);
    for (unsigned tried = 0; at > 0 && tried < NESTED_MOST; tried++) {
        const uint64_t start = symbols->symbol[at - 1].start;
        const struct symbol *found = NULL;
        for (; at > 0 && symbols->symbol[at - 1].start == start; at--)
            if (symbols->symbol[at - 1].end > address)
                found = &symbols->symbol[at - 1];
        if (found != NULL)
            return found;
    }
    return NULL;
}

bool shmpreload_function_at(uintptr_t address, char *name, size_t bytes, uint64_t *offset)
{
    struct os_module module;
    if (!os_find_module(address, &module))
        return false;
    const struct symbols *symbols = symbols_of(&module);
    const struct symbol *found = symbols != NULL ? symbol_at(symbols, address - module.load_address) : NULL;
    if (found == NULL)
        return false;
    *offset = address - module.load_address - found->start;
    if (!demangle(found->name, name, bytes))
        snprintf(name, bytes, "%s", found->name);
    return true;
}

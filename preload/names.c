/* SPDX-License-Identifier: MIT */
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "build_id.h"
#include "debug_place.h"
#include "demangle.h"
#include "elf_image.h"
#include "error.h"
#include "mini_debug.h"
#include "os.h"

/* Where functions lie in one another, the nearest start is the innermost; no deeper than this. */
#define NESTED_MOST 8u
#define TABLES_MOST 2u

/* The functions of one symbol table in the order of their addresses, as far as somebody has looked: the part
 * of the file's addresses that they lie in is cut into slices of some functions each, and a slice is put in
 * order when one of its functions is asked for. Compilers have fifty thousand, and are started for each file.
 * What is kept in memory of our own is less than five bytes for each: the rest lies in the file, whose pages
 * all processes share. */
struct table {
    struct elf_image image;
    const elf_symbol *symbol;
    const char *text;
    uint64_t lowest; /* address */
    unsigned shift;  /* a slice's bytes, as a power of two */
    uint32_t slices;
    uint32_t *order; /* numbers of symbols */
    uint32_t *start; /* of each slice in `order`, and where the last ends; SLICE_SORTED */
    size_t count;
};
#define SLICE_SORTED    UINT32_C(0x80000000)
#define SLICE_FUNCTIONS 8u /* on average */

struct symbols {
    struct symbols *next;
    uint64_t build;
    struct table table[TABLES_MOST];
    unsigned tables;
    bool is_stripped; /* what others see is known, and no more: there may be a second table elsewhere … */
    struct elf_image image; /* … or in here */
};

static struct {
    struct symbols *known;
    _Atomic(mini_debug_unpacker *) unpack; /* NULL: no module in this process has a compressed table */
} names;

/* ---------------------------------------------------------------- reading a table */

static bool is_function(const elf_symbol *symbol, uint64_t text_bytes)
{
    const unsigned type = ELF64_ST_TYPE(symbol->st_info);
    return (type == STT_FUNC || type == STT_GNU_IFUNC) && symbol->st_shndx != SHN_UNDEF &&
           symbol->st_name != 0 && symbol->st_name < text_bytes;
}

/* Several names for one address: the one that others see comes first. */
static unsigned rank_of(const elf_symbol *symbol)
{
    const unsigned binding = ELF64_ST_BIND(symbol->st_info);
    return binding == STB_GLOBAL ? 0 : binding == STB_WEAK ? 1 : 2;
}

static int in_order(const void *left, const void *right, void *argument)
{
    const struct table *table = argument;
    const elf_symbol *a = &table->symbol[*(const uint32_t *)left];
    const elf_symbol *b = &table->symbol[*(const uint32_t *)right];
    if (a->st_value != b->st_value)
        return a->st_value < b->st_value ? -1 : 1;
    if (rank_of(a) != rank_of(b))
        return rank_of(a) < rank_of(b) ? -1 : 1;
    return strcmp(table->text + a->st_name, table->text + b->st_name);
}

/* The section of a type whose strings end. Returns the number of its symbols. */
static size_t find_table(const struct elf_image *image, uint32_t type, struct table *out,
                         uint64_t *text_bytes)
{
    const elf_section *section = elf_image_section(image, type, NULL);
    if (section == NULL || section->sh_link >= image->section_count ||
        section->sh_entsize != sizeof(elf_symbol) || section->sh_offset % sizeof(uint64_t) != 0)
        return 0;
    const elf_section *strings = &image->sections[section->sh_link];
    if (strings->sh_type != SHT_STRTAB || strings->sh_size == 0 || strings->sh_size > image->size ||
        strings->sh_offset > image->size - strings->sh_size)
        return 0;
    *out = (struct table){.image = *image,
                          .symbol = elf_image_contents(image, section),
                          .text = elf_image_contents(image, strings)};
    *text_bytes = strings->sh_size;
    return out->text[*text_bytes - 1] == '\0' ? section->sh_size / sizeof(elf_symbol) : 0;
}

static uint32_t slice_of(const struct table *table, uint64_t address)
{
    return address < table->lowest
               ? 0
               : (uint32_t)least((address - table->lowest) >> table->shift, table->slices - 1);
}

static uint32_t start_of(const struct table *table, uint32_t slice)
{
    return table->start[slice] & ~SLICE_SORTED;
}

struct extent_of_functions {
    size_t count;
    uint64_t lowest, highest;
};

static struct extent_of_functions measure(const struct table *table, size_t count, uint64_t text_bytes)
{
    struct extent_of_functions found = {.lowest = UINT64_MAX};
    for (size_t i = 0; i < count; i++)
        if (is_function(&table->symbol[i], text_bytes)) {
            found.count++;
            found.lowest = least(found.lowest, table->symbol[i].st_value);
            found.highest = most(found.highest, table->symbol[i].st_value);
        }
    return found;
}

/* After counting, start[i + 1] is how many lie in slice i; after the sums, where slice i begins; and each
 * function that is put there moves it on, to where the slice ends and the next begins. */
static void deal_out(struct table *table, size_t count, uint64_t text_bytes)
{
    for (size_t i = 0; i < count; i++)
        if (is_function(&table->symbol[i], text_bytes))
            table->start[slice_of(table, table->symbol[i].st_value) + 1]++;
    uint32_t before = 0;
    for (uint32_t slice = 0; slice < table->slices; slice++) {
        const uint32_t here = table->start[slice + 1];
        table->start[slice + 1] = before;
        before += here;
    }
    for (size_t i = 0; i < count; i++)
        if (is_function(&table->symbol[i], text_bytes))
            table->order[table->start[slice_of(table, table->symbol[i].st_value) + 1]++] = (uint32_t)i;
}

/* Adds the functions of one file's table. */
static void add(const struct elf_image *image, uint32_t type, struct symbols *out)
{
    struct table *table = &out->table[out->tables];
    uint64_t text_bytes;
    const size_t count = find_table(image, type, table, &text_bytes);
    const struct extent_of_functions found = measure(table, count, text_bytes);
    if (found.count == 0 || found.count >= SLICE_SORTED)
        return;
    table->count = found.count;
    table->lowest = found.lowest;
    while ((found.highest - found.lowest) >> table->shift > found.count / SLICE_FUNCTIONS)
        table->shift++;
    table->slices = (uint32_t)((found.highest - found.lowest) >> table->shift) + 1;
    table->order = malloc(found.count * sizeof *table->order);
    table->start = calloc(table->slices + 1, sizeof *table->start);
    if (table->order == NULL || table->start == NULL) {
        free(table->order);
        free(table->start);
        return;
    }
    deal_out(table, count, text_bytes);
    out->tables++;
}

static void sort_slice(struct table *table, uint32_t slice)
{
    const uint32_t start = start_of(table, slice);
    qsort_r(table->order + start, start_of(table, slice + 1) - start, sizeof *table->order, in_order, table);
    table->start[slice] |= SLICE_SORTED;
}

/* ---------------------------------------------------------------- files */

/* The notes of the file that the module was loaded from must be those in memory. */
static bool is_build(const struct elf_image *image, const struct os_module *module)
{
    const unsigned char *in_memory, *in_file;
    const size_t bytes = build_id_of(module, &in_memory);
    const elf_section *notes = elf_image_section(image, SHT_NOTE, ".note.gnu.build-id");
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
    errno = ENOENT;
    return false;
}

static bool map_debug_file(const struct os_module *module, struct elf_image *out)
{
    char path[DEBUG_PLACE_BYTES];
    return debug_place_of_build(module, path) && map_build(path, module, out);
}

/* The files stay mapped: the names lie in them. False: another time it may go better. */
static bool read_files(const struct os_module *module, struct symbols *out)
{
    if (!map_build(module->path[0] != '\0' ? module->path : "/proc/self/exe", module, &out->image))
        return errno != EMFILE && errno != ENFILE && errno != ENOMEM;
    out->is_stripped = elf_image_section(&out->image, SHT_SYMTAB, NULL) == NULL;
    add(&out->image, out->is_stripped ? SHT_DYNSYM : SHT_SYMTAB, out);
    return true;
}

/* Only when somebody asks for a function that others do not see: it can be large. One that lies inside
 * another's bytes, as assemblers may write it, has the outer one's name until then. */
static void read_more(const struct os_module *module, struct symbols *symbols)
{
    struct elf_image other;
    mini_debug_unpacker *unpack = atomic_load_explicit(&names.unpack, memory_order_acquire);
    symbols->is_stripped = false;
    if (map_debug_file(module, &other) || (unpack != NULL && unpack(&symbols->image, &other)))
        add(&other, SHT_SYMTAB, symbols);
}

static struct symbols *symbols_of(const struct os_module *module)
{
    const uint64_t build = build_hash_of(module);
    for (struct symbols *known = names.known; known != NULL; known = known->next)
        if (known->build == build)
            return known;
    struct symbols *symbols = calloc(1, sizeof *symbols);
    if (symbols == NULL)
        return NULL;
    symbols->build = build;
    if (!read_files(module, symbols)) {
        free(symbols);
        return NULL;
    }
    symbols->next = names.known;
    names.known = symbols;
    return symbols;
}

/* ---------------------------------------------------------------- looking */

/* The function that has this place in the order of all. */
static const elf_symbol *symbol_of(struct table *table, size_t place)
{
    const uint32_t slice = slice_of(table, table->symbol[table->order[place]].st_value);
    if ((table->start[slice] & SLICE_SORTED) == 0)
        sort_slice(table, slice);
    return &table->symbol[table->order[place]];
}

/* How many begin at the address or before it. */
static size_t begun_at(struct table *table, uint64_t address)
{
    const uint32_t slice = slice_of(table, address);
    size_t low = start_of(table, slice), high = start_of(table, slice + 1);
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (symbol_of(table, middle)->st_value <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* Some functions that were written in assembler have no size: theirs ends with their section, or where the
 * next one begins. */
static bool reaches(const struct table *table, const elf_symbol *symbol, uint64_t address, uint64_t nearest)
{
    if (symbol->st_size > 0)
        return address - symbol->st_value < symbol->st_size;
    if (symbol->st_value < nearest || symbol->st_shndx >= table->image.section_count)
        return false;
    const elf_section *section = &table->image.sections[symbol->st_shndx];
    return address - section->sh_addr < section->sh_size;
}

/* Where the last function begins that begins before. */
static uint64_t nearest_start(struct symbols *symbols, uint64_t address)
{
    uint64_t nearest = 0;
    for (unsigned i = 0; i < symbols->tables; i++) {
        const size_t begun = begun_at(&symbols->table[i], address);
        if (begun > 0)
            nearest = most(nearest, symbol_of(&symbols->table[i], begun - 1)->st_value);
    }
    return nearest;
}

/* The best of those that begin at the last start whose function reaches as far. */
static const elf_symbol *symbol_at(struct table *table, uint64_t address, uint64_t nearest)
{
    size_t place = begun_at(table, address);
    for (unsigned tried = 0; place > 0 && tried < NESTED_MOST; tried++) {
        const uint64_t start = symbol_of(table, place - 1)->st_value;
        const elf_symbol *found = NULL;
        for (; place > 0 && symbol_of(table, place - 1)->st_value == start; place--)
            if (reaches(table, symbol_of(table, place - 1), address, nearest))
                found = symbol_of(table, place - 1);
        if (found != NULL)
            return found;
    }
    return NULL;
}

/* In several tables, the innermost; where they agree, the first table's. */
static const elf_symbol *innermost(struct symbols *symbols, uint64_t address, const char **name)
{
    const uint64_t nearest = nearest_start(symbols, address);
    const elf_symbol *found = NULL;
    for (unsigned i = 0; i < symbols->tables; i++) {
        const elf_symbol *here = symbol_at(&symbols->table[i], address, nearest);
        if (here == NULL || (found != NULL && here->st_value <= found->st_value))
            continue;
        found = here;
        *name = symbols->table[i].text + here->st_name;
    }
    return found;
}

void names_set_unpacker(mini_debug_unpacker *unpack)
{
    atomic_store_explicit(&names.unpack, unpack, memory_order_release);
}

bool names_function_at(uintptr_t address, char *name, size_t bytes, uint64_t *offset)
{
    struct os_module module;
    if (!os_find_module(address, &module))
        return false;
    struct symbols *symbols = symbols_of(&module);
    const uint64_t place = address - module.load_address;
    const char *text = NULL;
    const elf_symbol *found = symbols != NULL ? innermost(symbols, place, &text) : NULL;
    if (symbols != NULL && symbols->is_stripped && (found == NULL || found->st_size == 0)) {
        read_more(&module, symbols);
        found = innermost(symbols, place, &text);
    }
    if (found == NULL)
        return false;
    *offset = place - found->st_value;
    if (!demangle(text, name, bytes))
        error_format(name, bytes, "%s", text);
    return true;
}

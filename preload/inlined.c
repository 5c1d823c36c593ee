/* SPDX-License-Identifier: MIT */
#include "inlined.h"

#include <dwarf.h>
#include <stdlib.h>
#include <string.h>

#include "demangle.h"

enum { CHAIN_MOST = 64, NAME_BYTES = 4096 };

/* ---------------------------------------------------------------- which DIE has an address
 *
 * A range of addresses belongs to a unit or to a function; it is named by the offset of its DIE.
 */

struct range {
    uint64_t start, end;
    Dwarf_Off die;
};

struct ranges {
    struct range *range;
    size_t count, room;
};

static bool add_range(struct ranges *ranges, const struct range *range)
{
    if (ranges->count == ranges->room) {
        const size_t room = ranges->room > 0 ? 2 * ranges->room : 64;
        struct range *larger = realloc(ranges->range, room * sizeof *larger);
        if (larger == NULL)
            return false;
        ranges->range = larger;
        ranges->room = room;
    }
    ranges->range[ranges->count++] = *range;
    return true;
}

/* What the linker has thrown away begins at 0. */
static void add_ranges_of(struct ranges *ranges, Dwarf_Die *die)
{
    struct range range = {.die = dwarf_dieoffset(die)};
    Dwarf_Addr base;
    ptrdiff_t next = 0;
    while ((next = dwarf_ranges(die, next, &base, &range.start, &range.end)) > 0)
        if (range.start > 0 && range.end > range.start && !add_range(ranges, &range))
            return;
}

static int compare_ranges(const void *one, const void *other)
{
    const struct range *a = one, *b = other;
    return a->start < b->start ? -1 : a->start > b->start;
}

static void sort_ranges(struct ranges *ranges)
{
    if (ranges->count > 0)
        qsort(ranges->range, ranges->count, sizeof ranges->range[0], compare_ranges);
}

/* The innermost where one lies in another, as far as the one before it. */
static bool find_range(const struct ranges *ranges, uint64_t address, Dwarf_Off *die)
{
    size_t low = 0, high = ranges->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (ranges->range[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0 || address >= ranges->range[low - 1].end)
        return false;
    *die = ranges->range[low - 1].die;
    return true;
}

/* ---------------------------------------------------------------- units */

struct unit {
    struct unit *next;
    Dwarf_Off offset; /* of its DIE */
    bool read;        /* `functions` is filled in */
    bool deep;        /* and also what lies in classes and in other functions has been looked at */
    struct ranges functions;
};

struct inlined {
    Dwarf *dwarf;
    bool walked; /* `units` is filled in */
    struct ranges units;
    struct unit *first;
};

/* For units without .debug_aranges: clang's, and those of some assemblers. */
static void walk_units(struct inlined *inlined)
{
    Dwarf_CU *unit = NULL;
    Dwarf_Die die;
    uint8_t type;
    inlined->walked = true;
    while (dwarf_get_units(inlined->dwarf, unit, &unit, NULL, &type, &die, NULL) == 0)
        if (type == DW_UT_compile || type == DW_UT_skeleton)
            add_ranges_of(&inlined->units, &die);
    sort_ranges(&inlined->units);
}

static bool find_unit_die(struct inlined *inlined, uint64_t address, Dwarf_Die *out)
{
    Dwarf_Aranges *ranges = NULL;
    size_t count;
    Dwarf_Off offset;
    if (dwarf_getaranges(inlined->dwarf, &ranges, &count) == 0 && ranges != NULL &&
        dwarf_getarangeinfo(dwarf_getarange_addr(ranges, address), NULL, NULL, &offset) == 0)
        return dwarf_offdie(inlined->dwarf, offset, out) != NULL;
    if (!inlined->walked)
        walk_units(inlined);
    return find_range(&inlined->units, address, &offset) && dwarf_offdie(inlined->dwarf, offset, out) != NULL;
}

static struct unit *unit_of(struct inlined *inlined, Dwarf_Die *die)
{
    const Dwarf_Off offset = dwarf_dieoffset(die);
    struct unit *unit = inlined->first;
    while (unit != NULL && unit->offset != offset)
        unit = unit->next;
    if (unit != NULL || (unit = calloc(1, sizeof *unit)) == NULL)
        return unit;
    unit->offset = offset;
    unit->next = inlined->first;
    inlined->first = unit;
    return unit;
}

/* ---------------------------------------------------------------- functions of a unit */

static bool may_hold_functions(int tag, bool deep)
{
    if (tag == DW_TAG_namespace || tag == DW_TAG_module)
        return true;
    return deep && (tag == DW_TAG_subprogram || tag == DW_TAG_lexical_block || tag == DW_TAG_class_type ||
                    tag == DW_TAG_structure_type || tag == DW_TAG_union_type);
}

/* Few functions lie in classes or other functions, and whatever is not gone into costs little. */
static void add_functions_in(struct ranges *functions, Dwarf_Die *parent, bool deep, unsigned depth)
{
    Dwarf_Die die;
    if (depth > CHAIN_MOST || dwarf_child(parent, &die) != 0)
        return;
    do {
        const int tag = dwarf_tag(&die);
        if (tag == DW_TAG_subprogram)
            add_ranges_of(functions, &die);
        if (may_hold_functions(tag, deep))
            add_functions_in(functions, &die, deep, depth + 1);
    } while (dwarf_siblingof(&die, &die) == 0);
}

static void read_functions(struct unit *unit, Dwarf_Die *unit_die, bool deep)
{
    unit->read = true;
    unit->deep = deep;
    unit->functions.count = 0;
    add_functions_in(&unit->functions, unit_die, deep, 0);
    sort_ranges(&unit->functions);
}

static bool find_function(struct inlined *inlined, Dwarf_Die *unit_die, uint64_t address, Dwarf_Die *out)
{
    Dwarf_Off offset;
    struct unit *unit = unit_of(inlined, unit_die);
    if (unit == NULL)
        return false;
    if (!unit->read)
        read_functions(unit, unit_die, false);
    if (!find_range(&unit->functions, address, &offset)) {
        if (!unit->deep)
            read_functions(unit, unit_die, true);
        if (!find_range(&unit->functions, address, &offset))
            return false;
    }
    return dwarf_offdie(inlined->dwarf, offset, out) != NULL;
}

/* ---------------------------------------------------------------- what was inlined */

/* The child of a DIE that holds the address, be it an inlined function or a block. */
static bool find_inner(Dwarf_Die *parent, uint64_t address, Dwarf_Die *out)
{
    Dwarf_Die die;
    if (dwarf_child(parent, &die) != 0)
        return false;
    do {
        const int tag = dwarf_tag(&die);
        if ((tag == DW_TAG_inlined_subroutine || tag == DW_TAG_lexical_block || tag == DW_TAG_try_block ||
             tag == DW_TAG_catch_block) &&
            dwarf_haspc(&die, address) > 0) {
            *out = die;
            return true;
        }
    } while (dwarf_siblingof(&die, &die) == 0);
    return false;
}

/* The function, then what was inlined into it, and so on inwards. */
static unsigned chain_of(Dwarf_Die *function, uint64_t address, Dwarf_Die chain[CHAIN_MOST])
{
    unsigned count = 0;
    Dwarf_Die die = *function, inner;
    chain[count++] = die;
    for (unsigned depth = 0; depth < 4 * CHAIN_MOST && count < CHAIN_MOST; depth++) {
        if (!find_inner(&die, address, &inner))
            break;
        die = inner;
        if (dwarf_tag(&die) == DW_TAG_inlined_subroutine)
            chain[count++] = die;
    }
    return count;
}

/* ---------------------------------------------------------------- texts */

struct texts {
    char *at;
    size_t left;
    const char *file_read, *file_kept; /* the one before: frames often come from one file */
};

static const char *keep(struct texts *texts, const char *text)
{
    const size_t bytes = text != NULL ? strlen(text) + 1 : 0;
    if (bytes == 0 || bytes > texts->left)
        return NULL;
    char *copy = memcpy(texts->at, text, bytes);
    texts->at += bytes;
    texts->left -= bytes;
    return copy;
}

static const char *keep_file(struct texts *texts, const char *path)
{
    if (path == NULL || (texts->file_read != NULL && strcmp(path, texts->file_read) == 0))
        return path != NULL ? texts->file_kept : NULL;
    texts->file_read = path;
    texts->file_kept = keep(texts, path);
    return texts->file_kept;
}

/* As the symbol table's are written; names without a mangled form are C's. */
static const char *keep_name(struct texts *texts, Dwarf_Die *die)
{
    char plain[NAME_BYTES];
    Dwarf_Attribute attribute;
    const char *symbol = NULL;
    if (dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute) != NULL ||
        dwarf_attr_integrate(die, DW_AT_MIPS_linkage_name, &attribute) != NULL)
        symbol = dwarf_formstring(&attribute);
    if (symbol == NULL)
        return keep(texts, dwarf_diename(die));
    return keep(texts, demangle(symbol, plain, sizeof plain) ? plain : symbol);
}

/* ---------------------------------------------------------------- frames */

struct place {
    const char *file;
    unsigned line;
};

static struct place place_of_address(Dwarf_Die *unit, uint64_t address)
{
    int line = 0;
    struct place place = {NULL, 0};
    Dwarf_Line *found = dwarf_getsrc_die(unit, address);
    if (found == NULL || dwarf_lineno(found, &line) != 0)
        return place;
    place.file = dwarf_linesrc(found, NULL, NULL);
    place.line = line > 0 ? (unsigned)line : 0;
    return place;
}

static Dwarf_Word number_of(Dwarf_Die *die, unsigned name)
{
    Dwarf_Attribute attribute;
    Dwarf_Word number = 0;
    if (dwarf_attr(die, name, &attribute) == NULL || dwarf_formudata(&attribute, &number) != 0)
        return 0;
    return number;
}

/* Where the inlined function was called from. */
static struct place place_of_call(Dwarf_Die *unit, Dwarf_Die *inlined)
{
    Dwarf_Files *files;
    size_t count;
    struct place place = {NULL, (unsigned)number_of(inlined, DW_AT_call_line)};
    const Dwarf_Word file = number_of(inlined, DW_AT_call_file);
    if (dwarf_getsrcfiles(unit, &files, &count) == 0 && file < count)
        place.file = dwarf_filesrc(files, file, NULL, NULL);
    return place;
}

/* From the outermost inwards, so that it is the user's own functions whose texts fit. */
static unsigned write_frames(Dwarf_Die *unit, Dwarf_Die *chain, unsigned count, uint64_t address,
                             struct policy_frame *out, unsigned most, struct texts *texts)
{
    const unsigned kept = count < most ? count : most;
    for (unsigned i = 0; i < kept; i++) {
        const struct place place =
            i + 1 < count ? place_of_call(unit, &chain[i + 1]) : place_of_address(unit, address);
        out[kept - 1 - i] = (struct policy_frame){.function = keep_name(texts, &chain[i]),
                                                  .file = keep_file(texts, place.file),
                                                  .line = place.line};
    }
    return kept;
}

/* Where a unit has lines but no functions, as assemblers write it, or as -gsplit-dwarf leaves it. */
static unsigned write_line_alone(Dwarf_Die *unit, uint64_t address, struct policy_frame *out,
                                 struct texts *texts)
{
    const struct place place = place_of_address(unit, address);
    out[0] = (struct policy_frame){.file = keep_file(texts, place.file), .line = place.line};
    return out[0].file != NULL;
}

unsigned inlined_at(struct inlined *inlined, uint64_t address, struct policy_frame *out, unsigned most,
                    char *text, size_t bytes)
{
    Dwarf_Die unit, function, chain[CHAIN_MOST];
    struct texts texts = {.at = text, .left = bytes};
    if (!find_unit_die(inlined, address, &unit))
        return 0;
    if (!find_function(inlined, &unit, address, &function))
        return write_line_alone(&unit, address, out, &texts);
    return write_frames(&unit, chain, chain_of(&function, address, chain), address, out, most, &texts);
}

struct inlined *inlined_open(Dwarf *dwarf)
{
    struct inlined *inlined = calloc(1, sizeof *inlined);
    if (inlined != NULL)
        inlined->dwarf = dwarf;
    return inlined;
}

void inlined_close(struct inlined *inlined)
{
    while (inlined != NULL && inlined->first != NULL) {
        struct unit *unit = inlined->first;
        inlined->first = unit->next;
        free(unit->functions.range);
        free(unit);
    }
    if (inlined != NULL)
        free(inlined->units.range);
    free(inlined);
}

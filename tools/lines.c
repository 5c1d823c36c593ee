/* SPDX-License-Identifier: MIT */
#include "lines.h"

#include "tool.h"

#include <dwarf.h>
#include <elfutils/libdwfl.h>
#include <stdlib.h>
#include <string.h>

#define INLINED_MOST 12u /* as many as the shim looks at */

struct lines {
    Dwfl *session;
    Dwfl_Module *module;
};

static char *default_path; /* ":.debug:/usr/lib/debug", libdwfl's own */

static const Dwfl_Callbacks callbacks = {.find_elf = dwfl_build_id_find_elf,
                                         .find_debuginfo = dwfl_standard_find_debuginfo,
                                         .debuginfo_path = &default_path};

/* Loaded where its own headers say, so that addresses are offsets. */
struct lines *lines_open(const char *path)
{
    struct lines *lines = required(calloc(1, sizeof *lines));
    lines->session = required(dwfl_begin(&callbacks));
    dwfl_report_begin(lines->session);
    lines->module = dwfl_report_elf(lines->session, path, path, -1, 0, true);
    if (lines->module != NULL && dwfl_report_end(lines->session, NULL, NULL) == 0)
        return lines;
    lines_close(lines);
    return NULL;
}

void lines_close(struct lines *lines)
{
    if (lines == NULL)
        return;
    dwfl_end(lines->session);
    free(lines);
}

static char *copy_of(const char *text)
{
    return text != NULL ? formatted("%s", text) : NULL;
}

/* What the linker would call it, without parameters; or what the source does. */
static char *name_of(Dwarf_Die *die)
{
    Dwarf_Attribute attribute;
    const char *linked = dwarf_formstring(dwarf_attr_integrate(die, DW_AT_linkage_name, &attribute));
    const char *plain = dwarf_diename(die);
    return linked != NULL ? symbols_demangle(linked) : copy_of(plain);
}

static const char *file_of(Dwarf_Die *unit, Dwarf_Die *die, int attribute_name)
{
    Dwarf_Attribute attribute;
    Dwarf_Word number;
    Dwarf_Files *files;
    size_t count;
    if (dwarf_formudata(dwarf_attr(die, (unsigned)attribute_name, &attribute), &number) != 0 ||
        dwarf_getsrcfiles(unit, &files, &count) != 0 || number >= count)
        return NULL;
    return dwarf_filesrc(files, number, NULL, NULL);
}

static unsigned number_of(Dwarf_Die *die, int attribute_name)
{
    Dwarf_Attribute attribute;
    Dwarf_Word number;
    return dwarf_formudata(dwarf_attr(die, (unsigned)attribute_name, &attribute), &number) == 0
               ? (unsigned)number
               : 0;
}

static void add_frame(struct spot *spot, char *function, const char *file, unsigned line)
{
    spot->inlined = room_for_one(spot->inlined, spot->inlined_count, sizeof *spot->inlined);
    spot->inlined[spot->inlined_count++] = (struct policy_frame){function, copy_of(file), line};
}

/* Each function that was inlined says where in the next one it was called. */
static void add_frames(struct spot *spot, Dwarf_Die *unit, Dwarf_Die *scopes, int count)
{
    const char *file = spot->file;
    unsigned line = spot->line;
    for (int i = 0; i < count && spot->inlined_count < INLINED_MOST; i++) {
        const int tag = dwarf_tag(&scopes[i]);
        if (tag != DW_TAG_inlined_subroutine && tag != DW_TAG_subprogram)
            continue;
        add_frame(spot, name_of(&scopes[i]), file, line);
        if (tag == DW_TAG_subprogram)
            return;
        file = file_of(unit, &scopes[i], DW_AT_call_file);
        line = number_of(&scopes[i], DW_AT_call_line);
    }
}

static void find_line(struct lines *lines, struct spot *spot, Dwarf_Addr address)
{
    Dwfl_Line *line = dwfl_module_getsrc(lines->module, address);
    int number = 0;
    const char *file = line != NULL ? dwfl_lineinfo(line, NULL, &number, NULL, NULL, NULL) : NULL;
    spot->file = copy_of(file);
    spot->line = number > 0 ? (unsigned)number : 0;
}

/* The symbol's own word where it covers the address. */
static void find_name(struct lines *lines, struct spot *spot, Dwarf_Addr address)
{
    GElf_Off distance;
    GElf_Sym symbol;
    const char *name = dwfl_module_addrinfo(lines->module, address, &distance, &symbol, NULL, NULL, NULL);
    if (name != NULL && distance < symbol.st_size)
        spot->debug = symbols_demangle(name);
    else if (spot->inlined_count > 0)
        spot->debug = copy_of(spot->inlined[spot->inlined_count - 1].function);
}

void lines_at(struct lines *lines, struct spot *spot)
{
    const Dwarf_Addr address = spot->offset - 1;
    Dwarf_Addr bias;
    Dwarf_Die *scopes = NULL, *unit = dwfl_module_addrdie(lines->module, address, &bias);
    find_line(lines, spot, address);
    if (unit != NULL) {
        const int count = dwarf_getscopes(unit, address - bias, &scopes);
        if (count > 0)
            add_frames(spot, unit, scopes, count);
        free(scopes);
    }
    find_name(lines, spot, address);
}

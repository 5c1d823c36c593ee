/* SPDX-License-Identifier: MIT */
#include "calls.h"

#include "tool.h"

#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* What a call may go to: a slot, or the beginning of a stub that jumps through one. */
struct target {
    uint64_t address;
    unsigned entry;
};

struct targets {
    struct target *items;
    size_t count;
};

struct search {
    Elf *elf;
    struct targets slots, stubs;
    struct calls *calls;
};

/* ---------------------------------------------------------------- the functions */

static unsigned entry_of(const char *name)
{
    static const struct {
        const char *name;
        unsigned entry;
    } entries[] = {
        {"malloc", POLICY_CALL_MALLOC},         {"calloc", POLICY_CALL_CALLOC},
        {"realloc", POLICY_CALL_REALLOC},       {"memalign", POLICY_CALL_ALIGNED},
        {"aligned_alloc", POLICY_CALL_ALIGNED}, {"posix_memalign", POLICY_CALL_ALIGNED},
        {"valloc", POLICY_CALL_ALIGNED},        {"pvalloc", POLICY_CALL_ALIGNED},
    };
    for (size_t i = 0; name != NULL && i < sizeof entries / sizeof entries[0]; i++)
        if (strcmp(name, entries[i].name) == 0)
            return entries[i].entry;
    return name != NULL && (strncmp(name, "_Znw", 4) == 0 || strncmp(name, "_Zna", 4) == 0) ? POLICY_CALL_NEW
                                                                                            : 0;
}

static void add_target(struct targets *targets, uint64_t address, unsigned entry)
{
    targets->items = room_for_one(targets->items, targets->count, sizeof *targets->items);
    targets->items[targets->count++] = (struct target){address, entry};
}

static int compare_targets(const void *left, const void *right)
{
    const struct target *a = left, *b = right;
    return (a->address > b->address) - (a->address < b->address);
}

static void sort(struct targets *targets)
{
    if (targets->count > 1)
        qsort(targets->items, targets->count, sizeof *targets->items, compare_targets);
}

/* 0: it is none. */
static unsigned target_at(const struct targets *targets, uint64_t address)
{
    const struct target key = {.address = address};
    const struct target *found = targets->count > 0 ? bsearch(&key, targets->items, targets->count,
                                                              sizeof *targets->items, compare_targets)
                                                    : NULL;
    return found != NULL ? found->entry : 0;
}

/* ---------------------------------------------------------------- slots */

static unsigned entry_of_symbol(Elf *elf, size_t table, size_t index)
{
    Elf_Scn *section = elf_getscn(elf, table);
    GElf_Shdr header;
    GElf_Sym symbol;
    Elf_Data *data = section != NULL ? elf_getdata(section, NULL) : NULL;
    if (data == NULL || gelf_getshdr(section, &header) == NULL ||
        gelf_getsym(data, (int)index, &symbol) == NULL || symbol.st_shndx != SHN_UNDEF)
        return 0;
    return entry_of(elf_strptr(elf, header.sh_link, symbol.st_name));
}

static void find_slots(struct search *search, Elf_Scn *section, const GElf_Shdr *header)
{
    Elf_Data *data = header->sh_type == SHT_RELA ? elf_getdata(section, NULL) : NULL;
    const size_t count = data != NULL && header->sh_entsize > 0 ? data->d_size / header->sh_entsize : 0;
    for (size_t i = 0; i < count; i++) {
        GElf_Rela relocation;
        if (gelf_getrela(data, (int)i, &relocation) == NULL)
            continue;
        const uint64_t type = GELF_R_TYPE(relocation.r_info);
        const unsigned entry =
            type == R_X86_64_JUMP_SLOT || type == R_X86_64_GLOB_DAT
                ? entry_of_symbol(search->elf, header->sh_link, GELF_R_SYM(relocation.r_info))
                : 0;
        if (entry != 0)
            add_target(&search->slots, relocation.r_offset, entry);
    }
}

/* ---------------------------------------------------------------- code */

/* The signed distance in an instruction, from its end at `end`. */
static uint64_t reached(const unsigned char *distance, uint64_t end)
{
    int32_t value;
    memcpy(&value, distance, sizeof value);
    return end + (uint64_t)(int64_t)value;
}

/* jmp *slot(%rip), perhaps behind endbr64 and a bnd prefix: whichever of these a call goes to. */
static void find_stubs(struct search *search, const unsigned char *code, size_t bytes, uint64_t address)
{
    static const unsigned before[] = {0, 1, 4, 5};
    for (size_t i = 0; i + 6 <= bytes; i++) {
        if (code[i] != 0xff || code[i + 1] != 0x25)
            continue;
        const unsigned entry = target_at(&search->slots, reached(code + i + 2, address + i + 6));
        for (size_t k = 0; entry != 0 && k < sizeof before / sizeof before[0]; k++)
            add_target(&search->stubs, address + i - before[k], entry);
    }
}

static void add_call(struct calls *calls, uint64_t offset, unsigned entry)
{
    calls->items = room_for_one(calls->items, calls->count, sizeof *calls->items);
    calls->items[calls->count++] = (struct call){offset, entry};
}

/* call stub; call *slot(%rip) */
static void find_calls(struct search *search, const unsigned char *code, size_t bytes, uint64_t address)
{
    for (size_t i = 0; i + 6 <= bytes; i++) {
        const bool direct = code[i] == 0xe8, through = code[i] == 0xff && code[i + 1] == 0x15;
        const size_t length = direct ? 5 : 6;
        if (!direct && !through)
            continue;
        const uint64_t to = reached(code + i + length - 4, address + i + length);
        const unsigned entry = target_at(direct ? &search->stubs : &search->slots, to);
        if (entry != 0)
            add_call(search->calls, address + i + length, entry);
    }
}

/* ---------------------------------------------------------------- the file */

typedef void code_visitor(struct search *search, const unsigned char *code, size_t bytes, uint64_t address);

static void each_code(struct search *search, code_visitor *visit)
{
    Elf_Scn *section = NULL;
    GElf_Shdr header;
    while ((section = elf_nextscn(search->elf, section)) != NULL) {
        Elf_Data *data = NULL;
        if (gelf_getshdr(section, &header) == NULL || header.sh_type != SHT_PROGBITS ||
            (header.sh_flags & SHF_EXECINSTR) == 0)
            continue;
        while ((data = elf_getdata(section, data)) != NULL)
            if (data->d_buf != NULL)
                visit(search, data->d_buf, data->d_size, header.sh_addr + (uint64_t)data->d_off);
    }
}

static bool is_of_this_machine(Elf *elf)
{
    GElf_Ehdr header;
    return elf != NULL && elf_kind(elf) == ELF_K_ELF && gelf_getehdr(elf, &header) != NULL &&
           header.e_machine == EM_X86_64;
}

static void search_file(struct search *search)
{
    Elf_Scn *section = NULL;
    GElf_Shdr header;
    while ((section = elf_nextscn(search->elf, section)) != NULL)
        if (gelf_getshdr(section, &header) != NULL)
            find_slots(search, section, &header);
    sort(&search->slots);
    each_code(search, find_stubs);
    sort(&search->stubs);
    each_code(search, find_calls);
    free(search->slots.items);
    free(search->stubs.items);
}

bool calls_find(struct calls *calls, const char *path)
{
    struct search search = {.calls = calls};
    *calls = (struct calls){0};
    elf_version(EV_CURRENT);
    const int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    search.elf = descriptor >= 0 ? elf_begin(descriptor, ELF_C_READ_MMAP, NULL) : NULL;
    const bool found = is_of_this_machine(search.elf);
    if (found)
        search_file(&search);
    if (search.elf != NULL)
        elf_end(search.elf);
    if (descriptor >= 0)
        close(descriptor);
    return found;
}

void calls_release(struct calls *calls)
{
    free(calls->items);
    *calls = (struct calls){0};
}

/* SPDX-License-Identifier: MIT */
#include "operators.h"

#include <elf.h>
#include <link.h>
#include <stdatomic.h>
#include <string.h>

#include "base.h"

static const char *const operator_names[OPERATORS] = {
    "_Znwm",
    "_Znam",
    "_ZnwmRKSt9nothrow_t",
    "_ZnamRKSt9nothrow_t",
    "_ZnwmSt11align_val_t",
    "_ZnamSt11align_val_t",
    "_ZnwmSt11align_val_tRKSt9nothrow_t",
    "_ZnamSt11align_val_tRKSt9nothrow_t",
    "_ZdlPv",
    "_ZdaPv",
    "_ZdlPvm",
    "_ZdaPvm",
    "_ZdlPvRKSt9nothrow_t",
    "_ZdaPvRKSt9nothrow_t",
    "_ZdlPvSt11align_val_t",
    "_ZdaPvSt11align_val_t",
    "_ZdlPvmSt11align_val_t",
    "_ZdaPvmSt11align_val_t",
    "_ZdlPvSt11align_val_tRKSt9nothrow_t",
    "_ZdaPvSt11align_val_tRKSt9nothrow_t",
};

_Atomic(void *) operator_known[OPERATORS];

struct search {
    const char *name;
    uint32_t hash;
    bool before_us; /* look in the modules that come before us, else in those after */
    bool past_us;
    void *address;
};

/* What a dynamic section says of the symbols; addresses as the loader has relocated them. */
struct symbols {
    const ElfW(Sym) * table;
    const char *strings;
    const uint32_t *hash; /* DT_GNU_HASH */
};

/* Source: "GNU Hash ELF Sections", Ali Bahrami, 2010-06; the hash is Bernstein's. */
static uint32_t gnu_hash(const char *name)
{
    uint32_t hash = 5381;
    for (; *name != '\0'; name++)
        hash = hash * 33 + (unsigned char)*name;
    return hash;
}

static const void *absolute(const struct dl_phdr_info *info, ElfW(Addr) address)
{
    /* glibc relocates these in place for ordinary modules, not for the vdso */
    return (const void *)(address < info->dlpi_addr ? address + info->dlpi_addr : address);
}

static bool find_symbols(const struct dl_phdr_info *info, struct symbols *out)
{
    *out = (struct symbols){NULL, NULL, NULL};
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        if (info->dlpi_phdr[i].p_type != PT_DYNAMIC)
            continue;
        const ElfW(Dyn) *entry = (const void *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr);
        for (; entry->d_tag != DT_NULL; entry++) {
            if (entry->d_tag == DT_SYMTAB)
                out->table = absolute(info, entry->d_un.d_ptr);
            else if (entry->d_tag == DT_STRTAB)
                out->strings = absolute(info, entry->d_un.d_ptr);
            else if (entry->d_tag == DT_GNU_HASH)
                out->hash = absolute(info, entry->d_un.d_ptr);
        }
    }
    return out->table != NULL && out->strings != NULL && out->hash != NULL;
}

static const ElfW(Sym) * look_up(const struct symbols *symbols, const char *name, uint32_t hash)
{
    const uint32_t bucket_count = symbols->hash[0], first = symbols->hash[1], bloom_words = symbols->hash[2];
    const ElfW(Addr) *bloom = (const void *)(symbols->hash + 4);
    const uint32_t *buckets = (const void *)(bloom + bloom_words);
    const uint32_t *chain = buckets + bucket_count;
    uint32_t index = bucket_count != 0 ? buckets[hash % bucket_count] : 0;
    if (index < first)
        return NULL;
    for (;; index++) {
        const uint32_t value = chain[index - first];
        const ElfW(Sym) *symbol = &symbols->table[index];
        if ((value | 1) == (hash | 1) && symbol->st_shndx != SHN_UNDEF &&
            strcmp(symbols->strings + symbol->st_name, name) == 0)
            return symbol;
        if ((value & 1) != 0)
            return NULL;
    }
}

static bool is_us(const struct dl_phdr_info *info)
{
    const uintptr_t address = (uintptr_t)&operator_names;
    for (unsigned i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *header = &info->dlpi_phdr[i];
        if (header->p_type == PT_LOAD && address - (info->dlpi_addr + header->p_vaddr) < header->p_memsz)
            return true;
    }
    return false;
}

static int look_in(struct dl_phdr_info *info, size_t bytes, void *argument)
{
    struct search *search = argument;
    struct symbols symbols;
    (void)bytes;
    if (!search->past_us) {
        search->past_us = is_us(info);
        if (search->past_us || !search->before_us)
            return search->past_us && search->before_us;
    }
    if (!find_symbols(info, &symbols))
        return 0;
    const ElfW(Sym) *symbol = look_up(&symbols, search->name, search->hash);
    if (symbol == NULL)
        return 0;
    search->address = (void *)(info->dlpi_addr + symbol->st_value);
    return 1;
}

void *operator_next_named(const char *name)
{
    struct search search = {.name = name, .hash = gnu_hash(name)};
    dl_iterate_phdr(look_in, &search);
    return search.address;
}

COLD void *operator_look(enum operator_id id)
{
    void *address = operator_next_named(operator_names[id]);
    atomic_store_explicit(&operator_known[id], address, memory_order_relaxed);
    return address;
}

_Atomic int operator_replaced;

COLD bool operator_look_for_another(void)
{
    struct search search = {.name = operator_names[OPERATOR_NEW],
                            .hash = gnu_hash(operator_names[OPERATOR_NEW]),
                            .before_us = true};
    dl_iterate_phdr(look_in, &search);
    atomic_store_explicit(&operator_replaced, search.address != NULL ? 2 : 1, memory_order_relaxed);
    return search.address != NULL;
}

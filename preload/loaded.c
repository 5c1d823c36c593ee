/* SPDX-License-Identifier: MIT */
#include "loaded.h"

#include <link.h>

#include "code.h"
#include "os.h"

#define SPARE 8u /* that another thread may load meanwhile */

static int count_module(struct dl_phdr_info *info, size_t bytes, void *argument)
{
    (void)info, (void)bytes;
    ++*(uint32_t *)argument;
    return 0;
}

static void find_extent(const struct os_module *module, struct loaded_module *out)
{
    const ElfW(Phdr) *header = module->headers;
    out->start = UINTPTR_MAX;
    out->end = 0;
    for (unsigned i = 0; i < module->header_count; i++) {
        const uintptr_t start = module->load_address + header[i].p_vaddr;
        if (header[i].p_type != PT_LOAD)
            continue;
        out->start = (uintptr_t)least(out->start, start);
        out->end = (uintptr_t)most(out->end, start + header[i].p_memsz);
    }
}

static int note_module(struct dl_phdr_info *info, size_t bytes, void *argument)
{
    struct loaded *loaded = argument;
    const struct os_module module = {.load_address = info->dlpi_addr,
                                     .path = info->dlpi_name != NULL ? info->dlpi_name : "",
                                     .headers = info->dlpi_phdr,
                                     .header_count = info->dlpi_phnum};
    (void)bytes;
    if ((loaded->count + 1) * sizeof *loaded->module > loaded->bytes) {
        loaded->complete = false;
        return 1;
    }
    struct loaded_module *next = &loaded->module[loaded->count++];
    loaded->unloaded = info->dlpi_subs;
    next->load_address = module.load_address;
    next->build = code_build_of(&module);
    find_extent(&module, next);
    return 0;
}

/* False: more were loaded meanwhile than there is room for. */
static bool list_modules(struct loaded *out)
{
    out->count = 0;
    out->complete = true;
    dl_iterate_phdr(note_module, out);
    return out->complete;
}

void loaded_look(struct loaded *out)
{
    *out = (struct loaded){.unloaded = os_modules_unloaded()};
    for (;;) {
        void *memory;
        uint32_t count = SPARE;
        dl_iterate_phdr(count_module, &count);
        out->bytes = align_up(count * sizeof *out->module, PAGE_BYTES);
        if (os_map_private(out->bytes, &memory) != 0)
            break;
        out->module = memory;
        if (list_modules(out))
            return;
        os_unmap(memory, out->bytes);
    }
    out->module = NULL;
    out->count = 0;
    out->complete = false;
}

void loaded_drop(struct loaded *loaded)
{
    if (loaded->module != NULL)
        os_unmap(loaded->module, loaded->bytes);
    loaded->module = NULL;
    loaded->count = 0;
}

uint64_t loaded_build_at(const struct loaded *loaded, uintptr_t address)
{
    for (uint32_t i = 0; i < loaded->count; i++)
        if (address - loaded->module[i].start < loaded->module[i].end - loaded->module[i].start)
            return loaded->module[i].build;
    return 0;
}

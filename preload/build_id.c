/* SPDX-License-Identifier: MIT */
#include "build_id.h"

#include <elf.h>
#include <link.h>
#include <string.h>

size_t build_id_in(const void *notes, size_t bytes, const unsigned char **id)
{
    const unsigned char *at = notes;
    const unsigned char *const end = at + bytes;
    while ((size_t)(end - at) >= sizeof(ElfW(Nhdr))) {
        const ElfW(Nhdr) *note = (const void *)at;
        const unsigned char *name = at + sizeof *note;
        const uint64_t name_bytes = align_up((uint64_t)note->n_namesz, 4);
        if (name_bytes + note->n_descsz > (uint64_t)(end - name))
            break;
        *id = name + name_bytes;
        if (note->n_type == NT_GNU_BUILD_ID && note->n_namesz == 4 && memcmp(name, "GNU", 4) == 0)
            return note->n_descsz;
        at = *id + least(align_up((uint64_t)note->n_descsz, 4), (uint64_t)(end - *id));
    }
    return 0;
}

size_t build_id_of(const struct os_module *module, const unsigned char **id)
{
    const ElfW(Phdr) *headers = module->headers;
    for (unsigned i = 0; i < module->header_count; i++) {
        const size_t length = headers[i].p_type != PT_NOTE
                                  ? 0
                                  : build_id_in((const void *)(module->load_address + headers[i].p_vaddr),
                                                headers[i].p_memsz, id);
        if (length > 0)
            return length;
    }
    return 0;
}

uint64_t build_hash_of(const struct os_module *module)
{
    const unsigned char *id;
    const size_t length = build_id_of(module, &id);
    return length > 0 ? hash_bytes(id, length) : hash_bytes(module->path, strlen(module->path));
}

/* SPDX-License-Identifier: MIT */
#include "elf_image.h"

#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool inside(const struct elf_image *image, uint64_t offset, uint64_t bytes)
{
    return bytes <= image->size && offset <= image->size - bytes;
}

/* Aligned as the section says: what is read from it as numbers must be. */
static bool has_contents(const struct elf_image *image, const elf_section *section)
{
    return section->sh_type != SHT_NOBITS && inside(image, section->sh_offset, section->sh_size) &&
           (section->sh_type == SHT_PROGBITS || section->sh_offset % sizeof(uint32_t) == 0);
}

bool elf_image_begins(const ElfW(Ehdr) * header)
{
    static const unsigned char start[] = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3};
    const uint16_t one = 1;
    const unsigned char order = *(const unsigned char *)&one == 1 ? ELFDATA2LSB : ELFDATA2MSB;
    return memcmp(header->e_ident, start, sizeof start) == 0 && header->e_ident[EI_DATA] == order &&
           header->e_ident[EI_CLASS] == (sizeof(void *) == 8 ? ELFCLASS64 : ELFCLASS32) &&
           header->e_shentsize == sizeof(elf_section);
}

/* Files with more than 65 279 sections keep the numbers elsewhere: those are taken to have none. */
bool elf_image_read(const void *bytes, uint64_t size, struct elf_image *out)
{
    const ElfW(Ehdr) *header = bytes;
    *out = (struct elf_image){.bytes = bytes, .size = size};
    if (size < sizeof *header || !elf_image_begins(header))
        return false;
    if (header->e_shoff % sizeof(uint64_t) != 0 ||
        !inside(out, header->e_shoff, (uint64_t)header->e_shnum * sizeof(elf_section)))
        return true;
    out->sections = (const void *)(out->bytes + header->e_shoff);
    out->section_count = header->e_shnum;
    if (header->e_shstrndx >= header->e_shnum ||
        !inside(out, out->sections[header->e_shstrndx].sh_offset, out->sections[header->e_shstrndx].sh_size))
        return true;
    const elf_section *names = &out->sections[header->e_shstrndx];
    if (names->sh_size > 0 && out->bytes[names->sh_offset + names->sh_size - 1] == '\0') {
        out->names = (const char *)out->bytes + names->sh_offset;
        out->names_size = names->sh_size;
    }
    return true;
}

static const void *map_whole(int descriptor, uint64_t *size)
{
    struct stat status;
    if (descriptor < 0 || fstat(descriptor, &status) != 0 || !S_ISREG(status.st_mode) || status.st_size <= 0)
        return NULL;
    *size = (uint64_t)status.st_size;
    const void *bytes = mmap(NULL, *size, PROT_READ, MAP_PRIVATE, descriptor, 0);
    return bytes != MAP_FAILED ? bytes : NULL;
}

/* Libraries are opened by names that are links, most of them. */
bool elf_image_map(const char *path, struct elf_image *out)
{
    uint64_t size;
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    const void *bytes = map_whole(descriptor, &size);
    if (descriptor >= 0)
        close(descriptor);
    if (bytes == NULL)
        return false;
    if (elf_image_read(bytes, size, out))
        return true;
    elf_image_unmap(out);
    return false;
}

void elf_image_unmap(struct elf_image *image)
{
    munmap((void *)(uintptr_t)image->bytes, image->size);
}

const elf_section *elf_image_section(const struct elf_image *image, uint32_t type, const char *name)
{
    for (unsigned i = 0; i < image->section_count; i++) {
        const elf_section *section = &image->sections[i];
        if (section->sh_type == type && has_contents(image, section) &&
            (name == NULL ||
             (section->sh_name < image->names_size && strcmp(image->names + section->sh_name, name) == 0)))
            return section;
    }
    return NULL;
}

const void *elf_image_contents(const struct elf_image *image, const elf_section *section)
{
    return image->bytes + section->sh_offset;
}

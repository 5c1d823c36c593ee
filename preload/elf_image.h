/* SPDX-License-Identifier: MIT
 *
 * The file of a program or library, in memory: its sections, each proven to lie inside it. For
 * names.h and the modules of modules.h.
 *
 * Files of this machine's own word size and byte order, and none else: it is for code that runs here. Of a
 * compressed section the bytes are given as they are.
 */
#ifndef SHM_ELF_IMAGE_H
#define SHM_ELF_IMAGE_H

#include <elf.h>
#include <link.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef ElfW(Shdr) elf_section;
typedef ElfW(Sym) elf_symbol;

struct elf_image {
    const unsigned char *bytes;
    uint64_t size;
    const elf_section *sections;
    unsigned section_count;
    const char *names; /* of the sections */
    uint64_t names_size;
};

/* Does a file begin like one of ours? */
bool elf_image_begins(const ElfW(Ehdr) * header);

/* Looks at a file that is in memory already; nothing is copied. False: it is none, or damaged. */
bool elf_image_read(const void *bytes, uint64_t size, struct elf_image *out);

/* Maps a file; no descriptor stays open. False: it cannot be read, or is none. */
bool elf_image_map(const char *path, struct elf_image *out);
void elf_image_unmap(struct elf_image *image);

/* The first section of a type, and with a name where one is asked for. NULL: there is none with contents that
 * lie in the file. */
const elf_section *elf_image_section(const struct elf_image *image, uint32_t type, const char *name);

/* What a section holds: `section` is one of elf_image_section(). */
const void *elf_image_contents(const struct elf_image *image, const elf_section *section);

#endif

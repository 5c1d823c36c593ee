/* SPDX-License-Identifier: MIT */
#include "debug_place.h"

#include <assert.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "build_id.h"
#include "elf_image.h"
#include "error.h"

#define NAMES_BYTES   2048u /* of a file's sections; most have a few hundred */
/* With these nearly all files are done with a page of the stack: another would cost more than a few more
 * calls. */
#define NAMES_FEW     1088u
#define BEFORE_BYTES  1216u
#define SECTIONS_EACH 32u
#define PATH_BYTES    1024u

bool debug_place_of_build(const struct os_module *module, char out[DEBUG_PLACE_BYTES])
{
    static const char digits[] = "0123456789abcdef";
    const unsigned char *id;
    const size_t bytes = build_id_of(module, &id);
    if (bytes < 2 || bytes > 64)
        return false;
    char *at = out + error_format(out, DEBUG_PLACE_BYTES, "/usr/lib/debug/.build-id/");
    for (size_t i = 0; i < bytes; i++) {
        *at++ = digits[id[i] >> 4];
        *at++ = digits[id[i] & 0x0f];
        if (i == 0)
            *at++ = '/';
    }
    memcpy(at, ".debug", sizeof ".debug");
    return true;
}

/* ---------------------------------------------------------------- the sections of a file */

struct sections {
    bool has_lines, has_packed_symbols;
    char link[256]; /* what .gnu_debuglink names; "": nothing */
};

/* The end of the file, as linkers write it: the names of the sections and .gnu_debuglink, and then the table,
 * all of which one call reads. The rest of a long table comes with further ones. */
struct tail {
    uint64_t from, bytes; /* what of the file lies in `before` */
    char before[BEFORE_BYTES];
    elf_section section[SECTIONS_EACH];
};
static_assert(offsetof(struct tail, section) == offsetof(struct tail, before) + BEFORE_BYTES, "read at once");

static bool read_at(int descriptor, void *out, size_t bytes, uint64_t offset)
{
    return offset <= INT64_MAX && pread(descriptor, out, bytes, (off_t)offset) == (ssize_t)bytes;
}

static bool read_tail(int descriptor, const ElfW(Ehdr) * header, struct tail *tail)
{
    const uint64_t count = header->e_shnum < SECTIONS_EACH ? header->e_shnum : SECTIONS_EACH;
    tail->bytes = header->e_shoff < BEFORE_BYTES ? 0 : BEFORE_BYTES;
    tail->from = header->e_shoff - tail->bytes;
    return read_at(descriptor, tail->before + (BEFORE_BYTES - tail->bytes),
                   tail->bytes + count * sizeof tail->section[0], tail->from);
}

/* A piece of the file that may lie in its tail. */
static bool read_piece(int descriptor, const struct tail *tail, void *out, size_t bytes, uint64_t offset)
{
    if (offset < tail->from || bytes > tail->bytes || offset - tail->from > tail->bytes - bytes)
        return read_at(descriptor, out, bytes, offset);
    memmove(out, tail->before + (offset - tail->from), bytes);
    return true;
}

/* The section that holds the names of all. */
static bool find_names(int descriptor, const ElfW(Ehdr) * header, const struct tail *tail, elf_section *names)
{
    if (header->e_shstrndx >= SECTIONS_EACH)
        return read_at(descriptor, names, sizeof *names,
                       header->e_shoff + header->e_shstrndx * sizeof *names);
    *names = tail->section[header->e_shstrndx];
    return true;
}

static void read_link(int descriptor, const struct tail *tail, const elf_section *section,
                      struct sections *out)
{
    const size_t bytes = section->sh_size < sizeof out->link ? section->sh_size : sizeof out->link;
    if (!read_piece(descriptor, tail, out->link, bytes, section->sh_offset) ||
        memchr(out->link, '\0', bytes) == NULL || strchr(out->link, '/') != NULL)
        out->link[0] = '\0';
}

static void look_at_section(int descriptor, const struct tail *tail, const elf_section *section,
                            const char *name, struct sections *out)
{
    if (strcmp(name, ".debug_info") == 0 || strcmp(name, ".zdebug_info") == 0)
        out->has_lines = true;
    else if (strcmp(name, ".gnu_debugdata") == 0)
        out->has_packed_symbols = true;
    else if (strcmp(name, ".gnu_debuglink") == 0)
        read_link(descriptor, tail, section, out);
}

/* Names that are too many to be read might be any. */
static void look_at_sections(int descriptor, const ElfW(Ehdr) * header, struct tail *tail, const char *names,
                             size_t names_bytes, struct sections *out)
{
    elf_section *section = tail->section;
    for (unsigned from = 0; from < header->e_shnum; from += SECTIONS_EACH) {
        const unsigned left = header->e_shnum - from, count = left < SECTIONS_EACH ? left : SECTIONS_EACH;
        if (from != 0 && !read_at(descriptor, section, count * sizeof section[0],
                                  header->e_shoff + from * sizeof section[0]))
            return;
        for (unsigned i = 0; i < count; i++)
            if (section[i].sh_type == SHT_PROGBITS && section[i].sh_name < names_bytes)
                look_at_section(descriptor, tail, &section[i], names + section[i].sh_name, out);
            else if (section[i].sh_type == SHT_PROGBITS && names_bytes == NAMES_BYTES)
                out->has_lines = out->has_packed_symbols = true;
    }
}

/* `names` has a byte more than it has room. */
static void look_with_names(int descriptor, const ElfW(Ehdr) * header, struct tail *tail,
                            const elf_section *strings, char *names, size_t room, struct sections *out)
{
    const size_t bytes = strings->sh_size < room ? strings->sh_size : room;
    names[bytes] = '\0';
    if (read_piece(descriptor, tail, names, bytes, strings->sh_offset))
        look_at_sections(descriptor, header, tail, names, bytes, out);
}

static NEVER_INLINE void look_with_many_names(int descriptor, const ElfW(Ehdr) * header, struct tail *tail,
                                              const elf_section *strings, struct sections *out)
{
    char names[NAMES_BYTES + 1];
    look_with_names(descriptor, header, tail, strings, names, NAMES_BYTES, out);
}

static void look_at_file(int descriptor, struct sections *out)
{
    ElfW(Ehdr) header;
    elf_section strings;
    struct tail tail;
    char names[NAMES_FEW + 1];
    if (!read_at(descriptor, &header, sizeof header, 0) || !elf_image_begins(&header) ||
        header.e_shstrndx >= header.e_shnum || !read_tail(descriptor, &header, &tail) ||
        !find_names(descriptor, &header, &tail, &strings))
        return;
    if (strings.sh_size <= NAMES_FEW)
        look_with_names(descriptor, &header, &tail, &strings, names, NAMES_FEW, out);
    else
        look_with_many_names(descriptor, &header, &tail, &strings, out);
}

static bool read_sections(const char *path, struct sections *out)
{
    *out = (struct sections){.link = ""};
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0)
        return false;
    look_at_file(descriptor, out);
    close(descriptor);
    return true;
}

/* ---------------------------------------------------------------- elsewhere */

/* True also of a path that is too long to tell. */
static bool is_there(const char *root, const char *directory, const char *below, const char *name)
{
    char path[PATH_BYTES];
    return error_format(path, sizeof path, "%s%s%s%s", root, directory, below, name) == sizeof path - 1 ||
           access(path, F_OK) == 0;
}

/* What .gnu_debuglink names: looked for where debuggers do. */
static bool is_linked_in(const char *path, const char *link)
{
    char directory[PATH_BYTES];
    const char *slash = strrchr(path, '/');
    const size_t length = slash != NULL ? (size_t)(slash + 1 - path) : 0;
    if (length == 0 || length >= sizeof directory)
        return length != 0;
    memcpy(directory, path, length);
    directory[length] = '\0';
    return is_there("", directory, ".debug/", link) || is_there("/usr/lib/debug", directory, "", link) ||
           is_there("", directory, "", link);
}

/* A library's name may be a link. */
static NEVER_INLINE bool is_linked_from(const char *library, const char *link)
{
    char path[PATH_MAX];
    return realpath(library, path) != NULL && is_linked_in(path, link);
}

/* That of the executable is one no more. */
static bool is_linked(const struct os_module *module, const char *program, const char *link)
{
    return module->path[0] == '\0' ? is_linked_in(program, link) : is_linked_from(module->path, link);
}

unsigned debug_place_look(const struct os_module *module, const char *program, unsigned asked)
{
    char place[DEBUG_PLACE_BYTES];
    struct sections sections;
    unsigned found = 0;
    if (strchr(module->path, '/') == NULL && module->path[0] != '\0')
        return 0; /* the kernel's own */
    if (asked == 0 || !read_sections(module->path[0] != '\0' ? module->path : "/proc/self/exe", &sections))
        return 0;
    if (sections.has_packed_symbols)
        found |= DEBUG_PLACE_SYMBOLS;
    if ((asked & DEBUG_PLACE_LINES) != 0 &&
        (sections.has_lines || (debug_place_of_build(module, place) && access(place, F_OK) == 0) ||
         (sections.link[0] != '\0' && is_linked(module, program, sections.link))))
        found |= DEBUG_PLACE_LINES;
    return found & asked;
}

/* SPDX-License-Identifier: MIT */
#include "debug_file.h"

#include <elfutils/libdwelf.h>
#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

enum { BUILD_ID_MOST = 64 };

/* ---------------------------------------------------------------- one file */

static void close_image(struct debug_image *image)
{
    if (image->elf != NULL)
        elf_end(image->elf);
    if (image->memory != NULL)
        munmap(image->memory, image->bytes);
    free(image->path);
    *image = (struct debug_image){0};
}

/* Private and writable: libelf notes in a section's header that the section is no longer compressed. */
static void map_file(int descriptor, struct debug_image *out)
{
    struct stat file;
    if (fstat(descriptor, &file) != 0 || !S_ISREG(file.st_mode) || file.st_size == 0) {
        errno = ENOEXEC;
        return;
    }
    void *memory =
        mmap(NULL, (size_t)file.st_size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_NORESERVE, descriptor, 0);
    if (memory == MAP_FAILED)
        return;
    out->memory = memory;
    out->bytes = (size_t)file.st_size;
}

/* errno says why not. */
static bool open_image(const char *path, struct debug_image *out)
{
    *out = (struct debug_image){0};
    const int descriptor = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (descriptor < 0)
        return false;
    map_file(descriptor, out);
    const int error = errno;
    close(descriptor);
    errno = error;
    if (out->memory == NULL)
        return false;
    out->elf = elf_memory(out->memory, out->bytes);
    out->path = strdup(path);
    if (out->elf != NULL && elf_kind(out->elf) == ELF_K_ELF && out->path != NULL)
        return true;
    close_image(out);
    errno = ENOEXEC;
    return false;
}

static bool is_debug_section(const char *name)
{
    return name != NULL && (strcmp(name, ".debug_info") == 0 || strcmp(name, ".zdebug_info") == 0);
}

static bool has_dwarf(Elf *elf)
{
    size_t names;
    GElf_Shdr header;
    if (elf_getshdrstrndx(elf, &names) != 0)
        return false;
    for (Elf_Scn *section = elf_nextscn(elf, NULL); section != NULL; section = elf_nextscn(elf, section))
        if (gelf_getshdr(section, &header) != NULL && header.sh_type != SHT_NOBITS && header.sh_size > 0 &&
            is_debug_section(elf_strptr(elf, names, header.sh_name)))
            return true;
    return false;
}

/* ---------------------------------------------------------------- is it the right one? */

struct identity {
    const unsigned char *build_id; /* NULL: there is none, so the checksum must be right */
    size_t bytes;
    uint32_t checksum;
};

static uint32_t checksum_of_byte(uint32_t word)
{
    for (int bit = 0; bit < 8; bit++)
        word = word >> 1 ^ (word & 1 ? UINT32_C(0xedb88320) : 0);
    return word;
}

/* What .gnu_debuglink holds of the whole file (CRC-32 as in zlib). */
static uint32_t checksum_of(const struct debug_image *image)
{
    uint32_t table[256];
    const unsigned char *data = image->memory;
    uint32_t sum = UINT32_MAX;
    for (uint32_t i = 0; i < 256; i++)
        table[i] = checksum_of_byte(i);
    for (size_t i = 0; i < image->bytes; i++)
        sum = sum >> 8 ^ table[(sum ^ data[i]) & 0xff];
    return ~sum;
}

static bool has_build_id(Elf *elf, const unsigned char *wanted, size_t bytes)
{
    const void *found;
    const ssize_t length = dwelf_elf_gnu_build_id(elf, &found);
    return length > 0 && (size_t)length == bytes && memcmp(found, wanted, bytes) == 0;
}

static bool is_right(const struct debug_image *image, const struct identity *wanted)
{
    return wanted->build_id != NULL ? has_build_id(image->elf, wanted->build_id, wanted->bytes)
                                    : checksum_of(image) == wanted->checksum;
}

static bool open_right(const char *path, const struct identity *wanted, struct debug_image *out)
{
    if (!open_image(path, out))
        return false;
    if (has_dwarf(out->elf) && is_right(out, wanted))
        return true;
    close_image(out);
    return false;
}

/* ---------------------------------------------------------------- where it lies */

/* ROOT/.build-id/ab/cdef….debug */
static bool open_by_build_id(const char *root, const struct identity *wanted, struct debug_image *out)
{
    char path[PATH_MAX], digits[2 * BUILD_ID_MOST + 1];
    if (wanted->build_id == NULL || wanted->bytes < 2 || wanted->bytes > BUILD_ID_MOST)
        return false;
    for (size_t i = 0; i < wanted->bytes; i++)
        snprintf(digits + 2 * i, 3, "%02x", wanted->build_id[i]);
    const int length = snprintf(path, sizeof path, "%s/.build-id/%.2s/%s.debug", root, digits, digits + 2);
    return length < (int)sizeof path && open_right(path, wanted, out);
}

/* The directory that a file is really in, with a '/' at its end. */
static void directory_of(const char *path, char out[PATH_MAX])
{
    if (realpath(path, out) == NULL)
        snprintf(out, PATH_MAX, "%s", path);
    char *slash = strrchr(out, '/');
    out[slash != NULL ? slash + 1 - out : 0] = '\0';
}

static bool open_in(const char *root, const char *directory, const char *below, const char *name,
                    const struct identity *wanted, struct debug_image *out)
{
    char path[2 * PATH_MAX];
    const int length = snprintf(path, sizeof path, "%s%s%s%s", root, directory, below, name);
    return length < (int)sizeof path && open_right(path, wanted, out);
}

static bool open_by_link(const struct debug_wanted *object, const char *name, const struct identity *wanted,
                         struct debug_image *out)
{
    char directory[PATH_MAX];
    directory_of(object->path, directory);
    return open_in("", directory, "", name, wanted, out) ||
           open_in("", directory, ".debug/", name, wanted, out) ||
           open_in(object->root, directory, "", name, wanted, out);
}

/* The debug information that was taken out of an object. */
static bool open_separate(const struct debug_wanted *object, Elf *elf, struct debug_image *out)
{
    struct identity wanted = {0};
    const void *build_id;
    const ssize_t length = dwelf_elf_gnu_build_id(elf, &build_id);
    if (length > 0) {
        wanted.build_id = build_id;
        wanted.bytes = (size_t)length;
    }
    const char *name = dwelf_elf_gnu_debuglink(elf, &wanted.checksum);
    return open_by_build_id(object->root, &wanted, out) ||
           (name != NULL && open_by_link(object, name, &wanted, out));
}

/* The object itself, or what was taken out of it. */
static bool open_dwarf(const struct debug_wanted *wanted, struct debug_image *out, char *why, size_t bytes)
{
    struct debug_image object;
    if (!open_image(wanted->path, &object)) {
        snprintf(why, bytes, "cannot read the debug information of %s: %s", wanted->path, strerror(errno));
        return false;
    }
    if (wanted->build_id != NULL && !has_build_id(object.elf, wanted->build_id, wanted->build_id_bytes)) {
        snprintf(why, bytes, "%s has been replaced: it is another build than the one that runs",
                 wanted->path);
        close_image(&object);
        return false;
    }
    if (has_dwarf(object.elf)) {
        *out = object;
        return true;
    }
    const bool found = open_separate(wanted, object.elf, out);
    close_image(&object);
    if (!found)
        snprintf(
            why, bytes,
            "%s has no debug information: install its -dbgsym or -debuginfo package, or compile it with -g",
            wanted->path);
    return found;
}

/* ---------------------------------------------------------------- what dwz has moved out of several files */

/* libdw would look for it by itself, and keep a descriptor. */
static bool open_shared(const struct debug_wanted *wanted, struct debug_file *file, char *why, size_t bytes)
{
    const char *name;
    const void *build_id;
    const ssize_t length = dwelf_dwarf_gnu_debugaltlink(file->dwarf, &name, &build_id);
    if (length <= 0)
        return true;
    char directory[PATH_MAX];
    const struct identity identity = {.build_id = build_id, .bytes = (size_t)length};
    directory_of(file->image.path, directory);
    if ((name[0] == '/' ? open_right(name, &identity, &file->shared_image)
                        : open_in("", directory, "", name, &identity, &file->shared_image)) ||
        open_by_build_id(wanted->root, &identity, &file->shared_image))
        file->shared = dwarf_begin_elf(file->shared_image.elf, DWARF_C_READ, NULL);
    if (file->shared == NULL) {
        snprintf(why, bytes, "the debug information of %s is not whole: %s, which dwz has made, is missing",
                 wanted->path, name);
        return false;
    }
    dwarf_setalt(file->dwarf, file->shared);
    return true;
}

bool debug_file_open(const struct debug_wanted *wanted, struct debug_file *out, char *why, size_t bytes)
{
    *out = (struct debug_file){0};
    elf_version(EV_CURRENT);
    if (!open_dwarf(wanted, &out->image, why, bytes))
        return false;
    out->dwarf = dwarf_begin_elf(out->image.elf, DWARF_C_READ, NULL);
    if (out->dwarf == NULL)
        snprintf(why, bytes, "cannot read the debug information of %s: %s", wanted->path, dwarf_errmsg(-1));
    else if (open_shared(wanted, out, why, bytes))
        return true;
    debug_file_close(out);
    return false;
}

void debug_file_close(struct debug_file *file)
{
    if (file->dwarf != NULL)
        dwarf_end(file->dwarf);
    if (file->shared != NULL)
        dwarf_end(file->shared);
    close_image(&file->image);
    close_image(&file->shared_image);
    *file = (struct debug_file){0};
}

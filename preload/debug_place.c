/* SPDX-License-Identifier: MIT */
#include "debug_place.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "build_id.h"
#include "elf_image.h"

bool debug_place_of_build(const struct os_module *module, char out[DEBUG_PLACE_BYTES])
{
    const unsigned char *id;
    const size_t bytes = build_id_of(module, &id);
    if (bytes < 2 || bytes > 64)
        return false;
    int length = snprintf(out, DEBUG_PLACE_BYTES, "/usr/lib/debug/.build-id/%02x/", id[0]);
    for (size_t i = 1; i < bytes; i++)
        length += snprintf(out + length, DEBUG_PLACE_BYTES - (size_t)length, "%02x", id[i]);
    snprintf(out + length, DEBUG_PLACE_BYTES - (size_t)length, ".debug");
    return true;
}

static bool is_there(const char *root, const char *directory, const char *below, const char *name)
{
    char path[2 * PATH_MAX];
    const int length = snprintf(path, sizeof path, "%s%s%s%s", root, directory, below, name);
    return length < (int)sizeof path && access(path, F_OK) == 0;
}

/* What .gnu_debuglink names: looked for where debuggers do. */
static bool is_linked(const struct elf_image *image, const char *path)
{
    char directory[PATH_MAX];
    const elf_section *section = elf_image_section(image, SHT_PROGBITS, ".gnu_debuglink");
    const char *name = section != NULL ? elf_image_contents(image, section) : NULL;
    if (name == NULL || memchr(name, '\0', section->sh_size) == NULL || realpath(path, directory) == NULL)
        return false;
    strrchr(directory, '/')[1] = '\0';
    return is_there("", directory, ".debug/", name) || is_there("/usr/lib/debug", directory, "", name) ||
           is_there("", directory, "", name);
}

bool shmpreload_may_have_lines(const struct os_module *module)
{
    char place[DEBUG_PLACE_BYTES];
    struct elf_image image;
    const char *path = module->path[0] != '\0' ? module->path : "/proc/self/exe";
    if (!elf_image_map(path, &image))
        return false;
    const bool found = elf_image_section(&image, SHT_PROGBITS, ".debug_info") != NULL ||
                       elf_image_section(&image, SHT_PROGBITS, ".zdebug_info") != NULL ||
                       (debug_place_of_build(module, place) && access(place, F_OK) == 0) ||
                       is_linked(&image, path);
    elf_image_unmap(&image);
    return found;
}

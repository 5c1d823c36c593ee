/* SPDX-License-Identifier: MIT
 *
 * The debug information of an object file, wherever it lies: in the file, or in one of its own that is found
 * by build-id or by .gnu_debuglink, as debuggers find it; with the file that dwz has moved common parts to.
 *
 * A file that belongs to another build is refused: build-ids are compared, and the checksum where there are
 * none. Files are mapped and closed at once, so no descriptor is kept that the program could close or count.
 * Nothing is fetched from a server.
 */
#ifndef SHM_DEBUG_FILE_H
#define SHM_DEBUG_FILE_H

#include <elfutils/libdw.h>
#include <stdbool.h>
#include <stddef.h>

#define DEBUG_FILE_ROOT "/usr/lib/debug"

/* A file that is mapped. */
struct debug_image {
    void *memory; /* NULL: none */
    size_t bytes;
    Elf *elf;
    char *path;
};

struct debug_file {
    struct debug_image image, shared_image; /* what the DWARF is read from, and dwz's file */
    Dwarf *dwarf, *shared;
};

struct debug_wanted {
    const char *path;              /* of the object file */
    const char *root;              /* where distributions put debug files */
    const unsigned char *build_id; /* of the object that is loaded; NULL: it has none, or it is not known */
    size_t build_id_bytes;
};

/* False: there is none, and `why` says so in a sentence. */
bool debug_file_open(const struct debug_wanted *wanted, struct debug_file *out, char *why, size_t bytes);

void debug_file_close(struct debug_file *file);

#endif

/* SPDX-License-Identifier: MIT
 *
 * The choice among symbols is libunwind's, which the shim asks: all symbol tables in the order of their
 * sections, functions only, the nearest below, the first of several at one address; it does not ask how long
 * a function is. So in a stripped library the name may be that of a neighbour: `certain` says when it is not.
 */
#include "symbols.h"

#include "lines.h"
#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <gelf.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <libiberty/demangle.h>

struct function {
    uint64_t address, bytes;
    const char *name; /* in the ELF file's memory */
    size_t order;
};

struct object {
    const struct image *image;
    int descriptor;
    Elf *elf;
    struct lines *lines; /* NULL: not asked for, or none */
    bool lines_asked;
    struct function *functions;
    size_t count;
    char *fault; /* NULL: it can be used */
};

struct symbols {
    struct object **objects;
    size_t count;
};

struct symbols *symbols_open(void)
{
    elf_version(EV_CURRENT);
    return required(calloc(1, sizeof(struct symbols)));
}

static void close_object(struct object *object)
{
    lines_close(object->lines);
    if (object->elf != NULL)
        elf_end(object->elf);
    if (object->descriptor >= 0)
        close(object->descriptor);
    free(object->functions);
    free(object->fault);
    free(object);
}

void symbols_close(struct symbols *symbols)
{
    for (size_t i = 0; i < symbols->count; i++)
        close_object(symbols->objects[i]);
    free(symbols->objects);
    free(symbols);
}

/* ---------------------------------------------------------------- the right file? */

/* The build-id in one section or segment of notes. */
static bool note_has(Elf_Data *data, const struct image *image, bool *other)
{
    GElf_Nhdr note;
    size_t name, description, at = 0;
    while (data != NULL && (at = gelf_getnote(data, at, &note, &name, &description)) > 0) {
        const char *bytes = data->d_buf;
        if (note.n_type != NT_GNU_BUILD_ID || note.n_namesz != 4 || memcmp(bytes + name, "GNU", 4) != 0)
            continue;
        if (note.n_descsz == image->build_id_bytes &&
            memcmp(bytes + description, image->build_id, note.n_descsz) == 0)
            return true;
        *other = true;
    }
    return false;
}

static bool is_the_one(Elf *elf, const struct image *image)
{
    size_t headers = 0;
    bool other = false;
    elf_getphdrnum(elf, &headers);
    for (size_t i = 0; i < headers; i++) {
        GElf_Phdr header;
        if (gelf_getphdr(elf, (int)i, &header) == NULL || header.p_type != PT_NOTE)
            continue;
        if (note_has(elf_getdata_rawchunk(elf, (int64_t)header.p_offset, header.p_filesz,
                                          header.p_align == 8 ? ELF_T_NHDR8 : ELF_T_NHDR),
                     image, &other))
            return true;
    }
    return image->build_id_bytes == 0 && !other;
}

/* ---------------------------------------------------------------- functions */

static int compare(const void *left, const void *right)
{
    const struct function *a = left, *b = right;
    if (a->address != b->address)
        return a->address < b->address ? -1 : 1;
    return (a->order > b->order) - (a->order < b->order);
}

static void add_function(struct object *object, const GElf_Sym *symbol, const char *name)
{
    if (GELF_ST_TYPE(symbol->st_info) != STT_FUNC || symbol->st_shndx == SHN_UNDEF || name == NULL ||
        name[0] == '\0')
        return;
    object->functions = room_for_one(object->functions, object->count, sizeof *object->functions);
    object->functions[object->count] =
        (struct function){symbol->st_value, symbol->st_size, name, object->count};
    object->count++;
}

static void add_table(struct object *object, Elf_Scn *section, const GElf_Shdr *header)
{
    Elf_Data *data = elf_getdata(section, NULL);
    const size_t count = data != NULL && header->sh_entsize > 0 ? data->d_size / header->sh_entsize : 0;
    for (size_t i = 0; i < count; i++) {
        GElf_Sym symbol;
        if (gelf_getsym(data, (int)i, &symbol) != NULL)
            add_function(object, &symbol, elf_strptr(object->elf, header->sh_link, symbol.st_name));
    }
}

static void read_functions(struct object *object)
{
    Elf_Scn *section = NULL;
    while ((section = elf_nextscn(object->elf, section)) != NULL) {
        GElf_Shdr header;
        if (gelf_getshdr(section, &header) != NULL &&
            (header.sh_type == SHT_SYMTAB || header.sh_type == SHT_DYNSYM))
            add_table(object, section, &header);
    }
    if (object->count > 1)
        qsort(object->functions, object->count, sizeof *object->functions, compare);
}

/* The last that begins at or below; of several at one address the first. NULL: none. */
static const struct function *function_at(const struct object *object, uint64_t address)
{
    size_t low = 0, high = object->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (object->functions[middle].address <= address)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == 0)
        return NULL;
    const struct function *found = &object->functions[low - 1];
    while (found > object->functions && found[-1].address == found->address)
        found--;
    return found;
}

char *symbols_demangle(const char *name)
{
    char *plain = strncmp(name, "_Z", 2) == 0 ? cplus_demangle_v3(name, DMGL_NO_OPTS) : NULL;
    return plain != NULL ? plain : formatted("%s", name);
}

/* ---------------------------------------------------------------- objects */

static void open_object(struct object *object)
{
    const char *path = object->image->path;
    object->descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (object->descriptor < 0) {
        object->fault = formatted("cannot open '%s': %s", path, strerror(errno));
        return;
    }
    object->elf = elf_begin(object->descriptor, ELF_C_READ_MMAP, NULL);
    if (object->elf == NULL || elf_kind(object->elf) != ELF_K_ELF)
        object->fault = formatted("'%s' is no object file", path);
    else if (!is_the_one(object->elf, object->image))
        object->fault = formatted("'%s' is not the file that was recorded: its build-id is another", path);
    else
        read_functions(object);
}

static struct object *object_of(struct symbols *symbols, const struct image *image)
{
    for (size_t i = 0; i < symbols->count; i++)
        if (symbols->objects[i]->image == image)
            return symbols->objects[i];
    struct object *object = required(calloc(1, sizeof *object));
    object->image = image;
    object->descriptor = -1;
    if (strchr(image->path, '/') != NULL) /* the kernel's own and code made at run time are no files */
        open_object(object);
    symbols->objects = room_for_one(symbols->objects, symbols->count, sizeof(struct object *));
    return symbols->objects[symbols->count++] = object;
}

void symbols_name(struct symbols *symbols, struct spot *spot)
{
    const struct object *object = object_of(symbols, spot->image);
    /* the byte before the one returned to is inside the call */
    const uint64_t address = spot->offset - 1;
    const struct function *found = object->fault == NULL ? function_at(object, address) : NULL;
    if (found == NULL || spot->function != NULL)
        return;
    spot->function = symbols_demangle(found->name);
    spot->certain = address - found->address < found->bytes;
}

void symbols_name_all(struct symbols *symbols, const struct stacks *stacks)
{
    for (size_t i = 0; i < stacks->spot_count; i++)
        symbols_name(symbols, stacks->spots[i]);
}

void symbols_locate(struct symbols *symbols, struct spot *spot)
{
    struct object *object = object_of(symbols, spot->image);
    if (object->fault != NULL || object->elf == NULL || spot->inlined != NULL || spot->file != NULL)
        return;
    if (!object->lines_asked)
        object->lines = lines_open(object->image->path);
    object->lines_asked = true;
    if (object->lines != NULL)
        lines_at(object->lines, spot);
}

void symbols_complain(const struct symbols *symbols)
{
    for (size_t i = 0; i < symbols->count; i++)
        if (symbols->objects[i]->fault != NULL)
            complain("%s; its call sites have no names", symbols->objects[i]->fault);
}

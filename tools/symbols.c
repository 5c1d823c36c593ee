/* SPDX-License-Identifier: MIT
 *
 * The choice among symbols is the shim's (preload/names.c): the full table, else the dynamic one and that of
 * the debug file which the build-id names; a function is where its symbol says and no further; of several at
 * one address the one that others see. Of MiniDebugInfo nothing is read.
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

#define NESTED_MOST 8u

struct function {
    uint64_t start, end;
    const char *name; /* in the ELF file's memory */
    unsigned rank;    /* the less, the better a name */
    bool sizeless;
};

/* An ELF file that is open. */
struct file {
    int descriptor;
    Elf *elf;
};

struct object {
    const struct image *image;
    struct file file, debug; /* the second: where distributions put what they have stripped off */
    struct lines *lines;     /* NULL: not asked for, or none */
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

static void close_file(struct file *file)
{
    if (file->elf != NULL)
        elf_end(file->elf);
    if (file->descriptor >= 0)
        close(file->descriptor);
    *file = (struct file){.descriptor = -1};
}

static void close_object(struct object *object)
{
    lines_close(object->lines);
    close_file(&object->file);
    close_file(&object->debug);
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
    if (image->any_build)
        return true;
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
    if (a->start != b->start)
        return a->start < b->start ? -1 : 1;
    if (a->rank != b->rank)
        return a->rank < b->rank ? -1 : 1;
    return strcmp(a->name, b->name);
}

static bool is_function(const GElf_Sym *symbol, const char *name)
{
    const unsigned type = GELF_ST_TYPE(symbol->st_info);
    return (type == STT_FUNC || type == STT_GNU_IFUNC) && symbol->st_shndx != SHN_UNDEF && name != NULL &&
           name[0] != '\0';
}

static unsigned rank_of(const GElf_Sym *symbol)
{
    const unsigned binding = GELF_ST_BIND(symbol->st_info);
    return binding == STB_GLOBAL ? 0 : binding == STB_WEAK ? 1 : 2;
}

/* Some functions that were written in assembler have no size: theirs ends with their section, at the latest.
 */
static uint64_t end_of(Elf *elf, const GElf_Sym *symbol)
{
    GElf_Shdr header;
    Elf_Scn *section = symbol->st_size == 0 ? elf_getscn(elf, symbol->st_shndx) : NULL;
    return section != NULL && gelf_getshdr(section, &header) != NULL ? header.sh_addr + header.sh_size
                                                                     : symbol->st_value + symbol->st_size;
}

static void add_function(struct object *object, Elf *elf, const GElf_Sym *symbol, const char *name)
{
    if (!is_function(symbol, name))
        return;
    object->functions = room_for_one(object->functions, object->count, sizeof *object->functions);
    object->functions[object->count++] = (struct function){.start = symbol->st_value,
                                                           .end = end_of(elf, symbol),
                                                           .name = name,
                                                           .rank = rank_of(symbol),
                                                           .sizeless = symbol->st_size == 0};
}

/* The first table of this type; false: there is none. */
static bool add_table(struct object *object, Elf *elf, unsigned type)
{
    Elf_Scn *section = NULL;
    GElf_Shdr header;
    do
        section = elf_nextscn(elf, section);
    while (section != NULL && (gelf_getshdr(section, &header) == NULL || header.sh_type != type));
    Elf_Data *data = section != NULL ? elf_getdata(section, NULL) : NULL;
    const size_t count = data != NULL && header.sh_entsize > 0 ? data->d_size / header.sh_entsize : 0;
    for (size_t i = 0; i < count; i++) {
        GElf_Sym symbol;
        if (gelf_getsym(data, (int)i, &symbol) != NULL)
            add_function(object, elf, &symbol, elf_strptr(elf, header.sh_link, symbol.st_name));
    }
    return section != NULL;
}

static void put_in_order(struct object *object)
{
    uint64_t next = UINT64_MAX;
    if (object->count > 1)
        qsort(object->functions, object->count, sizeof *object->functions, compare);
    for (size_t i = object->count; i-- > 0;) {
        struct function *function = &object->functions[i];
        if (i + 1 < object->count && function[1].start != function->start)
            next = function[1].start;
        if (function->sizeless && function->end > next)
            function->end = next;
    }
}

static size_t begun_at(const struct object *object, uint64_t address)
{
    size_t low = 0, high = object->count;
    while (low < high) {
        const size_t middle = low + (high - low) / 2;
        if (object->functions[middle].start <= address)
            low = middle + 1;
        else
            high = middle;
    }
    return low;
}

/* The best of those that begin at the last start whose function reaches as far. */
static const struct function *function_at(const struct object *object, uint64_t address)
{
    size_t at = begun_at(object, address);
    for (unsigned tried = 0; at > 0 && tried < NESTED_MOST; tried++) {
        const uint64_t start = object->functions[at - 1].start;
        const struct function *found = NULL;
        for (; at > 0 && object->functions[at - 1].start == start; at--)
            if (object->functions[at - 1].end > address)
                found = &object->functions[at - 1];
        if (found != NULL)
            return found;
    }
    return NULL;
}

char *symbols_demangle(const char *name)
{
    char *plain = strncmp(name, "_Z", 2) == 0 ? cplus_demangle_v3(name, DMGL_NO_OPTS) : NULL;
    return plain != NULL ? plain : formatted("%s", name);
}

/* ---------------------------------------------------------------- objects */

/* NULL, or what is wrong with the file. */
static char *open_file(struct file *file, const char *path, const struct image *image)
{
    file->descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (file->descriptor < 0)
        return formatted("cannot open '%s': %s", path, strerror(errno));
    file->elf = elf_begin(file->descriptor, ELF_C_READ_MMAP, NULL);
    if (file->elf == NULL || elf_kind(file->elf) != ELF_K_ELF)
        return formatted("'%s' is no object file", path);
    if (!is_the_one(file->elf, image))
        return formatted("'%s' is not the file that was recorded: its build-id is another", path);
    return NULL;
}

static void open_debug(struct object *object)
{
    const struct image *image = object->image;
    char *path = formatted("/usr/lib/debug/.build-id/"), *longer;
    for (size_t i = 0; i < image->build_id_bytes; i++, free(path), path = longer)
        longer = formatted("%s%02x%s", path, image->build_id[i], i == 0 ? "/" : "");
    longer = formatted("%s.debug", path);
    char *fault = open_file(&object->debug, longer, image);
    if (image->build_id_bytes < 2 || fault != NULL)
        close_file(&object->debug);
    free(fault);
    free(longer);
    free(path);
}

static void open_object(struct object *object)
{
    object->fault = open_file(&object->file, object->image->path, object->image);
    if (object->fault != NULL || add_table(object, object->file.elf, SHT_SYMTAB)) {
        put_in_order(object);
        return;
    }
    add_table(object, object->file.elf, SHT_DYNSYM);
    open_debug(object);
    if (object->debug.elf != NULL)
        add_table(object, object->debug.elf, SHT_SYMTAB);
    put_in_order(object);
}

static struct object *object_of(struct symbols *symbols, const struct image *image)
{
    for (size_t i = 0; i < symbols->count; i++)
        if (symbols->objects[i]->image == image)
            return symbols->objects[i];
    struct object *object = required(calloc(1, sizeof *object));
    object->image = image;
    object->file.descriptor = object->debug.descriptor = -1;
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
}

void symbols_name_all(struct symbols *symbols, const struct stacks *stacks)
{
    for (size_t i = 0; i < stacks->spot_count; i++)
        symbols_name(symbols, stacks->spots[i]);
}

void symbols_locate(struct symbols *symbols, struct spot *spot)
{
    struct object *object = object_of(symbols, spot->image);
    if (object->fault != NULL || object->file.elf == NULL || spot->inlined != NULL || spot->file != NULL)
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

/* SPDX-License-Identifier: MIT
 *
 * preload/debug_place: files of all shapes that linkers write, made here section by section.
 */
#include "debug_place.h"

#include <elf.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

enum { SECTIONS_MOST = 130, FILE_BYTES = 40 << 10, TABLE_AT = 16000, FAR_BEFORE = 4096 };

/* Where a piece lies: next to the table, as GNU ld has it, far from it, or behind it. */
enum place { CLOSE, FAR, BEHIND };

struct shape {
    unsigned sections;      /* with the first, which is empty, and their names */
    enum place names, link; /* where */
    unsigned marked;        /* the section that counts, */
    const char *mark;       /* its name; NULL: there is none */
    const char *linked;     /* what .gnu_debuglink names; NULL: there is none */
    unsigned names_padding; /* bytes of names that come first */
    uint64_t table;         /* 0: TABLE_AT */
};

static unsigned char file[FILE_BYTES];
static char directory[] = "/dev/shm/debug-place-XXXXXX", path[256];

static uint64_t place_of(enum place place, uint64_t table, uint64_t table_bytes, uint64_t distance)
{
    return place == CLOSE ? table - distance
           : place == FAR ? table - distance - FAR_BEFORE
                          : table + table_bytes + distance;
}

static void write_file(const struct shape *shape)
{
    const uint64_t table = shape->table != 0 ? shape->table : TABLE_AT;
    const uint64_t table_bytes = shape->sections * sizeof(Elf64_Shdr);
    const size_t link_bytes = shape->linked != NULL ? strlen(shape->linked) + 5 : 0;
    char names[8192] = "";
    size_t length = 1 + shape->names_padding;
    memset(names + 1, 'x', shape->names_padding);
    Elf64_Shdr section[SECTIONS_MOST] = {{0}};
    for (unsigned i = 1; i < shape->sections; i++) {
        const bool is_last = i == shape->sections - 1;
        const char *name = is_last                                           ? ".shstrtab"
                           : shape->mark != NULL && i == shape->marked       ? shape->mark
                           : shape->linked != NULL && i == shape->marked + 1 ? ".gnu_debuglink"
                                                                             : ".text";
        section[i].sh_name = (uint32_t)length;
        section[i].sh_type = is_last ? SHT_STRTAB : SHT_PROGBITS;
        length += (size_t)snprintf(names + length, sizeof names - length, "%s", name) + 1;
        if (strcmp(name, ".gnu_debuglink") == 0) {
            section[i].sh_size = link_bytes;
            section[i].sh_offset = place_of(shape->link, table, table_bytes, 1100);
        }
    }
    Elf64_Shdr *strings = &section[shape->sections - 1];
    strings->sh_size = length;
    strings->sh_offset =
        shape->names == CLOSE ? table - length : place_of(shape->names, table, table_bytes, 4000);
    const Elf64_Ehdr header = {
        .e_ident = {ELFMAG0, ELFMAG1, ELFMAG2, ELFMAG3, ELFCLASS64, ELFDATA2LSB, EV_CURRENT},
        .e_type = ET_DYN,
        .e_machine = EM_X86_64,
        .e_version = EV_CURRENT,
        .e_shoff = table,
        .e_ehsize = sizeof header,
        .e_shentsize = sizeof section[0],
        .e_shnum = (uint16_t)shape->sections,
        .e_shstrndx = (uint16_t)(shape->sections - 1)};
    memset(file, 0xee, sizeof file);
    memcpy(file, &header, sizeof header);
    memcpy(file + strings->sh_offset, names, length);
    for (unsigned i = 1; i < shape->sections; i++)
        if (section[i].sh_size == link_bytes && shape->linked != NULL)
            memcpy(file + section[i].sh_offset, shape->linked, strlen(shape->linked) + 1);
    memcpy(file + table, section, table_bytes);
    uint64_t end = table + table_bytes; /* nothing is behind the table that need not be */
    if (shape->names == BEHIND || shape->link == BEHIND)
        end = sizeof file;
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(file, 1, end, out), end);
    assert_int_equal(fclose(out), 0);
}

static unsigned look(const struct shape *shape)
{
    write_file(shape);
    const struct os_module module = {.path = path};
    return debug_place_look(&module, "", DEBUG_PLACE_LINES | DEBUG_PLACE_SYMBOLS);
}

static const unsigned counts[] = {5, 31, 32, 33, 40, 64, 65, 130};

static void any_number_of_sections(void **state)
{
    (void)state;
    for (size_t c = 0; c < COUNT_OF(counts); c++)
        for (enum place names = CLOSE; names <= BEHIND; names++)
            for (unsigned marked = 1; marked + 2 < counts[c]; marked++) {
                struct shape shape = {.sections = counts[c], .names = names, .marked = marked};
                assert_int_equal(look(&shape), 0);
                shape.mark = ".debug_info";
                assert_int_equal(look(&shape), DEBUG_PLACE_LINES);
                shape.mark = ".zdebug_info";
                assert_int_equal(look(&shape), DEBUG_PLACE_LINES);
                shape.mark = ".gnu_debugdata";
                assert_int_equal(look(&shape), DEBUG_PLACE_SYMBOLS);
            }
}

static void linked(void **state)
{
    (void)state;
    char there[600];
    snprintf(there, sizeof there, "%s.debug", path);
    FILE *out = fopen(there, "w");
    assert_non_null(out);
    assert_int_equal(fclose(out), 0);
    char astray[300];
    snprintf(astray, sizeof astray, "..%s", strrchr(directory, '/'));
    strcat(astray, strrchr(there, '/'));
    for (size_t c = 0; c < COUNT_OF(counts); c++)
        for (enum place names = CLOSE; names <= BEHIND; names++)
            for (enum place link = CLOSE; link <= BEHIND; link++)
                for (unsigned marked = 0; marked + 2 < counts[c]; marked++) {
                    struct shape shape = {
                        .sections = counts[c], .names = names, .link = link, .marked = marked};
                    shape.linked = strrchr(there, '/') + 1;
                    assert_int_equal(look(&shape), DEBUG_PLACE_LINES);
                    shape.linked = "another.debug";
                    assert_int_equal(look(&shape), 0);
                    shape.linked = astray; /* the same, but no name */
                    assert_int_equal(look(&shape), 0);
                }
    assert_int_equal(remove(there), 0);
}

/* Names that are not all read might be any. */
static void many_names(void **state)
{
    (void)state;
    for (enum place names = CLOSE; names <= BEHIND; names++) {
        struct shape shape = {.sections = 40, .names = names, .marked = 7};
        for (shape.names_padding = 0; shape.names_padding < 1700; shape.names_padding += 50)
            assert_int_equal(look(&shape), 0);
        shape.names_padding = 3000;
        assert_int_equal(look(&shape), DEBUG_PLACE_LINES | DEBUG_PLACE_SYMBOLS);
    }
}

/* The table begins near the file's begin, or the file ends in it. */
static void little_room(void **state)
{
    (void)state;
    struct shape shape = {.sections = 10, .names = BEHIND, .marked = 3, .mark = ".debug_info"};
    for (shape.table = 64; shape.table < 1400; shape.table += 8)
        assert_int_equal(look(&shape), DEBUG_PLACE_LINES);
    shape = (struct shape){.sections = 40, .marked = 38, .mark = ".debug_info"};
    assert_int_equal(look(&shape), DEBUG_PLACE_LINES);
    const struct os_module module = {.path = path};
    for (uint64_t end = 0; end < TABLE_AT + 40 * sizeof(Elf64_Shdr); end += end < 200 ? 1 : 60) {
        assert_int_equal(truncate(path, (off_t)end), 0);
        assert_int_equal(debug_place_look(&module, "", DEBUG_PLACE_LINES), 0);
        write_file(&shape);
    }
}

static int begin(void **state)
{
    (void)state;
    if (mkdtemp(directory) == NULL)
        return -1;
    snprintf(path, sizeof path, "%s/library.so", directory);
    return 0;
}

static int end(void **state)
{
    (void)state;
    remove(path);
    return rmdir(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_number_of_sections),
        cmocka_unit_test(linked),
        cmocka_unit_test(many_names),
        cmocka_unit_test(little_room),
    };
    return cmocka_run_group_tests(tests, begin, end);
}

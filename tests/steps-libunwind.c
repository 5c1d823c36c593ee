/* SPDX-License-Identifier: MIT
 *
 * From an address to the step from a frame to its caller's, by libunwind: what steps_at() is compared with.
 *
 * libunwind is given a frame that is made up: its registers say that the stack lies where there is no memory,
 * and the memory there, when asked for, answers with its own address in a disguise. So the registers of the
 * caller's frame show what they were made from.
 *
 * It is used through its interface for other processes, with ourselves as the other: nothing is traced. What
 * it asks for lies in the module's own memory, and is read there. One thread asks at a time.
 */
#include <elf.h>
#include <libunwind.h>
#include <link.h>
#include <string.h>

#include "os.h"
#include "steps-libunwind.h"

enum { FRAME_POINTER = 6 }; /* %rbp, as DWARF counts: stacks are walked on x86-64 alone */

#define MADE_UP_STACK UINT64_C(0x0035000000000000)
#define MADE_UP_FRAME UINT64_C(0x0036000000000000)
#define OTHER         UINT64_C(0x0037000000000000) /* what the other registers hold */
#define AROUND        UINT64_C(0x0000010000000000)
#define DISGUISE      UINT64_C(0x5a00000000000000)

static bool is_made_up(uint64_t address)
{
    return address - (MADE_UP_STACK - AROUND) < 2 * AROUND || address - (MADE_UP_FRAME - AROUND) < 2 * AROUND;
}

/* What is asked for now. */
static struct {
    uint64_t place; /* of the frame that is made up */
    struct os_module module;
} question;

static bool is_readable(uint64_t address, uint64_t bytes)
{
    const ElfW(Phdr) *headers = question.module.headers;
    for (unsigned i = 0; i < question.module.header_count; i++) {
        const uint64_t offset = address - (question.module.load_address + headers[i].p_vaddr);
        if (headers[i].p_type == PT_LOAD && (headers[i].p_flags & PF_R) != 0 && offset < headers[i].p_memsz)
            return bytes <= headers[i].p_memsz - offset;
    }
    return false;
}

/* libunwind reads whole words, so the last one of a segment reaches beyond it, but not beyond its page. */
static int read_memory(unw_addr_space_t space, unw_word_t address, unw_word_t *value, int write,
                       void *argument)
{
    (void)space, (void)argument;
    if (write)
        return -UNW_EREADONLYREG;
    if (is_made_up(address)) {
        *value = address ^ DISGUISE;
        return 0;
    }
    if (address % sizeof *value != 0 || !is_readable(address, 1))
        return -UNW_EINVAL;
    *value = *(const unw_word_t *)address;
    return 0;
}

static int read_register(unw_addr_space_t space, unw_regnum_t number, unw_word_t *value, int write,
                         void *argument)
{
    (void)space, (void)argument;
    if (write)
        return -UNW_EREADONLYREG;
    *value = number == UNW_TDEP_IP     ? question.place
             : number == UNW_TDEP_SP   ? MADE_UP_STACK
             : number == FRAME_POINTER ? MADE_UP_FRAME
                                       : OTHER + (uint64_t)number;
    return 0;
}

/* libunwind's own look-up in the sorted table of a .eh_frame_hdr; it is exported and others rely on it, but
 * no header declares it. */
#define search_table UNW_OBJ(dwarf_search_unwind_table)
extern int search_table(unw_addr_space_t space, unw_word_t address, unw_dyn_info_t *table,
                        unw_proc_info_t *out, int tables, void *argument);

/* The start of .eh_frame_hdr in its usual form: 32 bits each, the table's entries counted from its start. */
struct tables_header {
    uint8_t version, frame_encoding, count_encoding, table_encoding;
    int32_t frames;
    uint32_t count;
};
enum { VERSION = 1, COUNT_4_BYTES = 0x03, FROM_HERE_4_BYTES = 0x1b, FROM_HEADER_4_BYTES = 0x3b };

static const ElfW(Phdr) * tables_of(const struct os_module *module)
{
    const ElfW(Phdr) *headers = module->headers;
    for (unsigned i = 0; i < module->header_count; i++)
        if (headers[i].p_type == PT_GNU_EH_FRAME)
            return &headers[i];
    return NULL;
}

static int find_tables(unw_addr_space_t space, unw_word_t address, unw_proc_info_t *out, int tables,
                       void *argument)
{
    const ElfW(Phdr) *segment = tables_of(&question.module);
    const uint64_t at = segment != NULL ? question.module.load_address + segment->p_vaddr : 0;
    if (segment == NULL || segment->p_memsz < sizeof(struct tables_header) ||
        !is_readable(at, segment->p_memsz))
        return -UNW_ENOINFO;
    const struct tables_header *header = (const void *)at;
    if (header->version != VERSION || header->frame_encoding != FROM_HERE_4_BYTES ||
        header->count_encoding != COUNT_4_BYTES || header->table_encoding != FROM_HEADER_4_BYTES ||
        header->count > (segment->p_memsz - sizeof *header) / 8)
        return -UNW_ENOINFO;
    unw_dyn_info_t table = {
        .start_ip = address, .end_ip = address + 1, .format = UNW_INFO_FORMAT_REMOTE_TABLE};
    table.u.rti.segbase = at;
    table.u.rti.table_data = at + sizeof *header;
    table.u.rti.table_len = header->count * UINT64_C(8) / sizeof(unw_word_t);
    return search_table(space, address, &table, out, tables, argument);
}

static void put_tables(unw_addr_space_t space, unw_proc_info_t *info, void *argument)
{
    (void)space, (void)info, (void)argument;
}

static int no_dynamic_tables(unw_addr_space_t space, unw_word_t *list, void *argument)
{
    (void)space, (void)list, (void)argument;
    return -UNW_ENOINFO;
}

static int no_float_register(unw_addr_space_t space, unw_regnum_t number, unw_fpreg_t *value, int write,
                             void *argument)
{
    (void)space, (void)number, (void)value, (void)write, (void)argument;
    return -UNW_EBADREG;
}

/* From the made-up frame to the one around it. */
static bool step_from(unw_addr_space_t space, unw_word_t *stack, unw_word_t *frame, unw_word_t *next)
{
    unw_cursor_t cursor;
    unw_proc_info_t tables;
    return unw_init_remote(&cursor, space, NULL) == 0 && unw_get_proc_info(&cursor, &tables) == 0 &&
           unw_step(&cursor) > 0 && unw_get_reg(&cursor, UNW_REG_SP, stack) == 0 &&
           unw_get_reg(&cursor, FRAME_POINTER, frame) == 0 && unw_get_reg(&cursor, UNW_REG_IP, next) == 0;
}

static bool explain(unw_word_t stack, unw_word_t frame, unw_word_t next, struct stack_step *out)
{
    out->from_frame = stack - (MADE_UP_FRAME - AROUND) < 2 * AROUND;
    out->end = (int64_t)(stack - (out->from_frame ? MADE_UP_FRAME : MADE_UP_STACK));
    out->saves = frame != MADE_UP_FRAME;
    out->saved = (int64_t)((frame ^ DISGUISE) - stack);
    return is_made_up(stack) && next == ((stack - 8) ^ DISGUISE) &&
           (!out->saves || is_made_up(frame ^ DISGUISE));
}

/* Made once, and not kept from question to question what was read: others may lie there by then. */
static unw_addr_space_t own_space(void)
{
    static unw_accessors_t accessors = {.find_proc_info = find_tables,
                                        .put_unwind_info = put_tables,
                                        .get_dyn_info_list_addr = no_dynamic_tables,
                                        .access_mem = read_memory,
                                        .access_reg = read_register,
                                        .access_fpreg = no_float_register};
    static unw_addr_space_t space;
    if (space == NULL && (space = unw_create_addr_space(&accessors, 0)) != NULL)
        unw_set_caching_policy(space, UNW_CACHE_NONE);
    return space;
}

bool steps_by_libunwind(uintptr_t address, struct stack_step *out)
{
    unw_word_t stack, frame, next;
    const unw_addr_space_t space = own_space();
    question.place = address;
    return space != NULL && os_find_module(address, &question.module) &&
           step_from(space, &stack, &frame, &next) && explain(stack, frame, next, out);
}

/* SPDX-License-Identifier: MIT
 *
 * shmpreload-symbols.so: from an address to the name of its function, and to the step from a frame to its
 * caller's, with libunwind.
 *
 * A module of its own, loaded with RTLD_LOCAL at bring-up and only when a rule or a name wants functions:
 * libunwind exports backtrace() and _Unwind_*, which must not come between the program and its own.
 * libunwind reads the symbol table of the object file, so static functions are found too, and the
 * compressed one of MiniDebugInfo.
 */
#include "demangle.h"
#include "stack.h"

#include <libunwind-ptrace.h>

#include <stdbool.h>
#include <stdint.h>
#include <sys/uio.h>
#include <unistd.h>

__attribute__((visibility("default"))) bool shmpreload_step_at(uintptr_t address, struct stack_step *out);

__attribute__((visibility("default"))) bool shmpreload_function_at(uintptr_t address, char *name,
                                                                   size_t bytes, uint64_t *offset);

/* Through the interface for other processes, with ourselves as the other: nothing is traced, and the one for
 * the own process would open a pipe and keep it, and go on writing to its numbers when the program has closed
 * them. */
bool shmpreload_function_at(uintptr_t address, char *name, size_t bytes, uint64_t *offset)
{
    unw_word_t distance = 0;
    void *process = _UPT_create(getpid());
    if (process == NULL)
        return false;
    const int error = _UPT_get_proc_name(NULL, (unw_word_t)address, name, bytes, &distance, process);
    _UPT_destroy(process);
    if (error != 0 || name[0] == '\0')
        return false;
    *offset = distance;
    demangle(name, name, bytes);
    return true;
}

/* ---------------------------------------------------------------- steps
 *
 * libunwind is given a frame that is made up: its registers say that the stack lies where there is no memory,
 * and the memory there, when asked for, answers with its own address in a disguise. So the registers of the
 * caller's frame show what they were made from.
 */

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

static int read_memory(unw_addr_space_t space, unw_word_t address, unw_word_t *value, int write,
                       void *process)
{
    const struct iovec here = {value, sizeof *value}, there = {(void *)(uintptr_t)address, sizeof *value};
    (void)space, (void)process;
    if (write)
        return -UNW_EREADONLYREG;
    if (is_made_up(address)) {
        *value = address ^ DISGUISE;
        return 0;
    }
    return process_vm_readv(getpid(), &here, 1, &there, 1, 0) == sizeof *value ? 0 : -UNW_EINVAL;
}

static _Thread_local uint64_t place; /* of the frame that is made up */

static int read_register(unw_addr_space_t space, unw_regnum_t number, unw_word_t *value, int write,
                         void *process)
{
    (void)space, (void)process;
    if (write)
        return -UNW_EREADONLYREG;
    *value = number == UNW_TDEP_IP     ? place
             : number == UNW_TDEP_SP   ? MADE_UP_STACK
             : number == FRAME_POINTER ? MADE_UP_FRAME
                                       : OTHER + (uint64_t)number;
    return 0;
}

static int find_tables(unw_addr_space_t space, unw_word_t address, unw_proc_info_t *out, int tables,
                       void *process)
{
    return _UPT_find_proc_info(space, address, out, tables, process);
}

static int no_dynamic_tables(unw_addr_space_t space, unw_word_t *list, void *process)
{
    (void)space, (void)list, (void)process;
    return -UNW_ENOINFO;
}

static int no_float_register(unw_addr_space_t space, unw_regnum_t number, unw_fpreg_t *value, int write,
                             void *process)
{
    (void)space, (void)number, (void)value, (void)write, (void)process;
    return -UNW_EBADREG;
}

/* From the made-up frame to the one around it. */
static bool step_from(unw_addr_space_t space, void *process, unw_word_t *stack, unw_word_t *frame,
                      unw_word_t *next)
{
    unw_cursor_t cursor;
    unw_proc_info_t tables;
    return unw_init_remote(&cursor, space, process) == 0 && unw_get_proc_info(&cursor, &tables) == 0 &&
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

bool shmpreload_step_at(uintptr_t address, struct stack_step *out)
{
    unw_accessors_t accessors = {.find_proc_info = find_tables,
                                 .put_unwind_info = _UPT_put_unwind_info,
                                 .get_dyn_info_list_addr = no_dynamic_tables,
                                 .access_mem = read_memory,
                                 .access_reg = read_register,
                                 .access_fpreg = no_float_register};
    unw_word_t stack, frame, next;
    void *process = _UPT_create(getpid());
    unw_addr_space_t space = unw_create_addr_space(&accessors, 0);
    place = address;
    const bool found = process != NULL && space != NULL && step_from(space, process, &stack, &frame, &next) &&
                       explain(stack, frame, next, out);
    if (space != NULL)
        unw_destroy_addr_space(space);
    if (process != NULL)
        _UPT_destroy(process);
    return found;
}

/* SPDX-License-Identifier: MIT
 *
 * From an address to the step from a frame to its caller's: what the unwinding tables say (.eh_frame), found
 * by their sorted index (.eh_frame_hdr).
 *
 * A step is known where the tables count the frame's end from the stack pointer or from the frame register,
 * where the return address is the last word before that end, and where the frame register is as it was or in
 * the frame. That is all that compilers make of ordinary functions. What is computed in another way, such as
 * the frame of a signal, is no step: a walk ends there.
 *
 * The tables lie in the module's own memory and are read there; each read is within the segment that holds
 * them. No system call, no allocation, no lock.
 *
 * Source: DWARF Debugging Information Format 5, 6.4; Linux Standard Base Core 5.0, 10.6.
 */
#include "steps.h"

#include <elf.h>
#include <link.h>
#include <string.h>

#include "os.h"

/* As DWARF counts them: stacks are walked on x86-64 alone. */
enum { FRAME_POINTER = 6, STACK_POINTER = 7, RETURN_ADDRESS = 16 };

/* ---------------------------------------------------------------- reading */

/* What is left of a range of bytes. Reading beyond its end gives zeros and says so. */
struct reader {
    const unsigned char *at, *end;
    bool failed;
};

static void take(struct reader *reader, void *out, size_t bytes)
{
    reader->failed |= (size_t)(reader->end - reader->at) < bytes;
    if (reader->failed) {
        memset(out, 0, bytes);
        return;
    }
    memcpy(out, reader->at, bytes);
    reader->at += bytes;
}

static uint8_t take_8(struct reader *reader)
{
    uint8_t value;
    take(reader, &value, sizeof value);
    return value;
}

static uint16_t take_16(struct reader *reader)
{
    uint16_t value;
    take(reader, &value, sizeof value);
    return value;
}

static uint32_t take_32(struct reader *reader)
{
    uint32_t value;
    take(reader, &value, sizeof value);
    return value;
}

/* LEB128; what does not fit into 64 bits is cut. */
static uint64_t take_number(struct reader *reader, bool has_sign)
{
    uint64_t value = 0;
    unsigned shift = 0;
    uint8_t byte;
    do {
        byte = take_8(reader);
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        shift += 7;
    } while ((byte & 0x80) != 0);
    if (has_sign && shift < 64 && (byte & 0x40) != 0)
        value |= UINT64_MAX << shift;
    return value;
}

static uint64_t take_unsigned(struct reader *reader)
{
    return take_number(reader, false);
}

static int64_t take_signed(struct reader *reader)
{
    return (int64_t)take_number(reader, true);
}

static void skip(struct reader *reader, uint64_t bytes)
{
    reader->failed |= bytes > (size_t)(reader->end - reader->at);
    if (!reader->failed)
        reader->at += bytes;
}

/* ---------------------------------------------------------------- where the tables are */

/* The rest of the segment from an address on; empty where nothing can be read. */
static struct reader read_at(const struct os_module *module, uintptr_t address)
{
    for (unsigned i = 0; i < module->header_count; i++) {
        const ElfW(Phdr) *header = (const ElfW(Phdr) *)module->headers + i;
        const uint64_t offset = address - (module->load_address + header->p_vaddr);
        if (header->p_type == PT_LOAD && (header->p_flags & PF_R) != 0 && offset < header->p_filesz)
            return (struct reader){(const unsigned char *)address,
                                   (const unsigned char *)address + (header->p_filesz - offset), false};
    }
    return (struct reader){.failed = true};
}

/* .eh_frame_hdr in its usual form: 32 bits each, the entries counted from its start, in their order. */
struct index_header {
    uint8_t version, frame_encoding, count_encoding, table_encoding;
    int32_t frames;
    uint32_t count;
};
struct index_entry {
    int32_t start, description;
};
enum { VERSION = 1, COUNT_4_BYTES = 0x03, FROM_HERE_4_BYTES = 0x1b, FROM_HEADER_4_BYTES = 0x3b };

static const ElfW(Phdr) * index_of(const struct os_module *module)
{
    const ElfW(Phdr) *headers = module->headers;
    for (unsigned i = 0; i < module->header_count; i++)
        if (headers[i].p_type == PT_GNU_EH_FRAME)
            return &headers[i];
    return NULL;
}

/* The last entry that begins at the address or before it. */
static const struct index_entry *entry_of(const struct index_entry *entries, uint32_t count, int64_t distance)
{
    uint32_t low = 0, high = count;
    while (low < high) {
        const uint32_t middle = low + (high - low) / 2;
        if (entries[middle].start <= distance)
            low = middle + 1;
        else
            high = middle;
    }
    return low > 0 ? &entries[low - 1] : NULL;
}

/* A function's description in .eh_frame, and where the function starts. */
static bool find_description(const struct os_module *module, uintptr_t address, uintptr_t *start,
                             struct reader *out)
{
    struct index_header header;
    const ElfW(Phdr) *segment = index_of(module);
    if (segment == NULL)
        return false;
    const uintptr_t at = module->load_address + segment->p_vaddr;
    struct reader index = read_at(module, at);
    take(&index, &header, sizeof header);
    if (index.failed || at % sizeof(int32_t) != 0 || header.version != VERSION ||
        header.frame_encoding != FROM_HERE_4_BYTES || header.count_encoding != COUNT_4_BYTES ||
        header.table_encoding != FROM_HEADER_4_BYTES ||
        header.count > (size_t)(index.end - index.at) / sizeof(struct index_entry))
        return false;
    const struct index_entry *entry =
        entry_of((const struct index_entry *)index.at, header.count, (int64_t)(address - at));
    if (entry == NULL)
        return false;
    *start = at + (uintptr_t)(intptr_t)entry->start;
    *out = read_at(module, at + (uintptr_t)(intptr_t)entry->description);
    return !out->failed;
}

/* ---------------------------------------------------------------- descriptions */

/* What many functions have in common (a CIE). */
struct common {
    uint64_t code_unit;
    int64_t data_unit;
    bool has_more; /* more data, with its length in front */
    uint8_t pointers;
    struct reader program;
};

/* Cuts off the description that begins here; an empty one ends the list. */
static bool take_description(struct reader *reader)
{
    const uint32_t bytes = take_32(reader);
    if (reader->failed || bytes == 0 || bytes > (size_t)(reader->end - reader->at))
        return false; /* also the long form, which begins with 0xffffffff */
    reader->end = reader->at + bytes;
    return true;
}

/* How many bytes a pointer has; 0: it is of a form that nobody uses here. */
static unsigned pointer_bytes(uint8_t encoding)
{
    enum { ALIGNED = 0x50, APPLIED = 0x70 };
    static const unsigned char bytes[16] = {
        [0x0] = 8, [0x2] = 2, [0x3] = 4, [0x4] = 8, [0x8] = 8, [0xa] = 2, [0xb] = 4, [0xc] = 8};
    return (encoding & APPLIED) == ALIGNED ? 0 : bytes[encoding & 0x0f];
}

/* The letters behind "z" each say what the additional data hold, in their order. */
static bool take_more(struct reader *reader, const char *letters, struct common *out)
{
    const uint64_t bytes = take_unsigned(reader);
    struct reader more = *reader;
    skip(reader, bytes);
    for (; *letters != '\0'; letters++) {
        uint8_t encoding;
        switch (*letters) {
        case 'R':
            out->pointers = take_8(&more);
            break;
        case 'L':
            take_8(&more);
            break;
        case 'P':
            encoding = take_8(&more);
            skip(&more, pointer_bytes(encoding));
            more.failed |= pointer_bytes(encoding) == 0;
            break;
        case 'S':
        case 'B':
            break;
        default:
            return false;
        }
    }
    return !more.failed;
}

static bool read_common(struct reader reader, struct common *out)
{
    if (!take_description(&reader) || take_32(&reader) != 0)
        return false;
    const uint8_t version = take_8(&reader);
    const char *letters = (const char *)reader.at;
    const void *end = memchr(letters, '\0', (size_t)(reader.end - reader.at));
    if (end == NULL || (version != 1 && version != 3) || (letters[0] != '\0' && letters[0] != 'z'))
        return false;
    skip(&reader, strlen(letters) + 1);
    *out = (struct common){.has_more = letters[0] == 'z'};
    out->code_unit = take_unsigned(&reader);
    out->data_unit = take_signed(&reader);
    if ((version == 1 ? take_8(&reader) : take_unsigned(&reader)) != RETURN_ADDRESS ||
        (out->has_more && !take_more(&reader, letters + 1, out)))
        return false;
    out->program = reader;
    return !reader.failed;
}

/* Does the function reach as far? Then `reader` is at its program. */
static bool enter_function(struct reader *reader, const struct common *common, uint64_t distance)
{
    const unsigned bytes = pointer_bytes(common->pointers);
    uint64_t length = 0;
    if (bytes == 0)
        return false;
    skip(reader, bytes); /* where it starts: the index knows */
    take(reader, &length, bytes);
    if (common->has_more)
        skip(reader, take_unsigned(reader));
    return !reader->failed && distance < length;
}

/* ---------------------------------------------------------------- programs */

enum place { AS_IT_WAS, IN_THE_FRAME, ELSEWHERE };

/* What holds at one address: the end of the frame, and where two of the caller's registers are. */
struct rules {
    uint64_t base; /* the register that the end is counted from; UINT64_MAX: it is computed */
    int64_t end;
    enum place frame_place, return_place;
    int64_t frame, return_address; /* from the end */
};

#define REMEMBERED_MOST 8u
struct machine {
    struct rules now, initial, remembered[REMEMBERED_MOST];
    unsigned remembered_count;
    const struct common *common;
    uint64_t at, wanted; /* from the start of the function */
    bool failed;
};

static void set_place(struct machine *machine, uint64_t number, enum place place, int64_t offset)
{
    struct rules *now = &machine->now;
    if (number == FRAME_POINTER) {
        now->frame_place = place;
        now->frame = offset;
    } else if (number == RETURN_ADDRESS) {
        now->return_place = place;
        now->return_address = offset;
    } else if (number == STACK_POINTER) {
        machine->failed = true; /* else it is the end of the frame */
    }
}

static void restore(struct machine *machine, uint64_t number)
{
    const struct rules *initial = &machine->initial;
    if (number == FRAME_POINTER)
        set_place(machine, number, initial->frame_place, initial->frame);
    else if (number == RETURN_ADDRESS)
        set_place(machine, number, initial->return_place, initial->return_address);
}

static void remember(struct machine *machine)
{
    machine->failed |= machine->remembered_count == REMEMBERED_MOST;
    if (!machine->failed)
        machine->remembered[machine->remembered_count++] = machine->now;
}

static void recall(struct machine *machine)
{
    machine->failed |= machine->remembered_count == 0;
    if (!machine->failed)
        machine->now = machine->remembered[--machine->remembered_count];
}

static void set_end(struct machine *machine, uint64_t base, int64_t end)
{
    machine->now.base = base;
    machine->now.end = end;
}

static void advance(struct machine *machine, uint64_t units)
{
    machine->at += units * machine->common->code_unit;
}

/* The instructions whose upper two bits are zero. */
static void step_extended(struct machine *machine, uint8_t instruction, struct reader *reader)
{
    const int64_t unit = machine->common->data_unit;
    uint64_t number;
    switch (instruction) {
    case 0x00: /* nothing */
        return;
    case 0x02:
        advance(machine, take_8(reader));
        return;
    case 0x03:
        advance(machine, take_16(reader));
        return;
    case 0x04:
        advance(machine, take_32(reader));
        return;
    case 0x05: /* saved at a distance */
        number = take_unsigned(reader);
        set_place(machine, number, IN_THE_FRAME, (int64_t)take_unsigned(reader) * unit);
        return;
    case 0x06:
        restore(machine, take_unsigned(reader));
        return;
    case 0x07: /* lost */
        set_place(machine, take_unsigned(reader), ELSEWHERE, 0);
        return;
    case 0x08:
        set_place(machine, take_unsigned(reader), AS_IT_WAS, 0);
        return;
    case 0x09: /* in another register */
    case 0x14: /* the distance itself is the value */
        set_place(machine, take_unsigned(reader), ELSEWHERE, 0);
        take_unsigned(reader);
        return;
    case 0x15:
        set_place(machine, take_unsigned(reader), ELSEWHERE, 0);
        take_signed(reader);
        return;
    case 0x0a:
        remember(machine);
        return;
    case 0x0b:
        recall(machine);
        return;
    case 0x0c: /* the end, by register and distance */
        number = take_unsigned(reader);
        set_end(machine, number, (int64_t)take_unsigned(reader));
        return;
    case 0x0d:
        set_end(machine, take_unsigned(reader), machine->now.end);
        return;
    case 0x0e:
        set_end(machine, machine->now.base, (int64_t)take_unsigned(reader));
        return;
    case 0x0f: /* computed */
        set_end(machine, UINT64_MAX, 0);
        skip(reader, take_unsigned(reader));
        return;
    case 0x10:
    case 0x16: /* computed: where it is, or the value itself */
        set_place(machine, take_unsigned(reader), ELSEWHERE, 0);
        skip(reader, take_unsigned(reader));
        return;
    case 0x11:
        number = take_unsigned(reader);
        set_place(machine, number, IN_THE_FRAME, take_signed(reader) * unit);
        return;
    case 0x12:
        number = take_unsigned(reader);
        set_end(machine, number, take_signed(reader) * unit);
        return;
    case 0x13:
        set_end(machine, machine->now.base, take_signed(reader) * unit);
        return;
    case 0x2e: /* how much the arguments take (GNU) */
        take_unsigned(reader);
        return;
    default:
        machine->failed = true;
    }
}

static void run(struct machine *machine, struct reader reader)
{
    while (reader.at < reader.end && machine->at <= machine->wanted && !machine->failed) {
        const uint8_t instruction = take_8(&reader), low = instruction & 0x3f;
        switch (instruction >> 6) {
        case 0:
            step_extended(machine, instruction, &reader);
            break;
        case 1:
            advance(machine, low);
            break;
        case 2:
            set_place(machine, low, IN_THE_FRAME,
                      (int64_t)take_unsigned(&reader) * machine->common->data_unit);
            break;
        default:
            restore(machine, low);
        }
        machine->failed |= reader.failed;
    }
}

static bool explain(const struct machine *machine, struct stack_step *out)
{
    const struct rules *now = &machine->now;
    *out = (struct stack_step){.from_frame = now->base == FRAME_POINTER,
                               .end = now->end,
                               .saves = now->frame_place == IN_THE_FRAME,
                               .saved = now->frame_place == IN_THE_FRAME ? now->frame : 0};
    return !machine->failed && (now->base == FRAME_POINTER || now->base == STACK_POINTER) &&
           now->frame_place != ELSEWHERE && now->return_place == IN_THE_FRAME &&
           now->return_address == -(int64_t)sizeof(uintptr_t);
}

bool steps_at(uintptr_t address, struct stack_step *out)
{
    struct os_module module;
    struct reader description;
    struct common common;
    uintptr_t start;
    if (!os_find_module(address, &module) || !find_description(&module, address, &start, &description) ||
        !take_description(&description))
        return false;
    const uintptr_t here = (uintptr_t)description.at;
    if (!read_common(read_at(&module, here - take_32(&description)), &common) ||
        !enter_function(&description, &common, address - start))
        return false;
    struct machine machine = {
        .common = &common, .wanted = UINT64_MAX, .now = {.base = UINT64_MAX, .return_place = ELSEWHERE}};
    run(&machine, common.program);
    machine.initial = machine.now;
    machine.at = 0;
    machine.wanted = address - start;
    run(&machine, description);
    return explain(&machine, out);
}

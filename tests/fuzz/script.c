/* SPDX-License-Identifier: MIT */
#include "script.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "layout.h"
#include "world.h"

/* Kinds of place beside those of the base. */
#define PLACE_ANYWHERE PLACES       /* page `index` of those in use */
#define PLACE_FILE     (PLACES + 1) /* the file itself: its length */
#define PLACE_KINDS    (PLACES + 2)

enum how {
    HOW_WORD,      /* the value, 32 bits */
    HOW_LONG,      /* the value, sign-extended to 64 */
    HOW_HIGH,      /* the value in the upper half */
    HOW_BYTE,      /* one byte */
    HOW_ADD,       /* value[0], signed, is added */
    HOW_BIT,       /* bit value[0] of 64 is turned over */
    HOW_REFERENCE, /* of place value[1] of kind value[0], as records are named; + value[2], signed */
    HOW_QUANTUM,   /* the same, as a quantum */
    HOW_OFFSET,    /* the same, in bytes, 64 bits */
    HOW_LABEL,     /* the same, as labels are named */
    HOW_OWNER,     /* pool, tables, shard or row value[1] */
    HOW_PROCESS,   /* the number of a process of the world */
    HOW_COPY,      /* 8 bytes of word value[2] of that place */
    HOW_FILL,      /* value[0] bytes of value[1] */
    HOW_LOCK,      /* what a mutex's word can be */
    HOW_SHORT,     /* 16 bits */
    HOWS
};

static const char *const how_words[HOWS] = {"word",      "long",    "high",   "byte",  "add",   "bit",
                                            "reference", "quantum", "offset", "label", "owner", "process",
                                            "copy",      "fill",    "lock",   "short"};
static const char *const place_words[PLACE_KINDS] = {
    "header",      "pool",         "shard",       "lock",      "undo",    "row",
    "held",        "region owner", "region free", "reserved",  "quantum", "slab",
    "record",      "extent slot",  "row slot",    "long name", "bucket",  "label",
    "export slab", "block",        "any quantum", "anywhere",  "file"};

void script_read(struct script *script, const uint8_t *data, size_t size)
{
    *script = (struct script){.base = &bases[size > 0 ? data[0] % BASES : 0]};
    for (size_t at = 1; at + 2 <= size && at < SCRIPT_HEAD && data[at] != 0; at += 2)
        script->operation[script->operations++] = (struct operation){data[at], data[at + 1]};
    for (size_t at = SCRIPT_HEAD; at + SCRIPT_EDIT <= size && script->edits < SCRIPT_EDITS; at += SCRIPT_EDIT)
        memcpy(&script->edit[script->edits++], data + at, SCRIPT_EDIT);
}

static unsigned kind_of(const struct edit *edit)
{
    return (edit->kind & ~EDIT_LATER) % PLACE_KINDS;
}

static uint32_t value_of(const struct edit *edit)
{
    uint32_t value;
    memcpy(&value, edit->value, sizeof value);
    return value;
}

static uint64_t place_named(const struct base *base, const struct edit *edit)
{
    return base_place(base, edit->value[0], edit->value[1]).offset;
}

static uint32_t owner_named(const struct edit *edit)
{
    const uint32_t index = edit->value[1];
    switch (edit->value[0] % 4) {
    case 0:
        return OWNER_POOL;
    case 1:
        return OWNER_TABLES;
    case 2:
        return OWNER_SHARD + index % (SHARDS_MOST + 1);
    default:
        return OWNER_PROCESS + index;
    }
}

static uint32_t process_named(const struct edit *edit)
{
    static const int32_t special[] = {0, -1, 1, INT32_MIN, INT32_MAX};
    const unsigned index = edit->value[0] % 12;
    return (uint32_t)(index < 7 ? WORLD_SELF + (int32_t)index : special[index - 7]);
}

static uint32_t lock_word(const struct edit *edit)
{
    static const uint32_t bits[] = {0, 0x40000000 /* its owner died */, 0x80000000 /* somebody waits */,
                                    0xc0000000};
    const uint32_t holder[] = {0, (uint32_t)gettid(), 1234567, 0x3fffffff};
    return bits[edit->value[0] % 4] | holder[edit->value[1] % 4];
}

/* The new value of the 8 bytes that were `old`; *bytes of it count. */
static uint64_t new_value(const struct base *base, const struct edit *edit, uint64_t old, size_t *bytes)
{
    const uint32_t value = value_of(edit);
    const uint64_t far = (uint64_t)(int64_t)(int8_t)edit->value[2];
    *bytes = 4;
    switch (edit->how % HOWS) {
    case HOW_LONG:
        *bytes = 8;
        return (uint64_t)(int64_t)(int32_t)value;
    case HOW_HIGH:
        *bytes = 8;
        return (uint64_t)value << 32 | (old & UINT32_MAX);
    case HOW_BYTE:
        *bytes = 1;
        return value;
    case HOW_SHORT:
        *bytes = 2;
        return value;
    case HOW_ADD:
        return old + (uint64_t)(int64_t)(int8_t)edit->value[0];
    case HOW_BIT:
        *bytes = 8;
        return old ^ (uint64_t)1 << edit->value[0] % 64;
    case HOW_REFERENCE:
        return place_named(base, edit) / RECORD_UNIT + far;
    case HOW_QUANTUM:
        return (place_named(base, edit) >> QUANTUM_SHIFT) + far;
    case HOW_OFFSET:
        *bytes = 8;
        return place_named(base, edit) + far * 4;
    case HOW_LABEL:
        return (place_named(base, edit) >> LABEL_SHIFT) + far;
    case HOW_OWNER:
        return owner_named(edit);
    case HOW_PROCESS:
        return process_named(edit);
    case HOW_LOCK:
        return lock_word(edit);
    default:
        return value;
    }
}

static uint64_t target_of(const struct base *base, const struct edit *edit)
{
    const unsigned kind = kind_of(edit);
    if (kind == PLACE_ANYWHERE)
        return base->pages == 0 ? edit->word * 4u
                                : base->page[edit->index % base->pages] * PAGE_BYTES + edit->word * 16u;
    const struct place place = base_place(base, kind, edit->index);
    return place.offset + (place.bytes < 4 ? 0 : edit->word % (place.bytes / 4) * 4u);
}

static void put(int descriptor, const void *bytes, size_t count, uint64_t offset)
{
    if (pwrite(descriptor, bytes, count, (off_t)offset) != (ssize_t)count)
        world_complain("the file of a run could not be damaged");
}

static void damage(const struct base *base, const struct edit *edit, int descriptor)
{
    unsigned char bytes[256];
    size_t count = edit->value[0];
    uint64_t value = 0;
    struct stat status;
    const uint64_t target = target_of(base, edit);
    if (kind_of(edit) == PLACE_FILE) {
        if (ftruncate(descriptor, (off_t)(value_of(edit) >> 4) << (edit->how % 16)) != 0)
            world_complain("the file of a run could not be cut");
        return;
    }
    if (fstat(descriptor, &status) != 0 || target + sizeof bytes > (uint64_t)status.st_size)
        return;
    if (edit->how % HOWS == HOW_FILL) {
        memset(bytes, edit->value[1], sizeof bytes);
    } else if (edit->how % HOWS == HOW_COPY) {
        const struct place from = base_place(base, edit->value[0], edit->value[1]);
        const uint64_t inside = from.bytes < 8 ? 0 : edit->value[2] % (from.bytes / 4 - 1) * 4u;
        count = 8;
        memcpy(bytes, base->image + from.offset + inside, count);
    } else {
        if (pread(descriptor, &value, sizeof value, (off_t)target) != sizeof value)
            return;
        value = new_value(base, edit, value, &count);
        memcpy(bytes, &value, count);
    }
    put(descriptor, bytes, count, target);
}

void script_damage(const struct script *script, int descriptor)
{
    for (size_t i = 0; i < script->edits; i++)
        if ((script->edit[i].kind & EDIT_LATER) == 0)
            damage(script->base, &script->edit[i], descriptor);
}

/* The file is never cut while it is mapped: that is SIGBUS by the kernel's own rules. */
void script_damage_later(const struct script *script, int descriptor, unsigned later)
{
    unsigned number = 0;
    for (size_t i = 0; i < script->edits; i++) {
        const struct edit *edit = &script->edit[i];
        if ((edit->kind & EDIT_LATER) == 0 || kind_of(edit) == PLACE_FILE)
            continue;
        if (later == SCRIPT_ALL_LATER || later % 8 == number % 8)
            damage(script->base, edit, descriptor);
        number++;
    }
}

void script_explain(const struct script *script)
{
    fprintf(stderr, "base '%s'\n", script->base->title);
    for (size_t i = 0; i < script->edits; i++) {
        const struct edit *edit = &script->edit[i];
        const unsigned kind = kind_of(edit);
        const size_t places = kind < PLACES ? script->base->places[kind] : 0;
        fprintf(stderr, "  %s%s %u, at %#lx (word %u): %s %u %u %u %u",
                (edit->kind & EDIT_LATER) != 0 ? "later, " : "", place_words[kind],
                places != 0 ? edit->index % (unsigned)places : edit->index,
                (unsigned long)target_of(script->base, edit), edit->word, how_words[edit->how % HOWS],
                edit->value[0], edit->value[1], edit->value[2], edit->value[3]);
        if (kind < PLACES && script->base->places[kind] != 0) {
            const struct place place = base_place(script->base, kind, edit->index);
            fprintf(stderr, " [+%lu of %u]", (unsigned long)(target_of(script->base, edit) - place.offset),
                    place.bytes);
        }
        fputc('\n', stderr);
    }
    for (size_t i = 0; i < script->operations; i++)
        fprintf(stderr, "  operation %u with %u\n", script->operation[i].what, script->operation[i].with);
}

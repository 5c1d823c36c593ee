/* SPDX-License-Identifier: MIT */
#include "registry.h"

#include <assert.h>
#include <string.h>

#include "error.h"
#include "os.h"

#define ENTRIES  128u
#define AT_ONCE  8u /* entries that are read with one call */
#define PATIENCE UINT64_C(2000000000)

enum entry_kind { ENTRY_FREE, ENTRY_BASE, ENTRY_SAID };

struct entry {
    uint32_t kind;
    int32_t pid;    /* SAID */
    uint64_t base;  /* BASE */
    uint64_t bytes; /* BASE */
    uint64_t inode; /* BASE: of the segment's file */
    uint64_t key;   /* SAID */
    uint64_t start; /* SAID: the speaker's start time */
    uint64_t since; /* SAID: when, since boot */
    char path[452]; /* BASE */
    int32_t heir;   /* SAID: 0: none is known */
};

static_assert(sizeof(struct entry) == 512, "a registry entry");

static void registry_path(char out[64])
{
    error_format(out, 64, "/dev/shm/shmcore-%u.registry", os_user());
}

static bool is_ours(int descriptor, const char *path)
{
    struct os_file file, named;
    return os_stat_file(descriptor, &file) == 0 && file.regular && file.uid == os_user() &&
           (file.mode & 077) == 0 && file.links == 1 && os_stat_path(path, &named) == 0 &&
           named.inode == file.inode && named.device == file.device;
}

struct registry registry_open(bool create)
{
    struct registry registry = {.descriptor = -1};
    char path[64];
    registry_path(path);
    for (int tries = 0; tries < 8; tries++) {
        const int descriptor = os_open_file(path, create ? OS_CREATE : OS_WRITE);
        if (descriptor < 0)
            return registry;
        if (!is_ours(descriptor, path)) { /* then anybody may hold its lock */
            os_close(descriptor);
            continue;
        }
        const int error = os_lock_file(descriptor, PATIENCE);
        if (error == 0 && is_ours(descriptor, path)) {
            registry.descriptor = descriptor;
            return registry;
        }
        os_close(descriptor); /* removed between open and lock, or not ours at all */
        if (error != 0)       /* its holder is stopped: to wait again is no better */
            return registry;
    }
    return registry;
}

void registry_close(struct registry *registry)
{
    if (registry->descriptor < 0)
        return;
    os_unlock_file(registry->descriptor); /* a forked child may hold a copy of the descriptor */
    os_close(registry->descriptor);
    registry->descriptor = -1;
}

/* The entries, some at a time, as they stand at one moment. */
struct reader {
    const struct registry *registry;
    uint64_t now;          /* ns since boot */
    uint32_t first, count; /* of those at hand */
    struct entry entry[AT_ONCE];
};

static struct reader read_from(const struct registry *registry)
{
    struct reader reader;
    reader.registry = registry;
    reader.now = os_clock();
    reader.first = reader.count = 0;
    return reader;
}

/* NULL: there are no more. */
static const struct entry *entry_at(struct reader *reader, uint32_t index)
{
    const bool is_end = reader->count % AT_ONCE != 0 && index == reader->first + reader->count;
    if (index >= ENTRIES || is_end)
        return NULL;
    if (index - reader->first >= reader->count) {
        const int64_t got = os_read_at(reader->registry->descriptor, reader->entry, sizeof reader->entry,
                                       index * sizeof *reader->entry);
        reader->first = index;
        reader->count = got > 0 ? (uint32_t)((size_t)got / sizeof *reader->entry) : 0;
    }
    if (index - reader->first >= reader->count)
        return NULL;
    struct entry *entry = &reader->entry[index - reader->first];
    entry->path[sizeof entry->path - 1] = '\0';
    return entry;
}

static void write_entry(struct reader *reader, uint32_t index, const struct entry *entry)
{
    os_write_at(reader->registry->descriptor, entry, sizeof *entry, index * sizeof *entry);
    reader->count = 0; /* what is at hand is as it was before */
}

static bool speaker_lives(const struct entry *entry)
{
    uint64_t start;
    bool ended;
    return os_process_start(entry->pid, &start, &ended) == 0 && start == entry->start && !ended;
}

static bool speaker_counts(const struct entry *entry, uint64_t now)
{
    return (entry->since <= now && now - entry->since < REGISTRY_SILENCE) || speaker_lives(entry);
}

static bool is_stale(const struct entry *entry, uint64_t now)
{
    struct os_file file;
    if (entry->kind == ENTRY_BASE)
        return os_stat_path(entry->path, &file) != 0 || file.inode != entry->inode;
    return entry->kind != ENTRY_SAID || !speaker_counts(entry, now);
}

/* The first entry from there on that may be written over; ENTRIES when all are in use. */
static uint32_t free_entry(struct reader *reader, uint32_t from)
{
    const struct entry *entry;
    while ((entry = entry_at(reader, from)) != NULL && !is_stale(entry, reader->now))
        from++;
    return from;
}

uint64_t registry_free_base(const struct registry *registry, uint64_t from, uint64_t bytes)
{
    struct reader reader = read_from(registry);
    const struct entry *entry;
    uint64_t base = align_up(most(from, WINDOW_BASE), WINDOW_SLOT);
    for (uint32_t i = 0; registry->descriptor >= 0 && (entry = entry_at(&reader, i)) != NULL;) {
        const bool clash = entry->kind == ENTRY_BASE && entry->base < base + bytes &&
                           base < entry->base + entry->bytes && !is_stale(entry, reader.now);
        if (clash && entry->bytes < WINDOW_END - WINDOW_BASE) {
            base = align_up(entry->base + entry->bytes, WINDOW_SLOT);
            i = 0; /* the new place may clash with an earlier entry */
        } else {
            i++;
        }
    }
    return base < WINDOW_END && bytes <= WINDOW_END - base ? base : 0;
}

/* What was said the longest ago; ENTRIES when nothing was. */
static uint32_t oldest_said(struct reader *reader)
{
    uint32_t oldest = ENTRIES;
    uint64_t since = UINT64_MAX;
    const struct entry *entry;
    for (uint32_t i = 0; (entry = entry_at(reader, i)) != NULL; i++)
        if (entry->kind == ENTRY_SAID && entry->since < since) {
            oldest = i;
            since = entry->since;
        }
    return oldest;
}

void registry_note_base(const struct registry *registry, uint64_t base, uint64_t bytes, const char *path)
{
    struct entry entry = {.kind = ENTRY_BASE, .base = base, .bytes = bytes};
    struct os_file file;
    if (registry->descriptor < 0 || strlen(path) >= sizeof entry.path || os_stat_path(path, &file) != 0)
        return;
    struct reader reader = read_from(registry);
    uint32_t index = free_entry(&reader, 0);
    if (index == ENTRIES) /* better that somebody says something twice than that two segments overlap */
        index = oldest_said(&reader);
    if (index == ENTRIES)
        return;
    entry.inode = file.inode;
    memcpy(entry.path, path, strlen(path));
    write_entry(&reader, index, &entry);
}

static bool is_of_use(const struct entry *entry, bool to_the_last, uint64_t now)
{
    if (entry->kind == ENTRY_SAID && to_the_last)
        return entry->pid != os_process() && speaker_lives(entry);
    return !is_stale(entry, now);
}

void registry_tidy(bool to_the_last)
{
    struct registry registry = registry_open(false);
    struct reader reader = read_from(&registry);
    const struct entry *entry;
    char path[64];
    if (registry.descriptor < 0)
        return;
    bool used = false;
    for (uint32_t i = 0; !used && (entry = entry_at(&reader, i)) != NULL; i++)
        used = is_of_use(entry, to_the_last, reader.now);
    registry_path(path);
    if (!used)
        os_unlink(path);
    registry_close(&registry);
}

/* ---------------------------------------------------------------- what is said */

static struct entry said_now(uint64_t now)
{
    bool ended;
    struct entry said = {.kind = ENTRY_SAID, .pid = os_process(), .since = now};
    os_process_start(said.pid, &said.start, &ended);
    return said;
}

/* What an entry says to a sentence. */
static void compare(struct registry_sentence *sentence, const struct entry *entry, uint32_t index,
                    uint64_t now)
{
    const bool same = entry->key == sentence->key;
    if (sentence->again && same) {
        sentence->place = index;
        sentence->heir = entry->heir;
    }
    if (sentence->again || (!same && (sentence->unless == 0 || entry->key != sentence->unless)) ||
        !speaker_counts(entry, now))
        return;
    sentence->first = false;
    sentence->heir = entry->heir;
    sentence->excused |= !same;
}

void registry_say_all(struct registry_sentence *sentences, uint32_t count)
{
    const struct entry *entry;
    for (uint32_t i = 0; i < count; i++) {
        sentences[i].first = !sentences[i].again;
        sentences[i].excused = false;
        sentences[i].heir = 0;
        sentences[i].place = ENTRIES;
    }
    struct registry registry = registry_open(true);
    if (registry.descriptor < 0)
        return;
    struct reader reader = read_from(&registry);
    for (uint32_t index = 0; (entry = entry_at(&reader, index)) != NULL; index++)
        for (uint32_t i = 0; entry->kind == ENTRY_SAID && i < count; i++)
            compare(&sentences[i], entry, index, reader.now);
    struct entry said = {.kind = ENTRY_FREE};
    uint32_t next = 0;
    int32_t parent = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t place = sentences[i].place;
        if (!sentences[i].again && !sentences[i].first)
            continue;
        if (place == ENTRIES && (place = free_entry(&reader, next)) < ENTRIES)
            next = place + 1;
        if (place == ENTRIES)
            continue;
        if (said.kind == ENTRY_FREE) {
            said = said_now(reader.now);
            parent = os_parent();
        }
        said.key = sentences[i].key;
        said.heir = sentences[i].heir == parent ? parent : 0;
        write_entry(&reader, place, &said);
    }
    registry_close(&registry);
}

bool registry_first_to_say(uint64_t key)
{
    struct registry_sentence sentence = {.key = key};
    registry_say_all(&sentence, 1);
    return sentence.first;
}

void registry_leave_to(int32_t heir)
{
    struct registry registry = registry_open(false);
    struct reader reader = read_from(&registry);
    const struct entry *entry;
    const int32_t self = os_process();
    for (uint32_t i = 0; registry.descriptor >= 0 && (entry = entry_at(&reader, i)) != NULL; i++) {
        if (entry->kind != ENTRY_SAID || entry->pid != self)
            continue;
        struct entry left = *entry;
        left.heir = heir;
        write_entry(&reader, i, &left);
    }
    registry_close(&registry);
}

/* SPDX-License-Identifier: MIT */
#include "registry.h"

#include <assert.h>
#include <string.h>

#include "error.h"
#include "os.h"

#define ENTRIES  128u
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
    char path[456]; /* BASE */
};

static_assert(sizeof(struct entry) == 512, "a registry entry");

static void registry_path(char out[64])
{
    error_format(out, 64, "/dev/shm/shmcore-%u.registry", os_user());
}

static bool is_ours(const struct os_file *file, const char *path)
{
    struct os_file named;
    return file->regular && file->uid == os_user() && (file->mode & 077) == 0 && file->links == 1 &&
           os_stat_path(path, &named) == 0 && named.inode == file->inode && named.device == file->device;
}

struct registry registry_open(bool create)
{
    struct registry registry = {.descriptor = -1};
    char path[64];
    struct os_file file;
    registry_path(path);
    for (int tries = 0; tries < 8; tries++) {
        const int descriptor = os_open_file(path, create ? OS_CREATE : OS_WRITE);
        if (descriptor < 0)
            return registry;
        /* not ours: then anybody may hold its lock */
        if (os_stat_file(descriptor, &file) != 0 || !is_ours(&file, path)) {
            os_close(descriptor);
            continue;
        }
        const int error = os_lock_file(descriptor, PATIENCE);
        if (error == 0 && os_stat_file(descriptor, &file) == 0 && is_ours(&file, path)) {
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

static bool read_entry(const struct registry *registry, uint32_t index, struct entry *out)
{
    if (os_read_at(registry->descriptor, out, sizeof *out, index * sizeof *out) != sizeof *out)
        return false;
    out->path[sizeof out->path - 1] = '\0';
    return true;
}

static void write_entry(const struct registry *registry, uint32_t index, const struct entry *entry)
{
    os_write_at(registry->descriptor, entry, sizeof *entry, index * sizeof *entry);
}

static bool speaker_lives(const struct entry *entry)
{
    uint64_t start;
    bool ended;
    return os_process_start(entry->pid, &start, &ended) == 0 && start == entry->start && !ended;
}

static bool speaker_counts(const struct entry *entry)
{
    const uint64_t now = os_clock();
    return (entry->since <= now && now - entry->since < REGISTRY_SILENCE) || speaker_lives(entry);
}

static bool is_stale(const struct entry *entry)
{
    struct os_file file;
    if (entry->kind == ENTRY_BASE)
        return os_stat_path(entry->path, &file) != 0 || file.inode != entry->inode;
    return entry->kind != ENTRY_SAID || !speaker_counts(entry);
}

/* The first entry from there on that may be written over; ENTRIES when all are in use. */
static uint32_t free_entry(const struct registry *registry, uint32_t from)
{
    struct entry entry;
    for (uint32_t i = from; i < ENTRIES; i++)
        if (!read_entry(registry, i, &entry) || is_stale(&entry))
            return i;
    return ENTRIES;
}

uint64_t registry_free_base(const struct registry *registry, uint64_t from, uint64_t bytes)
{
    struct entry entry;
    uint64_t base = align_up(most(from, WINDOW_BASE), WINDOW_SLOT);
    for (uint32_t i = 0; registry->descriptor >= 0 && i < ENTRIES && read_entry(registry, i, &entry);) {
        const bool clash = entry.kind == ENTRY_BASE && entry.base < base + bytes &&
                           base < entry.base + entry.bytes && !is_stale(&entry);
        if (clash && entry.bytes < WINDOW_END - WINDOW_BASE) {
            base = align_up(entry.base + entry.bytes, WINDOW_SLOT);
            i = 0; /* the new place may clash with an earlier entry */
        } else {
            i++;
        }
    }
    return base < WINDOW_END && bytes <= WINDOW_END - base ? base : 0;
}

void registry_note_base(const struct registry *registry, uint64_t base, uint64_t bytes, const char *path)
{
    struct entry entry = {.kind = ENTRY_BASE, .base = base, .bytes = bytes};
    struct os_file file;
    if (registry->descriptor < 0 || strlen(path) >= sizeof entry.path || os_stat_path(path, &file) != 0)
        return;
    const uint32_t index = free_entry(registry, 0);
    if (index == ENTRIES)
        return;
    entry.inode = file.inode;
    memcpy(entry.path, path, strlen(path));
    write_entry(registry, index, &entry);
}

static bool is_of_use(const struct entry *entry, bool to_the_last)
{
    if (entry->kind == ENTRY_SAID && to_the_last)
        return entry->pid != os_process() && speaker_lives(entry);
    return !is_stale(entry);
}

void registry_tidy(bool to_the_last)
{
    struct registry registry = registry_open(false);
    struct entry entry;
    char path[64];
    if (registry.descriptor < 0)
        return;
    bool used = false;
    for (uint32_t i = 0; i < ENTRIES && read_entry(&registry, i, &entry) && !used; i++)
        used = is_of_use(&entry, to_the_last);
    registry_path(path);
    if (!used)
        os_unlink(path);
    registry_close(&registry);
}

/* ---------------------------------------------------------------- what is said */

static struct entry said_now(void)
{
    bool ended;
    struct entry said = {.kind = ENTRY_SAID, .pid = os_process(), .since = os_clock()};
    os_process_start(said.pid, &said.start, &ended);
    return said;
}

/* What an entry says to a sentence. */
static void compare(struct registry_sentence *sentence, const struct entry *entry, uint32_t index)
{
    const bool same = entry->key == sentence->key;
    if (sentence->again && same)
        sentence->place = index;
    if (sentence->again || (!same && (sentence->unless == 0 || entry->key != sentence->unless)) ||
        !speaker_counts(entry))
        return;
    sentence->first = false;
    sentence->excused |= !same;
}

void registry_say_all(struct registry_sentence *sentences, uint32_t count)
{
    struct entry entry;
    for (uint32_t i = 0; i < count; i++) {
        sentences[i].first = !sentences[i].again;
        sentences[i].excused = false;
        sentences[i].place = ENTRIES;
    }
    struct registry registry = registry_open(true);
    if (registry.descriptor < 0)
        return;
    for (uint32_t index = 0; index < ENTRIES && read_entry(&registry, index, &entry); index++)
        for (uint32_t i = 0; entry.kind == ENTRY_SAID && i < count; i++)
            compare(&sentences[i], &entry, index);
    struct entry said = {.kind = ENTRY_FREE};
    uint32_t next = 0;
    for (uint32_t i = 0; i < count; i++) {
        uint32_t place = sentences[i].place;
        if (!sentences[i].again && !sentences[i].first)
            continue;
        if (place == ENTRIES && (place = free_entry(&registry, next)) < ENTRIES)
            next = place + 1;
        if (place == ENTRIES)
            continue;
        if (said.kind == ENTRY_FREE)
            said = said_now();
        said.key = sentences[i].key;
        write_entry(&registry, place, &said);
    }
    registry_close(&registry);
}

bool registry_first_to_say(uint64_t key)
{
    struct registry_sentence sentence = {.key = key};
    registry_say_all(&sentence, 1);
    return sentence.first;
}

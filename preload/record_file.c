/* SPDX-License-Identifier: MIT */
#include "record_file.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "log.h"
#include "os.h"

#define PATH_MOST  4096u
#define NAMES_MOST 10000u
#define FIRST_STEP (4 * KIBI)
#define LAST_STEP  (512 * KIBI)

static const struct {
    uint64_t at, entry_bytes, most;
} parts[RECORD_PARTS] = {
    [RECORD_MODULES] = {RECORD_MODULES_AT, sizeof(struct record_module), RECORD_MODULES_MAX},
    [RECORD_SITES] = {RECORD_SITES_AT, sizeof(struct record_site), RECORD_SITES_MAX},
    [RECORD_PAGES] = {RECORD_PAGES_AT, sizeof(struct record_page), RECORD_PAGES_MAX},
};

struct record_file record_file;

static NEEDED_LATER struct {
    char name[PATH_MOST]; /* as it was asked for, absolute */
    char rank[32];
    bool has_process; /* the name is this process's alone */
    char path[PATH_MOST];
    uint64_t device, inode;
    uint64_t reserved[RECORD_PARTS]; /* bytes of each part that have memory */
    uint64_t refused[RECORD_PARTS];  /* how often there was none since then */
} file;

/* ---------------------------------------------------------------- names */

void record_file_plan(const char *name, const char *rank)
{
    char directory[PATH_MOST] = "";
    if (name[0] != '/' && os_read_link("/proc/self", "cwd", directory, sizeof directory - 1) > 0)
        directory[strlen(directory)] = '/';
    error_format(file.name, sizeof file.name, "%s%s", directory, name);
    error_format(file.rank, sizeof file.rank, "%s", rank != NULL ? rank : "");
    file.has_process = strstr(name, "%p") != NULL;
}

/* What stands for a letter after %; NULL: itself. */
static const char *meaning_of(char letter, char text[64])
{
    switch (letter) {
    case 'r':
        if (file.rank[0] != '\0')
            return file.rank;
        /* fall through */
    case 'p':
        error_format(text, 64, "%d", os_process());
        return text;
    case 'h':
        os_host(text, 64);
        return text;
    case '%':
        return "%";
    default:
        return NULL;
    }
}

static void expand(char *out, size_t bytes)
{
    char text[64];
    size_t length = 0;
    for (const char *at = file.name; *at != '\0' && length + 1 < bytes; at++) {
        const char *word = at[0] == '%' ? meaning_of(at[1], text) : NULL;
        if (word != NULL) {
            length += error_format(out + length, bytes - length, "%s", word);
            at++;
        } else {
            out[length++] = *at;
        }
    }
    out[length] = '\0';
}

/* NAME; NAME.PID, where the pid is not in it; then the same with .1, .2, … A descriptor or -errno. */
static int create(void)
{
    char base[PATH_MOST];
    expand(base, sizeof base);
    error_format(file.path, sizeof file.path, "%s", base);
    int descriptor = os_open_file(file.path, OS_CREATE_NEW);
    if (descriptor == -EEXIST && !file.has_process) {
        error_format(file.path, sizeof file.path, "%s.%d", base, os_process());
        memcpy(base, file.path, sizeof base);
        descriptor = os_open_file(file.path, OS_CREATE_NEW);
    }
    for (unsigned i = 1; descriptor == -EEXIST && i < NAMES_MOST; i++) {
        error_format(file.path, sizeof file.path, "%s.%u", base, i);
        descriptor = os_open_file(file.path, OS_CREATE_NEW);
    }
    return descriptor;
}

/* ---------------------------------------------------------------- memory */

/* For file systems that promise no memory: bytes that are written have it. */
static int write_zeros(int descriptor, uint64_t from, uint64_t bytes)
{
    static const unsigned char zeros[FIRST_STEP];
    int error = 0;
    for (uint64_t at = 0; at < bytes && error == 0; at += sizeof zeros)
        error = os_write_at(descriptor, zeros, (size_t)least(sizeof zeros, bytes - at), from + at);
    return error;
}

/* A file longer than the process may write would be a signal that ends it. */
static int reserve(int descriptor, uint64_t from, uint64_t bytes)
{
    if (from + bytes > os_file_limit())
        return -EFBIG;
    const int error = os_reserve(descriptor, from, bytes);
    return error == -EOPNOTSUPP || error == -ENOSYS ? write_zeros(descriptor, from, bytes) : error;
}

/* A descriptor of the file, as long as its name still leads to it; or -errno. */
static int open_again(void)
{
    struct os_file found;
    const int descriptor = os_open_file(file.path, OS_WRITE);
    if (descriptor < 0)
        return descriptor;
    if (os_stat_file(descriptor, &found) == 0 && found.device == file.device && found.inode == file.inode)
        return descriptor;
    os_close(descriptor);
    return -ENOENT;
}

static COLD bool grow(enum record_part part, uint64_t needed)
{
    static const char *const contents[] = {"modules", "call sites", "fingerprints"};
    const uint64_t had = file.reserved[part];
    const uint64_t wanted = align_up(needed, FIRST_STEP) - had;
    const uint64_t step = least(most(wanted, least(most(had, FIRST_STEP), LAST_STEP)),
                                align_up(parts[part].entry_bytes * parts[part].most, FIRST_STEP) - had);
    const int descriptor = open_again();
    int error = descriptor;
    if (descriptor >= 0) {
        error = reserve(descriptor, parts[part].at + had, step);
        os_close(descriptor);
    }
    if (error == 0) {
        file.reserved[part] = had + step;
        file.refused[part] = 0;
        return true;
    }
    log_say(SETTINGS_LOG_WARN, contents[part], "the record %s cannot grow, further %s are left out: %s",
            file.path, contents[part], error_words(-error));
    return false;
}

bool record_file_room(enum record_part part, uint32_t index)
{
    const uint64_t needed = (index + UINT64_C(1)) * parts[part].entry_bytes;
    if (LIKELY(needed <= file.reserved[part]))
        return true;
    if (index >= parts[part].most)
        return false;
    if (file.refused[part] != 0 && !is_power_of_two(++file.refused[part])) /* asking again takes time */
        return false;
    if (grow(part, needed))
        return true;
    file.refused[part] += file.refused[part] == 0;
    return false;
}

void record_file_trim(void)
{
    const struct record_header *header = record_file.header;
    const uint32_t counts[RECORD_PARTS] = {header->module_count, header->site_count, header->page_count};
    uint64_t end = sizeof *header;
    const int descriptor = open_again();
    if (descriptor < 0)
        return;
    for (unsigned part = 0; part < RECORD_PARTS; part++)
        if (counts[part] != 0)
            end = align_up(parts[part].at + counts[part] * parts[part].entry_bytes, PAGE_BYTES);
    if (os_resize(descriptor, end) == 0)
        for (unsigned part = 0; part < RECORD_PARTS; part++)
            file.reserved[part] = least(file.reserved[part], end > parts[part].at ? end - parts[part].at : 0);
    os_close(descriptor);
}

/* ---------------------------------------------------------------- beginning */

static void fill_header(struct record_header *header, size_t least_bytes, const char *program)
{
    header->began = os_date();
    header->least_bytes = least_bytes;
    header->process = os_process();
    header->parent = os_parent();
    header->frames = RECORD_FRAMES;
    error_format(header->rank, sizeof header->rank, "%s", file.rank);
    os_host(header->host, sizeof header->host);
    error_format(header->program, sizeof header->program, "%s", program);
    atomic_thread_fence(memory_order_release);
    header->magic = RECORD_MAGIC;
}

static int map(int descriptor)
{
    struct os_file found;
    void *memory;
    int error = os_stat_file(descriptor, &found);
    if (error == 0)
        error = reserve(descriptor, 0, sizeof(struct record_header));
    if (error == 0)
        error = os_map_file(descriptor, RECORD_BYTES_MAX, true, &memory);
    if (error != 0)
        return error;
    file.device = found.device;
    file.inode = found.inode;
    memset(file.reserved, 0, sizeof file.reserved);
    memset(file.refused, 0, sizeof file.refused);
    unsigned char *start = memory;
    record_file = (struct record_file){.header = memory,
                                       .modules = (void *)(start + RECORD_MODULES_AT),
                                       .sites = (void *)(start + RECORD_SITES_AT),
                                       .pages = (void *)(start + RECORD_PAGES_AT)};
    return 0;
}

bool record_file_make(size_t least_bytes, const char *program)
{
    if (record_file.header != NULL)
        os_unmap(record_file.header, RECORD_BYTES_MAX);
    record_file = (struct record_file){NULL, NULL, NULL, NULL};
    const int descriptor = create();
    int error = descriptor;
    if (descriptor >= 0) {
        error = map(descriptor);
        if (error != 0)
            os_unlink(file.path);
        os_close(descriptor);
    }
    if (error != 0) {
        log_say(SETTINGS_LOG_WARN, "record", "the record %s cannot be made, nothing is recorded: %s",
                file.path, error_words(-error));
        return false;
    }
    fill_header(record_file.header, least_bytes, program);
    return true;
}

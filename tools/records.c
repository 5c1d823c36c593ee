/* SPDX-License-Identifier: MIT */
#include "records.h"

#include "tool.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* ---------------------------------------------------------------- the parts */

/* All of one part, or NULL. An empty part is memory, too. */
static void *read_part(record_source *source, void *from, uint64_t offset, size_t count, size_t item_bytes)
{
    void *part = required(calloc(count + 1, item_bytes));
    if (count == 0 || source(from, offset, part, count * item_bytes))
        return part;
    free(part);
    return NULL;
}

static bool fits(uint64_t at, uint64_t count, uint64_t most, size_t item_bytes, uint64_t length)
{
    return count <= most && (count == 0 || at + count * item_bytes <= length);
}

/* The version is the last digit of the magic number. */
static const char *judge_magic(uint64_t magic)
{
    const uint64_t version = UINT64_C(0xff) << 56;
    if (magic == RECORD_MAGIC)
        return NULL;
    return ((magic ^ RECORD_MAGIC) & ~version) == 0 ? "it is a record of another version of shmpreload"
           : magic == 0                             ? "it holds no record: its beginning was never written"
                                                    : "it is not a record of shmpreload";
}

static const char *judge_header(const struct record_header *header, uint64_t length)
{
    const char *fault = judge_magic(header->magic);
    if (fault != NULL)
        return fault;
    if (header->module_count > RECORD_MODULES_MAX || header->site_count > RECORD_SITES_MAX ||
        header->page_count > RECORD_PAGES_MAX)
        return "it is damaged: it counts more than a record can hold";
    if (!fits(RECORD_MODULES_AT, header->module_count, RECORD_MODULES_MAX, sizeof(struct record_module),
              length) ||
        !fits(RECORD_SITES_AT, header->site_count, RECORD_SITES_MAX, sizeof(struct record_site), length) ||
        !fits(RECORD_PAGES_AT, header->page_count, RECORD_PAGES_MAX, sizeof(struct record_page), length))
        return "it is cut short: the end of the file is missing";
    return NULL;
}

static void end_strings(struct record *record)
{
    struct record_header *header = &record->header;
    header->rank[sizeof header->rank - 1] = '\0';
    header->host[sizeof header->host - 1] = '\0';
    header->program[sizeof header->program - 1] = '\0';
    for (size_t i = 0; i < record->module_count; i++) {
        struct record_module *module = &record->modules[i];
        module->path[sizeof module->path - 1] = '\0';
        if (module->build_id_bytes > sizeof module->build_id)
            module->build_id_bytes = 0;
    }
}

/* ---------------------------------------------------------------- rows */

static bool frames_are_good(const struct record_site *site, size_t modules)
{
    if (site->frame_count == 0 || site->frame_count > RECORD_FRAMES)
        return false;
    for (uint32_t i = 0; i < site->frame_count; i++)
        if (site->frame[i].module > modules)
            return false;
    return true;
}

/* The pages of a file, and which of them belong to a row already. */
struct pages {
    struct record_page *page;
    bool *taken;
    size_t count;
    bool grows; /* the process may have written more since they were counted */
};

static void add_page(struct record_marks *marks, const struct record_page *page)
{
    const size_t room = (marks->count + page->count) * sizeof marks->mark[0];
    marks->mark = required(realloc(marks->mark, room + 1));
    memcpy(marks->mark + marks->count, page->mark, page->count * sizeof marks->mark[0]);
    marks->count += page->count;
    /* no more than there can be, lest sums run over */
    marks->zeros += page->zeros < UINT32_MAX ? page->zeros : UINT32_MAX;
    const uint64_t most = (page->count + page->zeros) * RECORD_PIECE_BYTES;
    marks->short_bytes += page->short_bytes < most ? page->short_bytes : most;
}

/* False: the chain leads nowhere. What was found before is kept by the caller or not. */
static bool follow(struct pages *pages, uint32_t number, struct record_marks *marks)
{
    while (number != 0 && !(pages->grows && number > pages->count)) {
        if (number > pages->count || pages->taken[number - 1] ||
            pages->page[number - 1].count > RECORD_PAGE_MARKS)
            return false;
        pages->taken[number - 1] = true;
        add_page(marks, &pages->page[number - 1]);
        number = pages->page[number - 1].next;
    }
    return true;
}

static void keep_good_sites(struct record *record, struct pages *pages)
{
    const size_t count = record->site_count;
    record->site_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct record_marks marks = {0};
        const struct record_site *site = &record->sites[i];
        if (!frames_are_good(site, record->module_count) || !follow(pages, site->first_page, &marks)) {
            free(marks.mark);
            record->damaged_sites++;
            continue;
        }
        record->marks[record->site_count] = marks;
        record->sites[record->site_count++] = *site;
    }
}

static bool read_rows(struct record *record, record_source *source, void *from)
{
    struct pages pages = {.count = record->header.page_count, .grows = record->header.ended == 0};
    pages.page = read_part(source, from, RECORD_PAGES_AT, pages.count, sizeof *pages.page);
    pages.taken = required(calloc(pages.count + 1, sizeof *pages.taken));
    record->marks = required(calloc(record->site_count + 1, sizeof *record->marks));
    if (pages.page != NULL)
        keep_good_sites(record, &pages);
    free(pages.taken);
    free(pages.page);
    return pages.page != NULL;
}

static bool read_parts(struct record *record, record_source *source, void *from)
{
    record->module_count = record->header.module_count;
    record->modules =
        read_part(source, from, RECORD_MODULES_AT, record->module_count, sizeof *record->modules);
    record->sites =
        read_part(source, from, RECORD_SITES_AT, record->header.site_count, sizeof *record->sites);
    if (record->modules == NULL || record->sites == NULL)
        return false;
    end_strings(record);
    record->site_count = record->header.site_count;
    return read_rows(record, source, from);
}

const char *record_read(struct record *record, record_source *source, void *from, uint64_t length)
{
    *record = (struct record){0};
    if (length == 0)
        return "it is empty";
    if (length < sizeof record->header || !source(from, 0, &record->header, sizeof record->header))
        return "it is cut short, or not a record of shmpreload";
    const char *fault = judge_header(&record->header, length);
    if (fault == NULL && !read_parts(record, source, from)) {
        record_release(record);
        fault = "it became shorter while it was read";
    }
    return fault;
}

void record_release(struct record *record)
{
    for (size_t i = 0; record->marks != NULL && i < record->site_count; i++)
        free(record->marks[i].mark);
    free(record->marks);
    free(record->sites);
    free(record->modules);
    free(record->path);
    *record = (struct record){0};
}

/* ---------------------------------------------------------------- files */

static bool read_file(void *from, uint64_t offset, void *to, size_t bytes)
{
    const int descriptor = *(const int *)from;
    for (size_t done = 0; done < bytes;) {
        const ssize_t got = pread(descriptor, (char *)to + done, bytes - done, (off_t)(offset + done));
        if (got == 0 || (got < 0 && errno != EINTR))
            return false;
        done += got > 0 ? (size_t)got : 0;
    }
    return true;
}

/* -1 with errno. A FIFO must not hold us. */
static int open_regular(const char *path, struct stat *status)
{
    const int descriptor = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (descriptor < 0 || (fstat(descriptor, status) == 0 && S_ISREG(status->st_mode)))
        return descriptor;
    close(descriptor);
    errno = S_ISDIR(status->st_mode) ? EISDIR : EINVAL;
    return -1;
}

bool record_open(struct record *record, const char *path)
{
    struct stat status;
    int descriptor = open_regular(path, &status);
    const char *fault = descriptor < 0
                            ? errno == EINVAL ? "it is not a regular file" : strerror(errno)
                            : record_read(record, read_file, &descriptor, (uint64_t)status.st_size);
    if (descriptor >= 0)
        close(descriptor);
    if (fault != NULL)
        complain("cannot use the record '%s': %s", path, fault);
    else
        record->path = formatted("%s", path);
    return fault == NULL;
}

bool record_is_one(const char *path)
{
    struct stat status;
    uint64_t magic = 0;
    int descriptor = open_regular(path, &status);
    const bool found =
        descriptor >= 0 && read_file(&descriptor, 0, &magic, sizeof magic) && judge_magic(magic) == NULL;
    if (descriptor >= 0)
        close(descriptor);
    return found;
}

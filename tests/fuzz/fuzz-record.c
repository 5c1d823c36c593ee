/* SPDX-License-Identifier: MIT
 *
 * Fuzzes the reader of records: what comes out of it is used as `shmpreload advise` does, joined and
 * compared.
 *
 * A record has its parts megabytes apart, so the input is folded: a part begins where the one before it would
 * end in a file without gaps. The header is taken as it is, but for the magic number.
 */
#include "feeding.h"

#include "tools/places.h"
#include "tools/wording.h"

#include <stdlib.h>
#include <string.h>

#define HEADER_BYTES 256u /* of the input; the rest of the header is zeros, but for the program */

struct input {
    const uint8_t *data;
    size_t size;
};

static void take(const struct input *input, size_t from, void *to, size_t bytes)
{
    memset(to, 0, bytes);
    if (from < input->size)
        memcpy(to, input->data + from, bytes < input->size - from ? bytes : input->size - from);
}

static void take_header(const struct input *input, struct record_header *header)
{
    memset(header, 0, sizeof *header);
    take(input, 0, header, HEADER_BYTES);
    header->magic = RECORD_MAGIC;
    header->module_count %= 4; /* most inputs would fail here otherwise */
    header->site_count %= 8;
    header->page_count %= 8;
    memcpy(header->program, header->host, sizeof header->host);
}

static bool folded(void *from, uint64_t offset, void *to, size_t bytes)
{
    const struct input *input = from;
    struct record_header header;
    if (offset == 0 && bytes == sizeof header) {
        take_header(input, to);
        return true;
    }
    const size_t modules = HEADER_BYTES, sites = modules + 4 * sizeof(struct record_module),
                 pages = sites + 8 * sizeof(struct record_site);
    const size_t begin = offset == RECORD_MODULES_AT ? modules : offset == RECORD_SITES_AT ? sites : pages;
    take(input, begin, to, bytes);
    return true;
}

static void check(bool good)
{
    if (!good)
        abort();
}

static void look_at(const struct record *record)
{
    for (size_t i = 0; i < record->site_count; i++) {
        const struct record_site *site = &record->sites[i];
        check(site->frame_count >= 1 && site->frame_count <= RECORD_FRAMES);
        for (uint32_t k = 0; k < site->frame_count; k++)
            check(site->frame[k].module <= record->module_count);
    }
}

static void advise(const struct record *records, size_t count, void *memory)
{
    struct stacks stacks;
    struct places places;
    struct wording wording;
    struct policy_error error;
    stacks_join(&stacks, records, count);
    places_find(&places, &stacks, policy_parse("", 0, memory, POLICY_MEMORY, &error), 1);
    for (size_t i = 0; i < places.count; i++)
        check(places.items[i].worth.saved_bytes <= places.items[i].worth.peak_bytes);
    wording_find(&wording, &places, "");
    wording_release(&wording);
    places_release(&places);
    stacks_release(&stacks);
}

int LLVMFuzzerInitialize(int *argc, char ***argv)
{
    (void)argc, (void)argv;
    return 0;
}

/* Two processes: the input, and the input without its end. */
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct input inputs[] = {{data, size}, {data, size - size / 4}};
    struct record records[2];
    void *memory = malloc(POLICY_MEMORY);
    size_t count = 0;
    check(memory != NULL);
    for (size_t i = 0; i < 2; i++)
        count += record_read(&records[count], folded, &inputs[i], RECORD_BYTES_MAX) == NULL;
    for (size_t i = 0; i < count; i++)
        look_at(&records[i]);
    advise(records, count, memory);
    for (size_t i = 0; i < count; i++)
        record_release(&records[i]);
    free(memory);
    return 0;
}

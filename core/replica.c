/* SPDX-License-Identifier: MIT */
#include "replica.h"

#include "os.h"

void replica_drop(struct replica *replica)
{
    for (uint32_t i = 0; i < SHEET_CHUNKS && replica->sheet != REPLICA_NONE; i++)
        if ((replica->gone >> i & 1) == 0)
            os_unmap(replica->start + i * MERGE_CHUNK, MERGE_CHUNK);
    replica->sheet = REPLICA_NONE;
}

/* Aligned to chunks, so that whole tables of pages are moved. */
static int make(struct replica *replica, uint32_t sheet, uint32_t file, int descriptor)
{
    void *memory;
    replica_drop(replica);
    int error = os_map_private(MERGE_SHEET + MERGE_CHUNK, &memory);
    if (error != 0)
        return error;
    unsigned char *start = memory, *aligned = (unsigned char *)align_up((uintptr_t)start, MERGE_CHUNK);
    if (aligned != start)
        os_unmap(start, (uint64_t)(aligned - start));
    os_unmap(aligned + MERGE_SHEET, MERGE_CHUNK - (uint64_t)(aligned - start));
    error = os_map_over(descriptor, 0, MERGE_SHEET, aligned);
    if (error != 0) {
        os_unmap(aligned, MERGE_SHEET);
        return error;
    }
    *replica = (struct replica){.start = aligned, .sheet = sheet, .file = file};
    return 0;
}

int replica_for(struct replica *replica, uint32_t chunk, uint32_t file, int descriptor, unsigned char **out)
{
    const uint32_t sheet = chunk / SHEET_CHUNKS, place = chunk % SHEET_CHUNKS;
    if (replica->sheet != sheet || replica->file != file || (replica->gone >> place & 1) != 0) {
        const int error = make(replica, sheet, file, descriptor);
        if (error != 0)
            return error;
    }
    *out = replica->start + place * MERGE_CHUNK;
    return 0;
}

void replica_moved(struct replica *replica, uint32_t chunk)
{
    replica->gone |= 1u << chunk % SHEET_CHUNKS;
}

void replica_spoilt(struct replica *replica, uint32_t chunk)
{
    os_unmap(replica->start + chunk % SHEET_CHUNKS * MERGE_CHUNK, MERGE_CHUNK);
    replica_moved(replica, chunk);
}

/* SPDX-License-Identifier: MIT */
#include "inherited.h"

#include "os.h"

const struct quantum *inherited_quanta(const shmcore_segment *segment, uint64_t offset)
{
    const uint32_t quantum = (uint32_t)(offset >> QUANTUM_SHIFT);
    for (const struct inherited_run *run = segment->inherited; run != NULL; run = run->next)
        if (quantum - run->first < run->count)
            return run->quanta - run->first;
    return NULL;
}

bool inherited_overlaps(const shmcore_segment *segment, struct region_run regions)
{
    const uint32_t each = view_region_quanta(&segment->file.view);
    const uint32_t first = regions.first * each, end = first + regions.count * each;
    for (const struct inherited_run *run = segment->inherited; run != NULL; run = run->next)
        if (run->first < end && first < run->first + run->count)
            return true;
    return false;
}

void inherited_forget(shmcore_segment *segment)
{
    while (segment->inherited != NULL) {
        struct inherited_run *run = segment->inherited;
        segment->inherited = run->next;
        os_unmap(run->mapping, run->mapping_bytes);
    }
}

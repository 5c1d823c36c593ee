/* SPDX-License-Identifier: MIT */
#include "huge.h"

#include <stdbool.h>
#include <stdio.h>

uint64_t huge_bytes_at(const void *address)
{
    char line[256];
    unsigned long first, end, kilobytes = 0;
    const unsigned long at = (unsigned long)(uintptr_t)address;
    bool here = false;
    FILE *maps = fopen("/proc/self/smaps", "re");
    while (maps != NULL && fgets(line, sizeof line, maps) != NULL) {
        if (sscanf(line, "%lx-%lx ", &first, &end) == 2)
            here = first <= at && at < end;
        if (here && sscanf(line, "ShmemPmdMapped: %lu kB", &kilobytes) == 1)
            break;
    }
    if (maps != NULL)
        fclose(maps);
    return (uint64_t)kilobytes * 1024;
}

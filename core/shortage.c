/* SPDX-License-Identifier: MIT */
#include "shortage.h"

#include "error.h"
#include "os.h"

const char *shortage_of_memory(char out[SHORTAGE_BYTES], const char *directory)
{
    char left[ERROR_SIZE_BYTES], total[ERROR_SIZE_BYTES], margin[ERROR_SIZE_BYTES];
    const struct os_room room = os_memory_room(directory);
    error_size(left, room.left);
    error_size(total, room.total);
    error_size(margin, SHORTAGE_MARGIN);
    switch (room.limit) {
    case OS_LIMIT_FILES:
        error_format(out, SHORTAGE_BYTES,
                     "%s has %s left of %s; free some, enlarge it (mount -o remount,size=…) or use another "
                     "directory (dir=)",
                     directory, left, total);
        break;
    case OS_LIMIT_GROUP:
        error_format(
            out, SHORTAGE_BYTES,
            "the memory control group of this process has %s left of %s, and %s are kept free; raise "
            "its limit",
            left, total, margin);
        break;
    default:
        error_format(out, SHORTAGE_BYTES,
                     "this machine has %s of memory left of %s, and %s are kept free; end something or use "
                     "less",
                     left, total, margin);
        break;
    }
    return out;
}

const char *shortage_of_addresses(char out[SHORTAGE_BYTES])
{
    char size[ERROR_SIZE_BYTES];
    void *page;
    const uint64_t limit = os_address_space_limit();
    if (limit != UINT64_MAX) {
        error_format(
            out, SHORTAGE_BYTES,
            "this process may have %s of address space; raise ulimit -v or ask for a smaller segment "
            "(size=)",
            error_size(size, limit));
    } else if (os_map_private(PAGE_BYTES, &page) != 0) {
        error_format(out, SHORTAGE_BYTES,
                     "this process has as many mappings as it may have; raise vm.max_map_count (sysctl)");
    } else {
        os_unmap(page, PAGE_BYTES);
        error_format(out, SHORTAGE_BYTES,
                     "no room for it among its addresses; ask for a smaller segment "
                     "(size=)");
    }
    return out;
}

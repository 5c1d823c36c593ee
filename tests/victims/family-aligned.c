/* SPDX-License-Identifier: MIT
 *
 * Victim: alignments up to 2 MiB from every entry point that has one, and what they refuse.
 */
#include "victim.h"

#include <malloc.h>

enum { ALIGNMENT_MOST = 2 << 20 };

/* The most that `share` can do; beyond it the program's own memory is right too. */
static size_t routed_up_to(void)
{
    const char *most = getenv("VICTIM_ROUTED");
    return most != NULL ? (size_t)strtoul(most, NULL, 10) : 0;
}

static bool is_good(void *block, size_t alignment, size_t bytes)
{
    if (block == NULL || (uintptr_t)block % alignment != 0 || malloc_usable_size(block) < bytes)
        return false;
    if (alignment <= routed_up_to() && !from_shim(block))
        return false;
    memset(block, 0x77, malloc_usable_size(block));
    return true;
}

static bool all_three(size_t alignment, size_t bytes)
{
    void *posix = NULL;
    void *plain = memalign(alignment, bytes);
    void *standard = aligned_alloc(alignment, bytes);
    const int error = posix_memalign(&posix, alignment, bytes);
    const bool good = error == 0 && is_good(plain, alignment, bytes) && is_good(standard, alignment, bytes) &&
                      is_good(posix, alignment, bytes) && is_all(plain, bytes, 0x77);
    free(plain);
    free(standard);
    free(posix);
    return good;
}

static void refused(size_t alignment)
{
    void *block = &block;
    errno = 5;
    const int error = posix_memalign(&block, alignment, 100);
    check(error == EINVAL && block == &block, "posix_memalign refuses an alignment that is none");
    check(errno == 5, "and leaves errno alone");
}

int main(void)
{
    static const size_t sizes[] = {1, 100, 5000, 100000};
    for (size_t alignment = sizeof(void *); alignment <= ALIGNMENT_MOST; alignment *= 2)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            printf("%zu %zu ", alignment, sizes[i]);
            check(all_three(alignment, sizes[i]), "aligned, whole and large enough");
        }
    void *page = valloc(100), *pages = pvalloc(5000);
    check(is_good(page, 4096, 100), "valloc gives a page");
    check(is_good(pages, 4096, 8192), "pvalloc gives whole pages");
    free(page);
    free(pages);
    void *grown = realloc(memalign(4096, 300), 100000);
    check(grown != NULL, "realloc of an aligned block");
    free(grown);
    refused(3);
    refused(4);
    refused(24);
    refused(0);
    return verdict();
}

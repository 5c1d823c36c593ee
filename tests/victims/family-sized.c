/* SPDX-License-Identifier: MIT
 *
 * Victim: free_sized() and free_aligned_sized() of C23, which this libc need not have.
 */
#include "victim.h"

#include <dlfcn.h>

typedef void sized_function(void *pointer, size_t bytes);
typedef void aligned_function(void *pointer, size_t alignment, size_t bytes);

static void all(sized_function *sized, aligned_function *aligned)
{
    for (size_t bytes = 1; bytes < 300000; bytes *= 7) {
        sized(malloc(bytes), bytes);
        aligned(aligned_alloc(64, bytes), 64, bytes);
    }
    sized(NULL, 10);
    aligned(NULL, 64, 10);
}

int main(void)
{
    void *plain = dlsym(RTLD_DEFAULT, "free_sized"), *other = dlsym(RTLD_DEFAULT, "free_aligned_sized");
    sized_function *sized;
    aligned_function *aligned;
    memcpy(&sized, &plain, sizeof sized);
    memcpy(&aligned, &other, sizeof aligned);
    if (plain != NULL && other != NULL)
        all(sized, aligned);
    else
        victim_failures += getenv("VICTIM_ROUTED") != NULL; /* missing with the shim */
    void *block = malloc(100);
    check(block != NULL, "malloc afterwards");
    free(block);
    return verdict();
}

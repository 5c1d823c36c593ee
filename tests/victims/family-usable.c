/* SPDX-License-Identifier: MIT
 *
 * Victim: every block may be written up to malloc_usable_size(), and no two blocks overlap.
 */
#include "victim.h"

#include <malloc.h>

enum { BLOCKS = 400 };

static size_t size_of(unsigned i)
{
    return i < 200 ? i : i < 300 ? i * 37 : i * 211;
}

int main(void)
{
    static unsigned char *block[BLOCKS];
    static size_t usable[BLOCKS];
    bool enough = true, whole = true;
    check(malloc_usable_size(NULL) == 0, "NULL has no usable size");
    for (unsigned i = 0; i < BLOCKS; i++) {
        block[i] = malloc(size_of(i));
        check_routed(block[i], "malloc is routed");
        usable[i] = malloc_usable_size(block[i]);
        enough = enough && block[i] != NULL && usable[i] >= size_of(i);
        fill(block[i], usable[i], i);
    }
    check(enough, "usable is at least what was asked for");
    for (unsigned i = 0; i < BLOCKS; i++)
        whole = whole && is_filled(block[i], usable[i], i) && malloc_usable_size(block[i]) == usable[i];
    check(whole, "no block wrote into another");
    for (unsigned i = 0; i < BLOCKS; i += 2)
        free(block[i]);
    for (unsigned i = 1; i < BLOCKS; i += 2)
        whole = whole && is_filled(block[i], usable[i], i);
    check(whole, "freeing every other block leaves the rest alone");
    for (unsigned i = 1; i < BLOCKS; i += 2)
        free(block[i]);
    return verdict();
}

/* SPDX-License-Identifier: MIT
 *
 * For `exit-free`: a library whose destructor, running after that of the shim, frees, allocates and resizes.
 */
#include "exit-free.h"

#include "victim.h"

void *late_block[LATE_BLOCKS];

__attribute__((destructor)) static void very_late(void)
{
    bool good = true;
    for (unsigned i = 0; i < LATE_BLOCKS; i++) {
        good = good && is_filled(late_block[i], late_size(i), i);
        late_block[i] = realloc(late_block[i], 3 * late_size(i));
        good = good && is_filled(late_block[i], late_size(i), i);
        free(late_block[i]);
        unsigned char *fresh = calloc(1, late_size(i));
        good = good && is_all(fresh, late_size(i), 0);
        free(fresh);
    }
    const char *text = good ? "yes a library's destructor\n" : "NO  a library's destructor\n";
    if (write(STDOUT_FILENO, text, strlen(text)) < 0)
        _exit(9);
}

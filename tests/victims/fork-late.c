/* SPDX-License-Identifier: MIT
 *
 * Victim: a fork during exit(), after the libraries that were loaded before have been finished, is a fork
 * like any other. Another thread may do it at any time; here a library's destructor does, because its turn
 * comes after that of what was preloaded.
 */
#include "victim.h"

void late_keep(void *block, size_t bytes);

int main(void)
{
    unsigned char *block = malloc(50000);
    check_routed(block, "the block is in the segment");
    late_keep(block, 50000);
    return verdict();
}

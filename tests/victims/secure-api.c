/* SPDX-License-Identifier: MIT
 *
 * Not for the shim but a program of the C API, linked statically so that it can be made setuid: opens a
 * segment and says who it is and which job it is in.
 */
#include "shmcore.h"
#include "victim.h"

int main(void)
{
    shmcore_traits traits = shmcore_default_traits();
    traits.size = 1 << 20;
    shmcore_segment *segment = shmcore_open("SHARED::secure", &traits);
    if (segment == NULL) {
        printf("refused: %s\n", shmcore_error());
        return 1;
    }
    printf("user %u group %u job '%s'\n", (unsigned)geteuid(), (unsigned)getegid(),
           shmcore_get_traits(segment).job);
    return shmcore_close(segment) == 0 ? 0 : 1;
}

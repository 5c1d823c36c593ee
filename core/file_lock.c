/* SPDX-License-Identifier: MIT */
#include "file_lock.h"

#include <errno.h>

#include "os.h"

/* Somebody who was woken may have died before he could wake the next, so a sleeper looks again by himself:
 * later and later, or a hundred of them would keep the processors from whoever has the lock. */
#define SLEEP_FIRST UINT64_C(5000000)
#define SLEEP_MOST  UINT64_C(160000000)
/* Then it is seen whether there is a header by now. */
#define PAUSES_MOST UINT64_C(10000000)

static bool read_unlocks(int descriptor, uint32_t *unlocks)
{
    return os_read_at(descriptor, unlocks, sizeof *unlocks, offsetof(struct header, unlocks)) ==
           sizeof *unlocks;
}

/* What it has grown to is read before the lock is tried: so it is not missed that the lock is given back. */
static COLD int wait_for_lock(int descriptor, uint64_t patience)
{
    const uint64_t end = os_clock() + patience;
    uint64_t sleep = SLEEP_FIRST;
    void *memory = NULL;
    int error;
    if (os_map_file(descriptor, sizeof(struct header), false, &memory) != 0)
        memory = NULL;
    do {
        uint32_t unlocks;
        const bool may_sleep = memory != NULL && read_unlocks(descriptor, &unlocks);
        error = os_lock_file(descriptor, 0);
        if (error != -EBUSY)
            break;
        const int woken = may_sleep
                              ? os_wait(&((struct header *)memory)->unlocks, unlocks, least(sleep, patience))
                              : -EFAULT;
        if (woken == -EFAULT)
            error = os_lock_file(descriptor, least(patience, PAUSES_MOST));
        else if (woken == -ETIMEDOUT)
            sleep = least(sleep * 2, SLEEP_MOST);
        const uint64_t now = os_clock();
        patience = now < end ? end - now : 0;
    } while (error == -EBUSY && patience > 0);
    if (memory != NULL)
        os_unmap(memory, sizeof(struct header));
    return error;
}

int file_lock(int descriptor, uint64_t patience)
{
    const int error = os_lock_file(descriptor, 0);
    return LIKELY(error != -EBUSY) || patience == 0 ? error : wait_for_lock(descriptor, patience);
}

bool file_unlock(int descriptor, struct header *header)
{
    if (header != NULL)
        atomic_fetch_add(&header->unlocks, 1);
    os_unlock_file(descriptor);
    return header != NULL && os_wake_one(&header->unlocks);
}

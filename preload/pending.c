/* SPDX-License-Identifier: MIT */
#include "pending.h"

#include "base.h"

#define PLACES 4096u

static struct {
    _Atomic uint32_t count; /* of blocks in `place`, or more for a moment */
    _Atomic(void *) place[PLACES];
} pending;

bool pending_put(void *block)
{
    atomic_fetch_add(&pending.count, 1);
    for (uint32_t i = 0; i < PLACES; i++) {
        void *nothing = NULL;
        if (atomic_compare_exchange_strong(&pending.place[i], &nothing, block))
            return true;
    }
    atomic_fetch_sub(&pending.count, 1);
    return false;
}

void pending_drain(bool (*release)(void *block))
{
    for (uint32_t i = 0; i < PLACES && atomic_load_explicit(&pending.count, memory_order_relaxed) != 0; i++) {
        void *block = atomic_exchange(&pending.place[i], NULL);
        if (block == NULL)
            continue;
        atomic_fetch_sub(&pending.count, 1);
        if (!release(block)) {
            pending_put(block);
            return;
        }
    }
}

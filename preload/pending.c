/* SPDX-License-Identifier: MIT */
#include "pending.h"

#include "base.h"

#define PLACES 4096u

static _Atomic uint32_t pending_count; /* of blocks in `pending_place`, or more for a moment */
static NEEDED_LATER _Atomic(void *) pending_place[PLACES];

bool pending_put(void *block)
{
    atomic_fetch_add(&pending_count, 1);
    for (uint32_t i = 0; i < PLACES; i++) {
        void *nothing = NULL;
        if (atomic_compare_exchange_strong(&pending_place[i], &nothing, block))
            return true;
    }
    atomic_fetch_sub(&pending_count, 1);
    return false;
}

void pending_drain(bool (*release)(void *block))
{
    for (uint32_t i = 0; i < PLACES && atomic_load_explicit(&pending_count, memory_order_relaxed) != 0; i++) {
        void *block = atomic_exchange(&pending_place[i], NULL);
        if (block == NULL)
            continue;
        atomic_fetch_sub(&pending_count, 1);
        if (!release(block)) {
            pending_put(block);
            return;
        }
    }
}

/* SPDX-License-Identifier: MIT */
#include "passing.h"

NEEDED_LATER struct passing passing;

/* ---------------------------------------------------------------- callers */

/* Whoever has the first place keeps it: the others of its kind take turns at their second ones. */
void passing_note_caller(uintptr_t caller)
{
    const uint32_t first = passing_place(caller);
    const bool vacant = passing_at(0, first) || passing_at(caller, first);
    atomic_store_explicit(&passing.caller[vacant ? first : passing_other_place(caller)], caller,
                          memory_order_relaxed);
}

static void forget_at(uintptr_t caller, uint32_t place)
{
    if (passing_at(caller, place))
        atomic_store_explicit(&passing.caller[place], 0, memory_order_relaxed);
}

void passing_forget_caller(uintptr_t caller)
{
    forget_at(caller, passing_place(caller));
    forget_at(caller, passing_other_place(caller));
}

void passing_forget_callers(void)
{
    for (uint32_t i = 0; i < PASSING_CALLERS; i++)
        if (!passing_at(0, i)) /* or each page would be touched */
            atomic_store_explicit(&passing.caller[i], 0, memory_order_relaxed);
}

/* ---------------------------------------------------------------- stacks */

void passing_note_hop(uintptr_t caller, uint32_t hop)
{
    _Atomic uint64_t *place = &passing.hop[caller % PASSING_HOPS];
    const uint64_t words = hop / sizeof(uintptr_t);
    if (words > UINT16_MAX || caller >> PASSING_ADDRESS_BITS != 0 ||
        atomic_load_explicit(place, memory_order_relaxed) != 0)
        return;
    atomic_store_explicit(place, words << 48 | caller, memory_order_relaxed);
}

void passing_note_stack(uintptr_t caller, uintptr_t second)
{
    const uint64_t mark = atomic_load_explicit(&passing.mark, memory_order_relaxed);
    const uint64_t known = atomic_load_explicit(&passing.hop[caller % PASSING_HOPS], memory_order_relaxed);
    if (mark == 0 || (known ^ caller) << 16 != 0)
        return;
    atomic_store_explicit(&passing.stack[second % PASSING_STACKS], passing_stack_word(caller, second, mark),
                          memory_order_relaxed);
}

/* ---------------------------------------------------------------- generations */

void passing_suspend(void)
{
    atomic_store(&passing.mark, 0);
}

void passing_resume(uint64_t generation)
{
    atomic_store(&passing.mark, (generation % 255 + 1) << PASSING_MARK_SHIFT);
}

void passing_forget_stacks(void)
{
    for (uint32_t i = 0; i < PASSING_HOPS; i++)
        atomic_store_explicit(&passing.hop[i], 0, memory_order_relaxed);
    for (uint32_t i = 0; i < PASSING_STACKS; i++)
        atomic_store_explicit(&passing.stack[i], 0, memory_order_relaxed);
}

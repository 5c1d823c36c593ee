/* SPDX-License-Identifier: MIT
 *
 * Bring-up: once, in the constructor; after it nothing of this changes any more.
 */
#ifndef SHM_RUNTIME_H
#define SHM_RUNTIME_H

#include "base.h"

#define RUNTIME_POLICY 4032u

/* All that every allocation looks at, and a policy that is not a long one: more would be another page that
 * each process touches. Lies on a page of its own, which is read-only once it is filled in. */
struct runtime {
    _Alignas(4096)
        size_t floor; /* a request below it matches no rule: the one comparison that unrouted calls pay */
    uintptr_t watched_from, watched_bytes; /* where pointers are looked at when they are freed: the window, or
                                            * everywhere when a record is made */
    size_t rule_floor;                     /* the floor of the rules alone */
    size_t new_floor; /* the floor less one: operator new makes one byte of none, and compares one less */
    bool active;      /* some rule may match some day */
    bool recording;
    _Alignas(16) unsigned char policy[RUNTIME_POLICY];
};

extern INTERNAL struct runtime runtime;

/* It, or all, may be ours. */
static inline bool runtime_watches(const void *pointer)
{
    return UNLIKELY((uintptr_t)pointer - runtime.watched_from < runtime.watched_bytes);
}

#endif

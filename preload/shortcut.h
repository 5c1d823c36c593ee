/* SPDX-License-Identifier: MIT
 *
 * The short way for exported blocks: what a thread has decided once for a call site and a size holds for all
 * requests that the rules see alike and that come from slabs of the same class. Then the next one is a slot
 * of the slab in use: no rule is looked at, no lock taken, nothing shared written but the slot's bits and
 * info. Or for all that the rules see alike and that are extents: then it is one, and no rule is looked at.
 *
 * A shortcut is kept when a request has gone the long way and the next one would end in the same source. Each
 * return address has one place for each kind of call, which several may have to share. They go with the
 * thread's sources, at its end and in a forked child, and hold until some module is unloaded.
 *
 * Not for rules that look at the stack, nor in a process that is only checked or makes a record.
 */
#ifndef SHM_SHORTCUT_H
#define SHM_SHORTCUT_H

#include "config/policy.h"
#include "export_at_once.h"
#include "serve.h"
#include "thread.h"

/* Where it is kept. `call` is known when this is compiled. */
static inline uint32_t shortcut_place(const void *caller, enum policy_call call)
{
    return (uint32_t)__builtin_ctz(call) * THREAD_SHORTCUTS +
           (uint32_t)((uintptr_t)caller % THREAD_SHORTCUTS);
}

/* That of a request, which has no alignment. NULL: there is none. */
static inline struct thread_shortcut *shortcut_for(const void *caller, enum policy_call call, size_t bytes)
{
    struct thread_shortcut *shortcuts = thread_self.shortcuts;
    if (UNLIKELY(shortcuts == NULL))
        return NULL;
    struct thread_shortcut *shortcut = &shortcuts[shortcut_place(caller, call)];
    return LIKELY(shortcut->caller == caller && bytes - shortcut->least <= shortcut->span &&
                  shortcut->generation == atomic_load_explicit(&site_generation, memory_order_relaxed))
               ? shortcut
               : NULL;
}

/* An extent for such a request. NULL: the shortcut is for slots, or there is none to be had, and the shortcut
 * is given up: the long way knows what to say. errno is kept; the thread is inside the shim. */
void *shortcut_take_extent(struct thread_shortcut *shortcut, size_t bytes);

/* The rule in `place` of the site's has just served the request, whatever its stack. */
void shortcut_keep(const struct policy *policy, const struct site *site, uint32_t place,
                   const struct request *request);

#endif

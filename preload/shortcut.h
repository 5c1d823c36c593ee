/* SPDX-License-Identifier: MIT
 *
 * The short way for exported and merged blocks: what a thread has decided once for a call site and a size
 * holds for all requests that the rules see alike, and no rule is looked at for them. Most exported ones are
 * a slot of the slab in use of their class: then no lock is taken either, and nothing shared written but the
 * slot's bits and info.
 *
 * A shortcut is kept when a request has gone the long way and the next one would end in the same source. Each
 * return address has one place for each kind of call, which several may have to share; where two frames of
 * the stack decide, each such pair has one. They go with the thread's sources, at its end and in a forked
 * child, and hold until some module is unloaded.
 *
 * Not for rules that look further up the stack, nor in a process that is only checked or makes a record.
 */
#ifndef SHM_SHORTCUT_H
#define SHM_SHORTCUT_H

#include "config/policy.h"
#include "export_at_once.h"
#include "passing.h"
#include "serve.h"
#include "thread.h"

/* Where it is kept. `call` is known when this is compiled. Small functions begin at multiples of 16 or 32, so
 * the low bits alone would send their callers to a few places. */
static inline uint32_t shortcut_place(const void *caller, enum policy_call call)
{
    const uintptr_t address = (uintptr_t)caller;
    return (uint32_t)__builtin_ctz(call) * THREAD_SHORTCUTS +
           (uint32_t)((address ^ address / THREAD_SHORTCUTS) % THREAD_SHORTCUTS);
}

/* What stands for the caller of a stack whose first two frames decide. NULL: not known to be one. */
static inline const void *shortcut_key_of_stack(const void *caller, const void *frame)
{
    uintptr_t second;
    return (const void *)passing_word_of(caller, frame, &second);
}

/* That of a caller, or what stands for it. NULL: there is none. */
static inline struct thread_shortcut *shortcut_for(const void *caller, enum policy_call call)
{
    struct thread_shortcut *shortcuts = thread_self.shortcuts;
    if (UNLIKELY(shortcuts == NULL))
        return NULL;
    struct thread_shortcut *shortcut = &shortcuts[shortcut_place(caller, call)];
    return LIKELY(shortcut->caller == caller &&
                  shortcut->generation == atomic_load_explicit(&site_generation, memory_order_relaxed))
               ? shortcut
               : NULL;
}

static inline struct thread_shortcut *shortcut_for_stack(const void *caller, const void *frame,
                                                         enum policy_call call)
{
    const void *key = shortcut_key_of_stack(caller, frame);
    return key != NULL ? shortcut_for(key, call) : NULL;
}

/* Does it hold for a request of so many bytes, which has no alignment? */
static inline bool shortcut_holds(const struct thread_shortcut *shortcut, size_t bytes)
{
    return bytes - shortcut->from <= shortcut->length;
}

/* And is that a slot? */
static inline bool shortcut_is_slot(const struct thread_shortcut *shortcut, size_t bytes)
{
    return bytes - shortcut->from < shortcut->slots;
}

/* A block for a request that it holds for; it is not zeroed. NULL: there is none to be had, and the shortcut
 * is given up: the long way knows what to say. errno is kept; the thread is inside the shim. */
void *shortcut_take(struct thread_shortcut *shortcut, size_t bytes);

/* The rule in `place` of the site's has just served the request, which came from `direct`: the site itself,
 * or its stack led to the site from there. */
void shortcut_keep(const struct policy *policy, const struct site *direct, const struct site *site,
                   uint32_t place, const struct request *request);

#endif

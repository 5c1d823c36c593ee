/* SPDX-License-Identifier: MIT
 *
 * Which allocator serves this call; who owns this pointer.
 *
 * A request is looked at when the policy has a rule for its size and the thread is not inside the shim
 * already. Its call site says which rules may match, the first that matches decides. Whatever fails on the
 * way (no segment, no room, no memory) ends in the next allocator, with one line for the user.
 *
 * A pointer is ours when it lies in the window. Blocks have no header: the address alone decides.
 */
#ifndef SHM_ROUTER_H
#define SHM_ROUTER_H

#include "config/settings.h"
#include "layout.h"
#include "serve.h"
#include "shortcut.h"
#include "standing.h"
#include "thread.h"
#include "verdict.h"

/* True: the answer is in *out (NULL: out of memory, errno is set). False: the next allocator is to serve it.
 */
bool router_allocate(const struct request *request, void **out);

/* The same. *created: nobody had the block before. */
bool router_make(const struct request *request, void **out, bool *created);

/* May be ours: the program has mappings of its own in the window too, so the functions below look again. */
static inline bool router_owns(const void *pointer)
{
    return (uintptr_t)pointer - WINDOW_BASE < WINDOW_END - WINDOW_BASE;
}

/* Is ours: private memory, or what lies in a segment. */
bool router_holds(const void *pointer);

/* For pointers that router_owns(). free() and malloc_usable_size(); errno is kept. */
void router_free(void *pointer, const void *caller);
size_t router_usable_size(const void *pointer);

/* Frees what signal handlers have freed while the thread was inside the shim; it is not any more. */
void router_free_deferred(void);

/* The thread is inside the shim in between: what it allocates there is the next allocator's, and what a
 * signal handler frees waits for the end. They nest. */
static inline void router_enter(void)
{
    thread_self.inside++;
    atomic_signal_fence(memory_order_seq_cst);
}

static inline void router_leave(void)
{
    atomic_signal_fence(memory_order_seq_cst);
    thread_self.inside--;
    if (UNLIKELY(atomic_load_explicit(&thread_self.deferred, memory_order_relaxed) != NULL &&
                 thread_self.inside == 0))
        router_free_deferred();
}

/* The same where it is known that the thread was not inside before: nothing is read. What was freed meanwhile
 * still waits then, see router_settled(). */
static inline void router_enter_first(void)
{
    thread_self.occupied = THREAD_INSIDE_ONCE;
    atomic_signal_fence(memory_order_seq_cst);
}

static inline void router_leave_last(void)
{
    atomic_signal_fence(memory_order_seq_cst);
    thread_self.occupied = 0;
}

static inline bool router_has_deferred(void)
{
    return UNLIKELY(atomic_load_explicit(&thread_self.deferred, memory_order_relaxed) != NULL);
}

/* The pointer; frees what waits. */
void *router_settle(void *pointer);
static inline void *router_settled(void *pointer)
{
    return LIKELY(!router_has_deferred()) ? pointer : router_settle(pointer);
}

/* As router_allocate(), in a moment, for a request like one that was decided before (shortcut.h); its bytes
 * are as they are. NULL: ask router_take_further_on(); else the pointer is to be router_settled().
 *
 * In the inline ones here nothing is called, so that what calls them last needs no frame. */
static inline __attribute__((always_inline)) void *router_take(const void *caller, enum policy_call call,
                                                               size_t bytes)
{
    const struct thread_shortcut *shortcut = shortcut_for(caller, call);
    if (UNLIKELY(shortcut == NULL || !shortcut_is_slot(shortcut, bytes) || thread_self.occupied != 0 ||
                 !standing_is_adopted()))
        return NULL;
    router_enter_first();
    void *pointer = export_take(&shortcut->source->source, shortcut->sequence, bytes);
    router_leave_last();
    return pointer;
}

/* The same where not the caller decides but the stack with that word (passing.h; 0: none). */
static inline __attribute__((always_inline)) void *router_take_on_stack(uint64_t stack, enum policy_call call,
                                                                        size_t bytes)
{
    return stack != 0 ? router_take((const void *)stack, call, bytes) : NULL;
}

/* The same for what is not at hand, or not decided for the caller but for this stack. `frame` as of a
 * request, or NULL. NULL: ask router_allocate(). */
void *router_take_further_on(const void *caller, const void *frame, enum policy_call call, size_t bytes);

/* As router_free(), in a moment, for what lies in slabs of this thread's. To be router_given() then. */
static inline __attribute__((always_inline)) enum export_given router_give(const void *pointer)
{
    if (UNLIKELY(thread_self.occupied != 0 || !standing_is_usual()))
        return EXPORT_REFUSED;
    router_enter_first();
    const enum export_given given = export_give(pointer);
    router_leave_last();
    return given;
}

/* What was refused is given back, if it lies in another thread's slab. False: it does not, ask router_free().
 */
bool router_finish_giving(enum export_given given, const void *pointer);
static inline bool router_given(enum export_given given, const void *pointer)
{
    return LIKELY(given == EXPORT_GIVEN && !router_has_deferred()) || router_finish_giving(given, pointer);
}

/* At bring-up. */
void router_begin(const struct policy *policy, const struct settings *settings, const char *program);

/* Around fork(). */
void router_fork_prepare(void);
void router_fork_parent(void);
void router_fork_child(void);

/* Names, at the end of the program, the rules that never matched. What there is in the registry then can go
 * with this process. Forked children leave the last word to the parent, and the MPI ranks of a job to the
 * first. */
enum verdict_left router_end(void);

#endif

/* SPDX-License-Identifier: MIT
 *
 * The exported operator new and operator delete, in every form, under their mangled names.
 *
 * The call site of `new` is the user's code, so the router is asked here; what it does not take goes on to
 * the operator that the program would have without us, with new_handler and bad_alloc as ever (exceptions
 * pass through these frames). That one calls malloc, which must not be matched a second time. Memory for
 * `new` never fails by rule (full=fail): there is no way to throw from here.
 */
#include <stdlib.h>

#include "base.h"
#include "handing.h"
#include "operators.h"
#include "passing.h"
#include "real.h"
#include "recorder.h"
#include "router.h"
#include "runtime.h"

#define EXPORT_AS(name) __asm__(name) __attribute__((visibility("default"), noinline))
#define CALLER          __builtin_return_address(0)
#define FRAME           __builtin_frame_address(0)

/* The next operators whose own calls of malloc pass: no word has to be said around them. Such are those that
 * have none, too. */
static _Atomic(void *) let_through[OPERATORS];

/* The next operator, where no rule can match: neither here, as the size or the caller tells, nor what that
 * one asks of malloc, which is `most_bytes` or less. NULL: there is more to do. */
static inline void *straight_on(enum operator_id id, size_t most_bytes, const void *caller)
{
    if (most_bytes - 1 < runtime.new_floor)
        return atomic_load_explicit(&operator_known[id], memory_order_relaxed);
    return passing_caller(caller) ? atomic_load_explicit(&let_through[id], memory_order_relaxed) : NULL;
}

/* The functions that do the work are jumped to, so their frames are those of the operators. */

typedef void *new_function(size_t bytes);
typedef void *new_nothrow_function(size_t bytes, const void *nothrow);
typedef void *new_aligned_function(size_t bytes, size_t alignment);
typedef void *new_aligned_nothrow_function(size_t bytes, size_t alignment, const void *nothrow);

static void *routed(const struct request *request)
{
    void *pointer;
    if (LIKELY(request->bytes < runtime.rule_floor) || passing_caller(request->caller) ||
        operator_is_replaced())
        return NULL;
    return router_allocate(request, &pointer) ? pointer : NULL;
}

/* What the program's own operator new asks of malloc is recorded there. */
static void *recorded(void *pointer, const struct request *request, bool is_inside)
{
    if (UNLIKELY(runtime.recording) && !is_inside && !operator_is_replaced())
        recorder_allocated(pointer, request->bytes, POLICY_CALL_NEW, request->caller, request->frame);
    return pointer;
}

/* Where a whole program has no operator new of its own there is nobody who could throw. */
static void *without_operator(size_t bytes, size_t alignment)
{
    void *pointer = alignment != 0 ? real.memalign(alignment, bytes) : real.malloc(bytes);
    if (pointer == NULL)
        abort();
    return pointer;
}

struct handed_on {
    enum operator_id id;
    bool replaced;
    const void *next, *before;
};

static struct handed_on hand_on(enum operator_id id, const void *next)
{
    const bool replaced = operator_is_replaced();
    return (struct handed_on){id, replaced, next, replaced ? NULL : handing_begin(next)};
}

static void came_back(const struct handed_on *handed_on, size_t bytes)
{
    const bool asked = runtime.active && bytes >= runtime.rule_floor;
    if (handed_on->replaced || handing_end(handed_on->next, asked, handed_on->before))
        atomic_store_explicit(&let_through[handed_on->id], (void *)(uintptr_t)handed_on->next,
                              memory_order_relaxed);
}

static NEVER_INLINE void *new_plain(enum operator_id id, size_t bytes, const void *caller)
{
    const bool is_inside = handing_is_on(); /* new[] of the library calls new */
    const struct request request = {
        .call = POLICY_CALL_NEW, .bytes = bytes, .caller = caller, .frame = FRAME};
    void *pointer = routed(&request);
    if (pointer != NULL)
        return recorded(pointer, &request, is_inside);
    new_function *next = (new_function *)operator_next(id);
    const struct handed_on handed_on = hand_on(id, (const void *)next);
    pointer = next != NULL ? next(bytes) : without_operator(bytes, 0);
    came_back(&handed_on, bytes);
    return recorded(pointer, &request, is_inside);
}

static NEVER_INLINE void *unready_new(size_t bytes, const void *caller, enum operator_id id)
{
    new_function *next = (new_function *)atomic_load_explicit(&let_through[id], memory_order_relaxed);
    uint64_t stack;
    if (passing_or_stack(caller, FRAME, &stack) && next != NULL)
        return next(bytes);
    void *pointer = router_take_on_stack(stack, POLICY_CALL_NEW, bytes);
    return LIKELY(pointer != NULL) ? router_settled(pointer) : new_plain(id, bytes, caller);
}

/* As one that was decided before, in a moment. */
static NEVER_INLINE void *watched_new(size_t bytes, const void *caller, enum operator_id id)
{
    void *pointer = router_take(caller, POLICY_CALL_NEW, bytes);
    return LIKELY(pointer != NULL) ? router_settled(pointer) : unready_new(bytes, caller, id);
}

static NEVER_INLINE void *new_nothrow(enum operator_id id, size_t bytes, const void *nothrow,
                                      const void *caller)
{
    const bool is_inside = handing_is_on(); /* new[] of the library calls new */
    const struct request request = {
        .call = POLICY_CALL_NEW, .bytes = bytes, .caller = caller, .frame = FRAME};
    void *pointer = routed(&request);
    if (pointer != NULL)
        return recorded(pointer, &request, is_inside);
    new_nothrow_function *next = (new_nothrow_function *)operator_next(id);
    const struct handed_on handed_on = hand_on(id, (const void *)next);
    pointer = next != NULL ? next(bytes, nothrow) : real.malloc(bytes);
    came_back(&handed_on, bytes);
    return recorded(pointer, &request, is_inside);
}

static NEVER_INLINE void *watched_new_nothrow(size_t bytes, const void *nothrow, const void *caller,
                                              enum operator_id id)
{
    void *pointer = router_take(caller, POLICY_CALL_NEW, bytes);
    return LIKELY(pointer != NULL) ? router_settled(pointer) : new_nothrow(id, bytes, nothrow, caller);
}

static NEVER_INLINE void *new_aligned(enum operator_id id, size_t bytes, size_t alignment, const void *caller)
{
    const bool is_inside = handing_is_on(); /* new[] of the library calls new */
    const struct request request = {
        .call = POLICY_CALL_NEW, .bytes = bytes, .alignment = alignment, .caller = caller, .frame = FRAME};
    void *pointer = routed(&request);
    if (pointer != NULL)
        return recorded(pointer, &request, is_inside);
    new_aligned_function *next = (new_aligned_function *)operator_next(id);
    const struct handed_on handed_on = hand_on(id, (const void *)next);
    pointer = next != NULL ? next(bytes, alignment) : without_operator(bytes, alignment);
    came_back(&handed_on, bytes);
    return recorded(pointer, &request, is_inside);
}

static NEVER_INLINE void *new_aligned_nothrow(enum operator_id id, size_t bytes, size_t alignment,
                                              const void *nothrow, const void *caller)
{
    const bool is_inside = handing_is_on(); /* new[] of the library calls new */
    const struct request request = {
        .call = POLICY_CALL_NEW, .bytes = bytes, .alignment = alignment, .caller = caller, .frame = FRAME};
    void *pointer = routed(&request);
    if (pointer != NULL)
        return recorded(pointer, &request, is_inside);
    new_aligned_nothrow_function *next = (new_aligned_nothrow_function *)operator_next(id);
    const struct handed_on handed_on = hand_on(id, (const void *)next);
    pointer = next != NULL ? next(bytes, alignment, nothrow) : real.memalign(alignment, bytes);
    came_back(&handed_on, bytes);
    return recorded(pointer, &request, is_inside);
}

#define DEFINE_NEW(name, symbol, id)                                                                         \
    void *name(size_t bytes) EXPORT_AS(symbol);                                                              \
    void *name(size_t bytes)                                                                                 \
    {                                                                                                        \
        new_function *next = (new_function *)straight_on(id, bytes, CALLER);                                 \
        return LIKELY(next != NULL) ? next(bytes) : watched_new(bytes, CALLER, id);                          \
    }
#define DEFINE_NEW_NOTHROW(name, symbol, id)                                                                 \
    void *name(size_t bytes, const void *nothrow) EXPORT_AS(symbol);                                         \
    void *name(size_t bytes, const void *nothrow)                                                            \
    {                                                                                                        \
        new_nothrow_function *next = (new_nothrow_function *)straight_on(id, bytes, CALLER);                 \
        return LIKELY(next != NULL) ? next(bytes, nothrow)                                                   \
                                    : watched_new_nothrow(bytes, nothrow, CALLER, id);                       \
    }
#define DEFINE_NEW_ALIGNED(name, symbol, id)                                                                 \
    void *name(size_t bytes, size_t alignment) EXPORT_AS(symbol);                                            \
    void *name(size_t bytes, size_t alignment)                                                               \
    {                                                                                                        \
        new_aligned_function *next = (new_aligned_function *)straight_on(id, bytes + alignment, CALLER);     \
        return LIKELY(next != NULL) ? next(bytes, alignment) : new_aligned(id, bytes, alignment, CALLER);    \
    }
#define DEFINE_NEW_ALIGNED_NOTHROW(name, symbol, id)                                                         \
    void *name(size_t bytes, size_t alignment, const void *nothrow) EXPORT_AS(symbol);                       \
    void *name(size_t bytes, size_t alignment, const void *nothrow)                                          \
    {                                                                                                        \
        new_aligned_nothrow_function *next =                                                                 \
            (new_aligned_nothrow_function *)straight_on(id, bytes + alignment, CALLER);                      \
        return LIKELY(next != NULL) ? next(bytes, alignment, nothrow)                                        \
                                    : new_aligned_nothrow(id, bytes, alignment, nothrow, CALLER);            \
    }

DEFINE_NEW(shim_new, "_Znwm", OPERATOR_NEW)
DEFINE_NEW(shim_new_array, "_Znam", OPERATOR_NEW_ARRAY)
DEFINE_NEW_NOTHROW(shim_new_nothrow, "_ZnwmRKSt9nothrow_t", OPERATOR_NEW_NOTHROW)
DEFINE_NEW_NOTHROW(shim_new_array_nothrow, "_ZnamRKSt9nothrow_t", OPERATOR_NEW_ARRAY_NOTHROW)
DEFINE_NEW_ALIGNED(shim_new_aligned, "_ZnwmSt11align_val_t", OPERATOR_NEW_ALIGNED)
DEFINE_NEW_ALIGNED(shim_new_array_aligned, "_ZnamSt11align_val_t", OPERATOR_NEW_ARRAY_ALIGNED)
DEFINE_NEW_ALIGNED_NOTHROW(shim_new_aligned_nothrow, "_ZnwmSt11align_val_tRKSt9nothrow_t",
                           OPERATOR_NEW_ALIGNED_NOTHROW)
DEFINE_NEW_ALIGNED_NOTHROW(shim_new_array_aligned_nothrow, "_ZnamSt11align_val_tRKSt9nothrow_t",
                           OPERATOR_NEW_ARRAY_ALIGNED_NOTHROW)

/* One shape for all forms of delete: arguments that the next one does not want are in registers it does not
 * look at (System V ABI: up to three words, the pointer first). */
typedef void delete_function(void *pointer, size_t second, size_t third);

static NEVER_INLINE void unready_delete(void *pointer, size_t second, size_t third, enum operator_id id,
                                        const void *caller, enum export_given given)
{
    if (router_owns(pointer) && !operator_is_replaced()) {
        if (runtime.recording)
            recorder_freeing(pointer);
        if (!router_given(given, pointer))
            router_free(pointer, caller);
        return;
    }
    delete_function *next = (delete_function *)operator_next(id);
    if (next != NULL)
        next(pointer, second, third);
    else
        free(pointer);
}

/* Where something is recorded the process is wary, and no block is given back at once. */
static NEVER_INLINE void watched_delete(void *pointer, size_t second, size_t third, enum operator_id id,
                                        const void *caller)
{
    const enum export_given given = operator_is_the_next() ? router_give(pointer) : EXPORT_REFUSED;
    if (UNLIKELY(given != EXPORT_GIVEN || router_has_deferred()))
        unready_delete(pointer, second, third, id, caller, given);
}

#define DEFINE_DELETE(name, symbol, id)                                                                      \
    void name(void *pointer, size_t second, size_t third) EXPORT_AS(symbol);                                 \
    void name(void *pointer, size_t second, size_t third)                                                    \
    {                                                                                                        \
        delete_function *next =                                                                              \
            (delete_function *)atomic_load_explicit(&operator_known[id], memory_order_relaxed);              \
        if (LIKELY(next != NULL && !runtime_watches(pointer)))                                               \
            next(pointer, second, third);                                                                    \
        else                                                                                                 \
            watched_delete(pointer, second, third, id, CALLER);                                              \
    }

DEFINE_DELETE(shim_delete, "_ZdlPv", OPERATOR_DELETE)
DEFINE_DELETE(shim_delete_array, "_ZdaPv", OPERATOR_DELETE_ARRAY)
DEFINE_DELETE(shim_delete_sized, "_ZdlPvm", OPERATOR_DELETE_SIZED)
DEFINE_DELETE(shim_delete_array_sized, "_ZdaPvm", OPERATOR_DELETE_ARRAY_SIZED)
DEFINE_DELETE(shim_delete_nothrow, "_ZdlPvRKSt9nothrow_t", OPERATOR_DELETE_NOTHROW)
DEFINE_DELETE(shim_delete_array_nothrow, "_ZdaPvRKSt9nothrow_t", OPERATOR_DELETE_ARRAY_NOTHROW)
DEFINE_DELETE(shim_delete_aligned, "_ZdlPvSt11align_val_t", OPERATOR_DELETE_ALIGNED)
DEFINE_DELETE(shim_delete_array_aligned, "_ZdaPvSt11align_val_t", OPERATOR_DELETE_ARRAY_ALIGNED)
DEFINE_DELETE(shim_delete_sized_aligned, "_ZdlPvmSt11align_val_t", OPERATOR_DELETE_SIZED_ALIGNED)
DEFINE_DELETE(shim_delete_array_sized_aligned, "_ZdaPvmSt11align_val_t", OPERATOR_DELETE_ARRAY_SIZED_ALIGNED)
DEFINE_DELETE(shim_delete_aligned_nothrow, "_ZdlPvSt11align_val_tRKSt9nothrow_t",
              OPERATOR_DELETE_ALIGNED_NOTHROW)
DEFINE_DELETE(shim_delete_array_aligned_nothrow, "_ZdaPvSt11align_val_tRKSt9nothrow_t",
              OPERATOR_DELETE_ARRAY_ALIGNED_NOTHROW)

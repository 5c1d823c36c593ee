/* SPDX-License-Identifier: MIT
 *
 * The exported malloc family. Each wrapper takes the return address and delegates; nothing is decided here
 * but whether a rule can match at all: by the size in one comparison, then by the caller in one look.
 *
 * reallocarray() and strdup() are not here: they call the others. A wrapper that ends in `return malloc(n)`
 * is a jump, and its caller is the call site: that is how it should be.
 */
#include <dlfcn.h>
#include <errno.h>
#include <link.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "advice.h"
#include "base.h"
#include "code.h"
#include "handing.h"
#include "passing.h"
#include "private.h"
#include "real.h"
#include "recorder.h"
#include "resizing.h"
#include "router.h"
#include "runtime.h"
#include "thread.h"

#define EXPORT __attribute__((visibility("default"), noinline))
#define CALLER __builtin_return_address(0)
#define FRAME  __builtin_frame_address(0)

/* Is there more to do than what the next allocator does? Of most calls their size tells, of most others their
 * caller. */
static inline bool is_watched(size_t bytes, const void *caller)
{
    return bytes >= runtime.floor && UNLIKELY(!passing_caller(caller));
}

/* What is looked at goes on in functions of its own, by a jump: so their frames are those of the entry
 * points, which have none themselves. */

static bool ask(const struct request *request, void **out)
{
    return request->bytes >= runtime.rule_floor && router_allocate(request, out);
}

/* The inside of an operator new is no call of the program's. */
static void record(const void *pointer, const struct request *request, bool is_inside)
{
    if (runtime.recording && !is_inside)
        recorder_allocated(pointer, request->bytes, request->call, request->caller, request->frame);
}

/* ---------------------------------------------------------------- looked at */

/* Not decided before, or it has to go the long way. Does nothing match there, as is known of the site? */
static inline bool passes(const void *caller, const void *frame)
{
    struct site *site;
    if (UNLIKELY(runtime.recording || !site_known(caller, &site) || handing_is_on()))
        return false;
    return site == NULL || site_passes_on_stack(site, frame);
}

static NEVER_INLINE void *undecided_malloc(size_t bytes, const void *caller)
{
    if (passes(caller, FRAME))
        return real.malloc(bytes);
    const struct request request = {
        .call = POLICY_CALL_MALLOC, .bytes = bytes, .caller = caller, .frame = FRAME};
    const bool is_inside = handing_is_on();
    void *pointer;
    if (!ask(&request, &pointer))
        pointer = real.malloc(bytes);
    record(pointer, &request, is_inside);
    return pointer;
}

/* Here are the calls of a wrapper around malloc(), whose caller decides. */
static NEVER_INLINE void *unready_malloc(size_t bytes, const void *caller)
{
    uint64_t stack;
    if (passing_or_stack(caller, FRAME, &stack))
        return real.malloc(bytes);
    void *pointer = router_take_on_stack(stack, POLICY_CALL_MALLOC, bytes);
    if (LIKELY(pointer != NULL))
        return router_settled(pointer);
    pointer = router_take_further_on(caller, FRAME, POLICY_CALL_MALLOC, bytes);
    return pointer != NULL ? pointer : undecided_malloc(bytes, caller);
}

static NEVER_INLINE void *watched_malloc(size_t bytes, const void *caller)
{
    void *pointer = router_take(caller, POLICY_CALL_MALLOC, bytes);
    return LIKELY(pointer != NULL) ? router_settled(pointer) : unready_malloc(bytes, caller);
}

static NEVER_INLINE void *undecided_calloc(size_t count, size_t each, const void *caller)
{
    if (passes(caller, FRAME))
        return real.calloc(count, each);
    const struct request request = {
        .call = POLICY_CALL_CALLOC, .bytes = count * each, .zero = true, .caller = caller, .frame = FRAME};
    void *pointer;
    if (!ask(&request, &pointer))
        pointer = real.calloc(count, each);
    record(pointer, &request, false);
    return pointer;
}

static NEVER_INLINE void *unready_calloc(size_t count, size_t each, const void *caller)
{
    uint64_t stack;
    if (passing_or_stack(caller, FRAME, &stack))
        return real.calloc(count, each);
    void *pointer = router_take_on_stack(stack, POLICY_CALL_CALLOC, count * each);
    if (LIKELY(pointer != NULL))
        return memset(router_settled(pointer), 0, count * each);
    pointer = router_take_further_on(caller, FRAME, POLICY_CALL_CALLOC, count * each);
    return pointer != NULL ? memset(pointer, 0, count * each) : undecided_calloc(count, each, caller);
}

static NEVER_INLINE void *watched_calloc(size_t count, size_t each, const void *caller)
{
    void *pointer = router_take(caller, POLICY_CALL_CALLOC, count * each);
    return LIKELY(pointer != NULL) ? memset(router_settled(pointer), 0, count * each)
                                   : unready_calloc(count, each, caller);
}

static NEVER_INLINE void *watched_first_realloc(size_t bytes, const void *caller)
{
    if (passing_after_all(caller, FRAME))
        return real.realloc(NULL, bytes);
    const struct request request = {
        .call = POLICY_CALL_REALLOC, .bytes = bytes, .caller = caller, .frame = FRAME};
    void *pointer;
    if (!ask(&request, &pointer))
        pointer = real.realloc(NULL, bytes);
    record(pointer, &request, false);
    return pointer;
}

static void *resize(void *pointer, const struct request *request)
{
    if (request->bytes >= runtime.rule_floor || router_owns(pointer))
        return resizing_reallocate(pointer, request);
    return real.realloc(pointer, request->bytes);
}

/* The place of the old block may be somebody else's as soon as realloc() has let it go. */
static NEVER_INLINE void *watched_realloc(void *pointer, size_t bytes, const void *caller)
{
    if (!runtime_watches(pointer) && passing_after_all(caller, FRAME))
        return real.realloc(pointer, bytes);
    const struct request request = {
        .call = POLICY_CALL_REALLOC, .bytes = bytes, .caller = caller, .frame = FRAME};
    if (!runtime.recording)
        return resize(pointer, &request);
    if (bytes == 0)
        recorder_freeing(pointer);
    const struct record_block old = recorder_moving(pointer);
    void *resized = resize(pointer, &request);
    if (resized == NULL && bytes != 0)
        recorder_not_moved(pointer, &old);
    else
        recorder_moved(&old);
    record(resized, &request, false);
    return resized;
}

static void let_go(void *pointer, const void *caller)
{
    if (UNLIKELY(router_owns(pointer)))
        router_free(pointer, caller);
    else
        real.free(pointer);
}

static NEVER_INLINE void recorded_free(void *pointer, const void *caller)
{
    recorder_freeing(pointer);
    let_go(pointer, caller);
}

static NEVER_INLINE void unready_free(enum export_given given, void *pointer, const void *caller)
{
    if (router_finish_giving(given, pointer))
        return;
    if (runtime.recording)
        recorded_free(pointer, caller);
    else /* it is only the router's pointers that are watched */
        router_free(pointer, caller);
}

/* Where something is recorded the process is wary, and no block is given back at once. */
static NEVER_INLINE void watched_free(void *pointer, const void *caller)
{
    const enum export_given given = router_give(pointer);
    if (UNLIKELY(given != EXPORT_GIVEN || router_has_deferred()))
        unready_free(given, pointer, caller);
}

/* `next` is for what no rule takes. */
typedef void *aligned_function(size_t alignment, size_t bytes);

static NEVER_INLINE void *watched_aligned(size_t alignment, size_t bytes, aligned_function *next,
                                          const void *caller)
{
    if (passing_after_all(caller, FRAME))
        return next(alignment, bytes);
    const struct request request = {.call = POLICY_CALL_ALIGNED,
                                    .bytes = bytes,
                                    .alignment = alignment,
                                    .caller = caller,
                                    .frame = FRAME};
    const bool is_inside = handing_is_on();
    void *pointer;
    if (!is_power_of_two(alignment) || !ask(&request, &pointer))
        pointer = next(alignment, bytes);
    record(pointer, &request, is_inside);
    return pointer;
}

static NEVER_INLINE int watched_posix_memalign(void **out, size_t alignment, size_t bytes, const void *caller)
{
    if (passing_after_all(caller, FRAME))
        return real.posix_memalign(out, alignment, bytes);
    const struct request request = {.call = POLICY_CALL_ALIGNED,
                                    .bytes = bytes,
                                    .alignment = alignment,
                                    .caller = caller,
                                    .frame = FRAME};
    const int kept_errno = errno; /* it reports by its value and leaves errno alone */
    const bool is_inside = handing_is_on();
    const bool proper = is_power_of_two(alignment) && alignment % sizeof(void *) == 0;
    void *pointer = NULL;
    int error = 0;
    if (!proper || !ask(&request, &pointer))
        error = real.posix_memalign(&pointer, alignment, bytes);
    else if (pointer == NULL)
        error = ENOMEM;
    errno = kept_errno;
    if (error != 0)
        return error;
    record(pointer, &request, is_inside);
    *out = pointer;
    return 0;
}

static void *page_aligned(size_t alignment, size_t bytes)
{
    (void)alignment;
    return real.valloc(bytes);
}

static void *whole_pages(size_t alignment, size_t bytes)
{
    (void)alignment;
    return real.pvalloc(bytes);
}

/* ---------------------------------------------------------------- the family */

EXPORT void *malloc(size_t bytes)
{
    if (bytes >= runtime.floor) {
        if (UNLIKELY(!passing_caller(CALLER)))
            return watched_malloc(bytes, CALLER);
        KEEP_APART(); /* no jump on the way of those either */
        return real.malloc(bytes);
    }
    return real.malloc(bytes);
}

EXPORT void *calloc(size_t count, size_t each)
{
    size_t bytes;
    if (!multiply_overflows(count, each, &bytes) && is_watched(bytes, CALLER))
        return watched_calloc(count, each, CALLER);
    return real.calloc(count, each);
}

EXPORT void *realloc(void *pointer, size_t bytes)
{
    if (pointer == NULL)
        return is_watched(bytes, CALLER) ? watched_first_realloc(bytes, CALLER) : real.realloc(NULL, bytes);
    if (runtime_watches(pointer) || is_watched(bytes, CALLER))
        return watched_realloc(pointer, bytes, CALLER);
    return real.realloc(pointer, bytes);
}

EXPORT void free(void *pointer)
{
    if (runtime_watches(pointer))
        watched_free(pointer, CALLER);
    else
        real.free(pointer);
}

EXPORT void *memalign(size_t alignment, size_t bytes)
{
    if (is_watched(bytes, CALLER))
        return watched_aligned(alignment, bytes, real.memalign, CALLER);
    return real.memalign(alignment, bytes);
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes)
{
    if (is_watched(bytes, CALLER))
        return watched_aligned(alignment, bytes, real.aligned_alloc, CALLER);
    return real.aligned_alloc(alignment, bytes);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    if (is_watched(bytes, CALLER))
        return watched_posix_memalign(out, alignment, bytes, CALLER);
    return real.posix_memalign(out, alignment, bytes);
}

EXPORT void *valloc(size_t bytes)
{
    if (is_watched(bytes, CALLER))
        return watched_aligned(PAGE_BYTES, bytes, page_aligned, CALLER);
    return real.valloc(bytes);
}

EXPORT void *pvalloc(size_t bytes)
{
    if (is_watched(bytes, CALLER) && bytes <= SIZE_MAX - PAGE_BYTES)
        return watched_aligned(PAGE_BYTES, align_up(bytes, PAGE_BYTES), whole_pages, CALLER);
    return real.pvalloc(bytes);
}

EXPORT size_t malloc_usable_size(void *pointer)
{
    return UNLIKELY(router_owns(pointer)) ? router_usable_size(pointer) : real.malloc_usable_size(pointer);
}

void free_sized(void *pointer, size_t bytes);
void free_aligned_sized(void *pointer, size_t alignment, size_t bytes);

EXPORT void free_sized(void *pointer, size_t bytes)
{
    if (runtime_watches(pointer))
        watched_free(pointer, CALLER);
    else if (real.free_sized != NULL)
        real.free_sized(pointer, bytes);
    else
        real.free(pointer);
}

EXPORT void free_aligned_sized(void *pointer, size_t alignment, size_t bytes)
{
    if (runtime_watches(pointer))
        watched_free(pointer, CALLER);
    else if (real.free_aligned_sized != NULL)
        real.free_aligned_sized(pointer, alignment, bytes);
    else
        real.free(pointer);
}

/* ---------------------------------------------------------------- hooks beside the family */

EXPORT int madvise(void *address, size_t bytes, int advice)
{
    if (UNLIKELY(real.madvise == NULL))
        real_resolve();
    if (UNLIKELY(router_owns(address)))
        return advice_take(address, bytes, advice);
    return real.madvise(address, bytes, advice);
}

EXPORT int mprotect(void *address, size_t bytes, int protection)
{
    if (UNLIKELY(real.mprotect == NULL))
        real_resolve();
    if (UNLIKELY(router_owns(address)))
        return advice_protect(address, bytes, protection);
    return real.mprotect(address, bytes, protection);
}

/* What the callback allocates is looked up with the loader's lock held. */
EXPORT int dl_iterate_phdr(int (*callback)(struct dl_phdr_info *info, size_t bytes, void *argument),
                           void *argument)
{
    if (UNLIKELY(real.dl_iterate_phdr == NULL))
        real_resolve();
    if (runtime.active)
        code_be_ready();
    return real.dl_iterate_phdr(callback, argument);
}

EXPORT int dlclose(void *handle)
{
    if (UNLIKELY(real.dlclose == NULL))
        real_resolve();
    if (!runtime.active && !runtime.recording)
        return real.dlclose(handle);
    const uint64_t unloaded = os_modules_unloaded();
    stack_before_unloading();
    if (runtime.active)
        site_before_unloading();
    const int result = real.dlclose(handle);
    stack_after_unloading(os_modules_unloaded() != unloaded);
    if (runtime.active)
        site_after_unloading();
    if (runtime.recording)
        recorder_forget_unloaded();
    return result;
}

/* Another process's memory may be being replaced by a merged copy. */
EXPORT ssize_t process_vm_writev(pid_t pid, const struct iovec *local, unsigned long local_count,
                                 const struct iovec *remote, unsigned long remote_count, unsigned long flags)
{
    if (UNLIKELY(real.process_vm_writev == NULL))
        real_resolve();
    const uint32_t gates = runtime.active ? private_write_begin(pid) : 0;
    const ssize_t written = real.process_vm_writev(pid, local, local_count, remote, remote_count, flags);
    private_write_end(gates);
    return written;
}

EXPORT int pthread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                          void *argument)
{
    if (UNLIKELY(real.pthread_create == NULL))
        real_resolve();
    if (runtime.active)
        return thread_create(thread, attributes, start, argument);
    return real.pthread_create(thread, attributes, start, argument);
}

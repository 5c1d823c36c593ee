/* SPDX-License-Identifier: MIT
 *
 * The exported malloc family. Each wrapper takes the return address and delegates; nothing is decided here
 * but the one comparison that tells a request which no rule can match.
 *
 * reallocarray() and strdup() are not here: they call the others. A wrapper that ends in `return malloc(n)`
 * is a jump, and its caller is the call site: that is how it should be.
 */
#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/uio.h>

#include "advice.h"
#include "base.h"
#include "private.h"
#include "real.h"
#include "router.h"
#include "runtime.h"
#include "thread.h"

#define EXPORT         __attribute__((visibility("default"), noinline))
#define CALLER         __builtin_return_address(0)
#define MATCHES(bytes) UNLIKELY((bytes) >= runtime.floor)

static bool ask(enum policy_call call, size_t bytes, size_t alignment, bool zero, const void *caller,
                void **out)
{
    const struct request request = {
        .call = call, .bytes = bytes, .alignment = alignment, .zero = zero, .caller = caller};
    return router_allocate(&request, out);
}

EXPORT void *malloc(size_t bytes)
{
    void *pointer;
    if (MATCHES(bytes) && ask(POLICY_CALL_MALLOC, bytes, 0, false, CALLER, &pointer))
        return pointer;
    return real.malloc(bytes);
}

EXPORT void *calloc(size_t count, size_t each)
{
    void *pointer;
    size_t bytes;
    if (!multiply_overflows(count, each, &bytes) && MATCHES(bytes) &&
        ask(POLICY_CALL_CALLOC, bytes, 0, true, CALLER, &pointer))
        return pointer;
    return real.calloc(count, each);
}

EXPORT void *realloc(void *pointer, size_t bytes)
{
    void *fresh;
    if (pointer == NULL) {
        if (MATCHES(bytes) && ask(POLICY_CALL_REALLOC, bytes, 0, false, CALLER, &fresh))
            return fresh;
        return real.realloc(NULL, bytes);
    }
    if (MATCHES(bytes) || UNLIKELY(router_owns(pointer)))
        return router_reallocate(pointer, bytes, CALLER);
    return real.realloc(pointer, bytes);
}

EXPORT void free(void *pointer)
{
    if (UNLIKELY(router_owns(pointer)))
        router_free(pointer, CALLER);
    else
        real.free(pointer);
}

EXPORT void *memalign(size_t alignment, size_t bytes)
{
    void *pointer;
    if (MATCHES(bytes) && is_power_of_two(alignment) &&
        ask(POLICY_CALL_ALIGNED, bytes, alignment, false, CALLER, &pointer))
        return pointer;
    return real.memalign(alignment, bytes);
}

EXPORT void *aligned_alloc(size_t alignment, size_t bytes)
{
    void *pointer;
    if (MATCHES(bytes) && is_power_of_two(alignment) &&
        ask(POLICY_CALL_ALIGNED, bytes, alignment, false, CALLER, &pointer))
        return pointer;
    return real.aligned_alloc(alignment, bytes);
}

EXPORT int posix_memalign(void **out, size_t alignment, size_t bytes)
{
    void *pointer;
    const int kept_errno = errno; /* it reports by its value and leaves errno alone */
    const bool proper = is_power_of_two(alignment) && alignment % sizeof(void *) == 0;
    if (!MATCHES(bytes) || !proper || !ask(POLICY_CALL_ALIGNED, bytes, alignment, false, CALLER, &pointer))
        return real.posix_memalign(out, alignment, bytes);
    errno = kept_errno;
    if (pointer == NULL)
        return ENOMEM;
    *out = pointer;
    return 0;
}

EXPORT void *valloc(size_t bytes)
{
    void *pointer;
    if (MATCHES(bytes) && ask(POLICY_CALL_ALIGNED, bytes, PAGE_BYTES, false, CALLER, &pointer))
        return pointer;
    return real.valloc(bytes);
}

EXPORT void *pvalloc(size_t bytes)
{
    void *pointer;
    if (MATCHES(bytes) && bytes <= SIZE_MAX - PAGE_BYTES &&
        ask(POLICY_CALL_ALIGNED, align_up(bytes, PAGE_BYTES), PAGE_BYTES, false, CALLER, &pointer))
        return pointer;
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
    if (UNLIKELY(router_owns(pointer)))
        router_free(pointer, CALLER);
    else if (real.free_sized != NULL)
        real.free_sized(pointer, bytes);
    else
        real.free(pointer);
}

EXPORT void free_aligned_sized(void *pointer, size_t alignment, size_t bytes)
{
    if (UNLIKELY(router_owns(pointer)))
        router_free(pointer, CALLER);
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

EXPORT int dlclose(void *handle)
{
    if (UNLIKELY(real.dlclose == NULL))
        real_resolve();
    const int result = real.dlclose(handle);
    if (runtime.active)
        site_forget_unloaded();
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

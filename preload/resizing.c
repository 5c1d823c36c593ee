/* SPDX-License-Identifier: MIT */
#include "resizing.h"

#include <errno.h>
#include <string.h>

#include "export.h"
#include "export_at_once.h"
#include "private.h"
#include "real.h"

static void give_back(void *pointer, const void *caller)
{
    if (!router_owns(pointer))
        real.free(pointer);
    else if (!router_given(router_give(pointer), pointer))
        router_free(pointer, caller);
}

static void *new_block(const struct request *request, bool *fresh)
{
    void *pointer;
    if (router_make(request, &pointer, fresh))
        return pointer;
    *fresh = true;
    return real.malloc(request->bytes);
}

/* From anywhere to anywhere: the old block is kept until the new one is whole. Of a shared block that another
 * process made, the contents are that process's business. */
static void *move(void *pointer, size_t old_bytes, const struct request *request)
{
    bool fresh;
    void *moved = new_block(request, &fresh);
    if (moved == NULL)
        return NULL;
    if (fresh)
        memcpy(moved, pointer, least(old_bytes, request->bytes));
    give_back(pointer, request->caller);
    return moved;
}

static bool resize_in_place(void *pointer, size_t bytes)
{
    router_enter();
    shmcore_segment *segment = export_segment_of(pointer);
    const bool resized = segment != NULL ? standing_is_adopted() && export_resize(segment, pointer, bytes)
                                         : private_resize(pointer, bytes, &thread_self);
    router_leave();
    return resized;
}

/* Of a slot of this thread's: how many bytes it has, and whether that was all that there was to do. 0: it may
 * be anything. */
static size_t resize_at_once(void *pointer, size_t bytes, bool *resized)
{
    if (bytes == 0 || thread_self.occupied != 0 || !standing_is_usual())
        return 0;
    router_enter_first();
    const size_t old_bytes = export_resize_at_once(pointer, bytes, resized);
    router_leave_last();
    return old_bytes;
}

void *resizing_reallocate(void *pointer, const struct request *request)
{
    const size_t bytes = request->bytes;
    bool resized = false;
    const size_t slot_bytes = resize_at_once(pointer, bytes, &resized);
    if (resized)
        return router_settled(pointer);
    if (slot_bytes != 0)
        return move(pointer, slot_bytes, request);
    if (router_owns(pointer) && router_holds(pointer)) {
        if (bytes == 0) { /* as glibc does */
            router_free(pointer, request->caller);
            return NULL;
        }
        const int kept_errno = errno;
        if (thread_self.inside == 0 && resize_in_place(pointer, bytes))
            return pointer;
        const size_t old_bytes = router_usable_size(pointer);
        if (old_bytes == 0) {
            void *fresh = real.malloc(bytes); /* a zero-sized block, or a freed one: nothing to copy */
            router_free(pointer, request->caller);
            return fresh;
        }
        errno = kept_errno;
        return move(pointer, old_bytes, request);
    }
    void *moved = NULL;
    bool fresh;
    if (bytes == 0 || !router_make(request, &moved, &fresh))
        return real.realloc(pointer, bytes);
    if (moved == NULL)
        return NULL;
    if (fresh)
        memcpy(moved, pointer, least(real.malloc_usable_size(pointer), bytes));
    real.free(pointer);
    return moved;
}

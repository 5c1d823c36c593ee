/* SPDX-License-Identifier: MIT */
#include "record_stack.h"

#include <errno.h>

#include "config/record.h"
#include "os.h"
#include "record_rows.h"
#include "stack.h"
#include "thread.h"

#define KNOWN_BITS 8u

struct known_stack {
    const void *caller; /* NULL: none */
    uintptr_t stack, frame;
    uint64_t epoch;
    uint32_t row;
    struct stack_trail trail;
};

/* Of one thread. */
struct record_memory {
    void *buffer;
    struct known_stack known[1u << KNOWN_BITS];
};

static _Atomic uint64_t epoch = 1;

static struct record_memory *memory_of_thread(void)
{
    if (UNLIKELY(thread_self.record == NULL))
        thread_self.record = thread_memory(sizeof *thread_self.record);
    return thread_self.record;
}

void *record_stack_buffer(void)
{
    struct record_memory *memory = memory_of_thread();
    if (memory != NULL && memory->buffer == NULL)
        memory->buffer = thread_memory(RECORD_PIECE_BYTES);
    return memory != NULL ? memory->buffer : NULL;
}

static bool holds(const struct known_stack *known, const void *caller, const struct os_frame *start,
                  uint64_t now)
{
    if (known->caller != caller || known->stack != start->stack || known->epoch != now ||
        (known->trail.from_frame && known->frame != start->frame))
        return false;
    for (uint32_t i = 0; i < known->trail.count; i++)
        if (*known->trail.word[i].place != known->trail.word[i].value)
            return false;
    return true;
}

static uint32_t walk(struct known_stack *known, const void *caller, const struct os_frame *start,
                     uint64_t now)
{
    uintptr_t frame[RECORD_FRAMES];
    const int kept_errno = errno;
    known->caller = NULL;
    known->trail.count = 0;
    known->trail.from_frame = false;
    const unsigned count = stack_walk_from(start, caller, frame, RECORD_FRAMES, &known->trail);
    known->row = record_rows_find(frame, count, now);
    known->stack = start->stack;
    known->frame = start->frame;
    known->epoch = now;
    if (known->row != 0 && known->trail.count <= STACK_TRAIL_MOST)
        known->caller = caller;
    errno = kept_errno;
    return known->row;
}

uint32_t record_stack_row(const void *frame, const void *caller)
{
    struct os_frame start;
    struct known_stack spare;
    const uint64_t now = atomic_load_explicit(&epoch, memory_order_relaxed);
    struct record_memory *memory = memory_of_thread();
    if (UNLIKELY(!os_frame_of(frame, &start)))
        return record_rows_find(&(uintptr_t){(uintptr_t)caller}, 1, now);
    if (UNLIKELY(memory == NULL))
        return walk(&spare, caller, &start, now);
    const uint64_t hash = ((uintptr_t)caller ^ start.stack << 7) * UINT64_C(0x9e3779b97f4a7c15);
    struct known_stack *known = &memory->known[hash >> (64 - KNOWN_BITS)];
    if (LIKELY(holds(known, caller, &start, now)))
        return known->row;
    return walk(known, caller, &start, now);
}

void record_stack_forget(void)
{
    atomic_fetch_add(&epoch, 1);
}

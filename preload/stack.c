/* SPDX-License-Identifier: MIT */
#include "stack.h"

#include <pthread.h>

#include "os.h"

#define FIRST_ENTRIES 1024u
/* Frames of the shim itself lie between the caller and here. */
#define OWN_FRAMES    24u

/* A step in a word, so that it is read whole: two bits of kind, one bit, two numbers of eight bytes each. */
enum kind { KIND_NONE, KIND_FROM_STACK, KIND_FROM_FRAME, KIND_LAST };
#define KIND_BITS   2u
#define NUMBER_BITS 30u

struct entry {
    _Atomic uintptr_t address; /* 0: free */
    _Atomic uint64_t step;
};

struct table {
    uint32_t mask, shift; /* as many of a hash's highest bits as there are in the mask */
    uint32_t used;
    struct entry entry[];
};

static struct {
    stack_step_finder *finder;
    pthread_mutex_t lock;
    struct table *kept;
    _Atomic(struct table *) table; /* the same, NULL while modules are unloaded */
    unsigned unloading;            /* threads that do so */
} stacks = {.lock = PTHREAD_MUTEX_INITIALIZER};

/* ---------------------------------------------------------------- steps */

static bool fits(int64_t distance)
{
    return distance % 8 == 0 && distance / 8 < (1 << (NUMBER_BITS - 1)) &&
           distance / 8 >= -(1 << (NUMBER_BITS - 1));
}

static uint64_t packed_number(int64_t distance, unsigned at)
{
    return ((uint64_t)(distance / 8) & ((UINT64_C(1) << NUMBER_BITS) - 1)) << at;
}

static int64_t number_at(uint64_t step, unsigned at)
{
    return (int64_t)(step << (64 - NUMBER_BITS - at)) >> (64 - NUMBER_BITS) << 3;
}

static uint64_t pack(const struct stack_step *step)
{
    const int64_t saved = step->saves ? step->saved : 0;
    if (!fits(step->end) || !fits(saved))
        return KIND_LAST;
    return (step->from_frame ? KIND_FROM_FRAME : KIND_FROM_STACK) | (uint64_t)step->saves << KIND_BITS |
           packed_number(step->end, KIND_BITS + 1) | packed_number(saved, KIND_BITS + 1 + NUMBER_BITS);
}

/* ---------------------------------------------------------------- the table */

/* The hash is that of site_table.h. */
static struct entry *entry_for(struct table *table, uintptr_t address)
{
    uint32_t index = (uint32_t)(address * UINT64_C(0x9e3779b97f4a7c15) >> table->shift);
    for (;;) {
        struct entry *entry = &table->entry[index];
        const uintptr_t found = atomic_load_explicit(&entry->address, memory_order_acquire);
        if (found == address || found == 0)
            return entry;
        index = (index + 1) & table->mask;
    }
}

static struct table *make_table(uint32_t entries)
{
    void *memory;
    if (os_map_private(sizeof(struct table) + entries * sizeof(struct entry), &memory) != 0)
        return NULL;
    struct table *table = memory;
    table->mask = entries - 1;
    table->shift = 64 - (uint32_t)__builtin_popcount(entries - 1);
    return table;
}

static void put(struct table *table, uintptr_t address, uint64_t step)
{
    struct entry *entry = entry_for(table, address);
    atomic_store_explicit(&entry->step, step, memory_order_relaxed);
    atomic_store_explicit(&entry->address, address, memory_order_release);
    table->used++;
}

/* At most half full; the old one is left to those who still read it. NULL: no memory. */
static struct table *table_with_room(void)
{
    struct table *table = stacks.kept;
    if (table != NULL && table->used * 2 <= table->mask)
        return table;
    struct table *larger = make_table(table != NULL ? (table->mask + 1) * 2 : FIRST_ENTRIES);
    if (larger == NULL)
        return NULL;
    for (uint32_t i = 0; table != NULL && i <= table->mask; i++) {
        const uintptr_t address = atomic_load_explicit(&table->entry[i].address, memory_order_relaxed);
        if (address != 0)
            put(larger, address, atomic_load_explicit(&table->entry[i].step, memory_order_relaxed));
    }
    stacks.kept = larger;
    atomic_store_explicit(&stacks.table, larger, memory_order_release);
    return larger;
}

/* The address before the one returned to is inside the call, and so in the caller for certain. */
static uint64_t ask(uintptr_t address)
{
    struct stack_step step;
    return stacks.finder(address - 1, &step) ? pack(&step) : KIND_LAST;
}

/* While modules are unloaded nothing is kept: what is true now may not be true of the same address later. */
static COLD uint64_t learn(uintptr_t address)
{
    uint64_t word;
    if (stacks.finder == NULL)
        return KIND_LAST;
    pthread_mutex_lock(&stacks.lock);
    struct table *table = stacks.unloading == 0 ? table_with_room() : NULL;
    struct entry *entry = table != NULL ? entry_for(table, address) : NULL;
    if (entry != NULL && atomic_load_explicit(&entry->address, memory_order_relaxed) == address) {
        word = atomic_load_explicit(&entry->step, memory_order_relaxed);
    } else {
        word = ask(address);
        if (table != NULL)
            put(table, address, word);
    }
    pthread_mutex_unlock(&stacks.lock);
    return word;
}

static uint64_t step_at(uintptr_t address)
{
    struct table *table = atomic_load_explicit(&stacks.table, memory_order_acquire);
    if (LIKELY(table != NULL)) {
        const struct entry *entry = entry_for(table, address);
        if (LIKELY(atomic_load_explicit(&entry->address, memory_order_acquire) == address))
            return atomic_load_explicit(&entry->step, memory_order_relaxed);
    }
    return learn(address);
}

/* A reader that is just here may take a wrong step, once, and is held by the bounds of the stack. */
static void forget(void)
{
    struct table *table = stacks.kept;
    for (uint32_t i = 0; table != NULL && i <= table->mask; i++) {
        atomic_store(&table->entry[i].step, KIND_LAST);
        atomic_store(&table->entry[i].address, 0);
    }
    if (table != NULL)
        table->used = 0;
}

void stack_forget(void)
{
    pthread_mutex_lock(&stacks.lock);
    forget();
    pthread_mutex_unlock(&stacks.lock);
}

void stack_before_unloading(void)
{
    pthread_mutex_lock(&stacks.lock);
    stacks.unloading++;
    atomic_store(&stacks.table, NULL);
    pthread_mutex_unlock(&stacks.lock);
}

static void end_unloading(unsigned threads)
{
    stacks.unloading -= threads;
    if (stacks.unloading == 0)
        atomic_store_explicit(&stacks.table, stacks.kept, memory_order_release);
}

void stack_after_unloading(bool unloaded)
{
    pthread_mutex_lock(&stacks.lock);
    if (unloaded)
        forget();
    end_unloading(stacks.unloading > 0 ? 1 : 0);
    pthread_mutex_unlock(&stacks.lock);
}

/* ---------------------------------------------------------------- walking */

struct mapping_search {
    uint64_t address, start, end;
};

static int look_at_mapping(uint64_t start, uint64_t end, bool plain, void *argument)
{
    struct mapping_search *search = argument;
    (void)plain;
    if (search->address - start >= end - start)
        return 0;
    search->start = start;
    search->end = end;
    return 1;
}

_Thread_local struct stack_bounds stack_own;

/* Where the stack that this thread is on ends; it may have several, one after the other. The first thread's
 * grows downwards, so what was found stays right above the stack pointer. 0: unknown. */
static COLD uintptr_t find_stack_end(uintptr_t stack)
{
    struct mapping_search search = {.address = stack};
    if (os_each_mapping(look_at_mapping, &search) != 1)
        return 0;
    stack_own.start = (uintptr_t)search.start;
    stack_own.end = (uintptr_t)search.end;
    return stack_own.end;
}

static uintptr_t stack_end(uintptr_t stack)
{
    if (LIKELY(stack - stack_own.start < stack_own.end - stack_own.start))
        return stack_own.end;
    return find_stack_end(stack);
}

/* The frame register's value that the next step may use: read from the stack, and not noted yet. */
struct unnoted {
    const uintptr_t *place;
    uintptr_t value;
    bool first; /* it is the first frame's register itself */
};

static void note(struct stack_trail *trail, const uintptr_t *place, uintptr_t value)
{
    if (trail->count < STACK_TRAIL_MOST) {
        trail->word[trail->count].place = place;
        trail->word[trail->count].value = value;
    }
    trail->count++;
}

/* The step is counted from the frame pointer. */
static void note_register(struct stack_trail *trail, struct unnoted *left)
{
    if (left->first)
        trail->from_frame = true;
    else if (left->place != NULL)
        note(trail, left->place, left->value);
    *left = (struct unnoted){NULL, 0, false};
}

/* To the caller's frame. False: this one is the last that is known. */
static inline bool step_out(struct os_frame *frame, uintptr_t limit, struct stack_trail *trail,
                            struct unnoted *left)
{
    const uint64_t step = step_at(frame->place);
    const enum kind kind = (enum kind)(step & ((1u << KIND_BITS) - 1));
    if (UNLIKELY(kind == KIND_LAST))
        return false;
    const uintptr_t base = kind == KIND_FROM_FRAME ? frame->frame : frame->stack;
    const uintptr_t end = base + (uintptr_t)number_at(step, KIND_BITS + 1);
    const uintptr_t saved = end + (uintptr_t)number_at(step, KIND_BITS + 1 + NUMBER_BITS);
    if (trail != NULL && kind == KIND_FROM_FRAME)
        note_register(trail, left);
    if (UNLIKELY(end <= frame->stack || end > limit || end % sizeof(uintptr_t) != 0))
        return false;
    if ((step >> KIND_BITS & 1) != 0) {
        if (UNLIKELY(saved < frame->stack || saved > limit - sizeof(uintptr_t)))
            return false;
        frame->frame = *(const uintptr_t *)saved;
        *left = (struct unnoted){(const uintptr_t *)saved, frame->frame, false};
    }
    frame->place = ((const uintptr_t *)end)[-1];
    frame->stack = end;
    if (trail != NULL)
        note(trail, (const uintptr_t *)end - 1, frame->place);
    return frame->place != 0;
}

unsigned stack_walk_from(const struct os_frame *start, const void *caller, uintptr_t *out, unsigned most,
                         struct stack_trail *trail)
{
    struct os_frame frame = *start;
    struct unnoted left = {NULL, 0, true};
    unsigned count = 0;
    out[0] = (uintptr_t)caller;
    const uintptr_t limit = stack_end(frame.stack);
    for (unsigned i = 0; i < OWN_FRAMES && frame.place != (uintptr_t)caller; i++)
        if (!step_out(&frame, limit, trail, &left))
            return 1;
    if (frame.place != (uintptr_t)caller)
        return 1;
    do
        out[count++] = frame.place;
    while (count < most && step_out(&frame, limit, trail, &left));
    return count;
}

unsigned stack_walk(const void *caller, const void *frame, uintptr_t *out, unsigned most)
{
    struct os_frame start;
    if (LIKELY(frame != NULL) ? os_frame_of(frame, &start) : os_frame_here(&start))
        return stack_walk_from(&start, caller, out, most, NULL);
    out[0] = (uintptr_t)caller;
    return 1;
}

uint32_t stack_hop(uintptr_t return_address)
{
    const uint64_t step = step_at(return_address);
    const int64_t end = number_at(step, KIND_BITS + 1), word = (int64_t)sizeof(uintptr_t);
    const bool constant = (step & ((1u << KIND_BITS) - 1)) == KIND_FROM_STACK;
    return constant && end >= word && end % word == 0 ? (uint32_t)(end - word) : 0;
}

uintptr_t stack_beyond(const struct os_frame *frame, uint32_t hop)
{
    const uintptr_t end = stack_end(frame->stack);
    return LIKELY(end > frame->stack && hop <= end - frame->stack - sizeof(uintptr_t))
               ? *(const uintptr_t *)(frame->stack + hop)
               : 0;
}

/* ---------------------------------------------------------------- */

void stack_begin(stack_step_finder *finder)
{
    stacks.finder = finder;
}

void stack_lock(void)
{
    pthread_mutex_lock(&stacks.lock);
}

void stack_unlock(void)
{
    pthread_mutex_unlock(&stacks.lock);
}

void stack_unlock_in_child(void)
{
    end_unloading(stacks.unloading);
    pthread_mutex_unlock(&stacks.lock);
}

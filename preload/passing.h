/* SPDX-License-Identifier: MIT
 *
 * What is known to pass without a look at the policy: calls from where no rule can match, and, where only the
 * stack tells, stacks of which the first two frames say so. Most calls of most programs end here.
 *
 * A caller has two places where it may be noted; the entry points look at the first, in a few instructions,
 * and those who have found nothing at the other. A *hop* says how far from the stack pointer a caller has its
 * own return address, each time it calls; so the second frame costs one load. What is noted is a hint: who
 * finds nothing here asks site.h, which tells this room what it has found out.
 *
 * Reading takes no lock and writes nothing. Callers and hops are noted under the lock of site.c; stacks by
 * anybody: each says for which *mark* of the loaded modules it holds, so one that is late means nothing.
 */
#ifndef SHM_PASSING_H
#define SHM_PASSING_H

#include "base.h"
#include "stack.h"

#define PASSING_CALLERS 1024u
#define PASSING_HOPS    256u
#define PASSING_STACKS  2048u

#define PASSING_ADDRESS_BITS 47u /* of a return address; the rest of a word says more */
#define PASSING_MARK_SHIFT   56u

struct passing {
    _Atomic uintptr_t caller[PASSING_CALLERS];
    _Atomic uint64_t hop[PASSING_HOPS];     /* the caller, and above it the hop in words; 0: none */
    _Atomic uint64_t stack[PASSING_STACKS]; /* passing_stack_word() */
    _Atomic uint64_t mark;                  /* at PASSING_MARK_SHIFT; 0: no stack is believed */
};
extern INTERNAL struct passing passing;

/* ---------------------------------------------------------------- callers */

static inline bool passing_at(uintptr_t address, uint32_t place)
{
    return atomic_load_explicit(&passing.caller[place], memory_order_relaxed) == address;
}

static inline uint32_t passing_place(uintptr_t address)
{
    return address % PASSING_CALLERS;
}

static inline uint32_t passing_other_place(uintptr_t address)
{
    return address / PASSING_CALLERS % PASSING_CALLERS;
}

/* Is it known that no rule can match there? One look, which finds most. */
static inline bool passing_caller(const void *caller)
{
    return passing_at((uintptr_t)caller, passing_place((uintptr_t)caller));
}

/* ---------------------------------------------------------------- stacks */

/* By the caller's place among the hops, which only one caller has for one mark. */
static inline uint64_t passing_stack_word(uintptr_t caller, uintptr_t second, uint64_t mark)
{
    return second ^ (caller % PASSING_HOPS + 1) << PASSING_ADDRESS_BITS ^ mark;
}

/* The word for a stack, if its caller has a hop; no other stack has it. 0: none. `frame` is the
 * __builtin_frame_address(0) of the function that the caller calls, or that is jumped to. */
static inline uint64_t passing_word_of(const void *caller, const void *frame, uintptr_t *second)
{
    const uint64_t known =
        atomic_load_explicit(&passing.hop[(uintptr_t)caller % PASSING_HOPS], memory_order_relaxed);
    const uintptr_t *place = (const uintptr_t *)frame + OS_FRAME_WORDS + (known >> 48);
    if ((known ^ (uintptr_t)caller) << 16 != 0 || UNLIKELY(!stack_holds(place)) ||
        UNLIKELY(place[-1 - (ptrdiff_t)(known >> 48)] != (uintptr_t)caller))
        return 0;
    *second = *place;
    const uint64_t mark = atomic_load_explicit(&passing.mark, memory_order_relaxed);
    return passing_stack_word((uintptr_t)caller, *second, mark);
}

/* For those whom passing_caller() does not know. *stack: the word of theirs, or 0. */
static inline bool passing_or_stack(const void *caller, const void *frame, uint64_t *stack)
{
    uintptr_t second;
    *stack = 0;
    if (passing_at((uintptr_t)caller, passing_other_place((uintptr_t)caller)))
        return true;
    *stack = passing_word_of(caller, frame, &second);
    return *stack != 0 &&
           atomic_load_explicit(&passing.stack[second % PASSING_STACKS], memory_order_relaxed) == *stack;
}

static inline bool passing_after_all(const void *caller, const void *frame)
{
    uint64_t stack;
    return passing_or_stack(caller, frame, &stack);
}

/* ---------------------------------------------------------------- for site.c */

void passing_note_caller(uintptr_t caller);
void passing_forget_caller(uintptr_t caller);
void passing_forget_callers(void);

/* Of a caller that a stack of two frames decides for; `hop` as stack_hop() says, not 0. The first of those
 * that share a place keeps it. */
void passing_note_hop(uintptr_t caller, uint32_t hop);
/* Nothing is noted when the caller has no hop. */
void passing_note_stack(uintptr_t caller, uintptr_t second);

/* No stack is believed from now on, until it is resumed; nor any more that was noted before when
 * `generation`, which is not 0, is another one then: so hops may be forgotten in between, and places have
 * other callers. */
void passing_suspend(void);
void passing_forget_stacks(void);
void passing_resume(uint64_t generation);

#endif

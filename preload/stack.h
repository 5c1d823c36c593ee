/* SPDX-License-Identifier: MIT
 *
 * The calls that led here: return addresses, innermost first.
 *
 * How to get from a frame to its caller's is the same each time the same instruction is on the stack: the
 * frame lies at a constant distance from the stack pointer or the frame pointer, and the caller's frame
 * pointer, if it was saved, at a constant distance from its end. Such a step is asked for once for each
 * return address (steps.h, which has it from the unwinding tables) and kept; walking a stack
 * is then a look into a table, two additions and two loads for each frame.
 *
 * Reading the table takes no lock and writes nothing. A step that does not fit what is on the stack ends the
 * walk: only memory between the stack pointer and the end of the mapping that it points into is read. Code
 * without unwinding tables, signal handlers and code made at run time end it, too.
 */
#ifndef SHM_STACK_H
#define SHM_STACK_H

#include "base.h"
#include "os.h"

struct stack_step {
    bool from_frame; /* counted from the frame pointer, else from the stack pointer */
    int64_t end;     /* to the end of the frame; the return address lies just below it */
    bool saves;      /* the caller's frame pointer lies in memory, else it is still in its register */
    int64_t saved;   /* from the end of the frame to where it lies */
};

/* Finds the step for an address inside the call instruction that is to be returned from: in
 * steps.h. False: unknown, or the outermost frame. */
typedef bool stack_step_finder(uintptr_t address, struct stack_step *out);

/* At bring-up. Without a finder, or before, stacks end with the caller. */
void stack_begin(stack_step_finder *finder);

/* What a walk has read, to be compared later: while all of it is as it was, the walk would end the same. */
#define STACK_TRAIL_MOST 32u
struct stack_word {
    const uintptr_t *place;
    uintptr_t value;
};
struct stack_trail {
    uint32_t count;  /* may be more than there is room for: then it tells nothing */
    bool from_frame; /* the register of the first frame was used, too */
    struct stack_word word[STACK_TRAIL_MOST];
};

/* Writes the addresses that the calls of this thread return to, from `caller` on, to out[most]: out[0] is
 * `caller`. Returns how many, at least 1. It sets out from `frame`, the __builtin_frame_address(0) of a
 * function that has not returned yet and that `caller` called, be it by way of others; NULL: from here. The
 * nearer to `caller`, the cheaper. The thread is inside the shim; at a new address it may allocate. */
unsigned stack_walk(const void *caller, const void *frame, uintptr_t *out, unsigned most);

/* The same; `trail` may be NULL. */
unsigned stack_walk_from(const struct os_frame *start, const void *caller, uintptr_t *out, unsigned most,
                         struct stack_trail *trail);

/* Where a call returns to that address, the caller's own return address lies so many bytes from the stack
 * pointer, each time: 0 when that is not known, or depends on the frame pointer. */
uint32_t stack_hop(uintptr_t return_address);
/* What lies there, for a frame whose place is that address; 0: it is not within the stack. */
uintptr_t stack_beyond(const struct os_frame *frame, uint32_t hop);

/* The mapping that this thread's stack was last seen in. */
struct stack_bounds {
    uintptr_t start, end;
};
extern INTERNAL _Thread_local struct stack_bounds stack_own __attribute__((tls_model("initial-exec")));

/* Does the word lie there? False: not, or nobody has looked yet. */
static inline bool stack_holds(const uintptr_t *place)
{
    return (uintptr_t)place - stack_own.start < stack_own.end - stack_own.start;
}

/* After modules were unloaded: others may lie at their addresses. */
void stack_forget(void);

/* Around the unloading of modules: in between another thread may load something to their addresses, so
 * nothing is taken from the table, nor put there. `unloaded`: there is one less, for which the steps are
 * forgotten. */
void stack_before_unloading(void);
void stack_after_unloading(bool unloaded);

/* Around fork(). In the child no other thread is unloading anything. */
void stack_lock(void);
void stack_unlock(void);
void stack_unlock_in_child(void);

#endif

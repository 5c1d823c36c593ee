/* SPDX-License-Identifier: MIT
 *
 * Call sites: which rules of the policy may match where a call returns to.
 *
 * Found out once for each return address and kept as long as its module is loaded. Where that does not settle
 * it, because a rule asks for the stack, or because the function there allocates for its callers (a wrapper),
 * the rule is marked, and a second cache has the answer for each stack: the key is a hash of as many return
 * addresses as the deepest rule needs there. Then the site is the first caller that is no wrapper.
 *
 * Reading the caches takes no lock and writes nothing (site_table.h).
 *
 * While some thread unloads a module the caches are put away: another thread may load the next to the same
 * addresses before it is known what has gone.
 *
 * Lock order: the loader's, the cache's, then that of stack.h. malloc() may be called with the loader's held,
 * so nothing here asks for them with its own held: not by dl_iterate_phdr(), not by a first touch of a
 * variable of a loaded module's thread (code_be_ready()).
 */
#ifndef SHM_SITE_H
#define SHM_SITE_H

#include "base.h"
#include "config/policy.h"
#include "site_judge.h"
#include "site_table.h"
#include "stack.h"

/* At bring-up, after code_begin() and stack_begin(), before any look-up. `all_count`: nothing is noted in
 * passing.h, for what no rule matches is looked at as well. */
void site_begin(const struct policy *policy, bool all_count);

/* Is the address in the cache? Then *site is what site_look_up() would return. The one question that every
 * call asks which a rule might match. */
extern _Atomic(struct site_table *) site_addresses;
static inline bool site_known(const void *return_address, struct site **site)
{
    return site_table_find(&site_addresses, (uintptr_t)return_address, site);
}

/* From now on no rule matches there: whoever calls from there was looked at already. False: rules do match,
 * as was found out before. May allocate, as site_look_up(). */
bool site_let_pass(const void *return_address);

/* Of the modules that are loaded: what was found out about an address holds as long as this is the same. 0
 * while modules are unloaded: nothing holds then. */
extern INTERNAL _Atomic uint64_t site_generation;

/* The site, or NULL when no rule can match there. Finds it out at the first look-up; may allocate, so the
 * caller is inside the shim. */
struct site *site_look_up(const void *return_address);

/* Stacks that a thread has had, in memory of its own that was zero at first: while all that a walk read is as
 * it was, it would end the same. */
#define SITE_STACKS      64u
#define SITE_STACK_WORDS 8u
struct site_stack {
    const struct site *direct; /* NULL: none */
    struct site *site;
    uintptr_t stack, frame; /* where the walk set out */
    uint64_t generation;
    uint32_t depth, words;
    bool from_frame;
    struct stack_word word[SITE_STACK_WORDS];
};

/* The site that this thread's stack leads to, for one that has a rule with SITE_MAYBE: its own rules have
 * none. NULL: none holds. `frame` is as for stack_walk(); `known` is site_stack[SITE_STACKS] or NULL. The
 * caller is inside the shim; at the first look-up it may allocate. */
struct site *site_on_stack(struct site *direct, const void *frame, struct site_stack *known);

/* Do the first two frames tell apart all stacks that this call has, as far as they were seen? */
static inline bool site_is_decided_by_two(const struct site *direct)
{
    return atomic_load_explicit(&direct->hop, memory_order_relaxed) != 0 &&
           atomic_load_explicit(&direct->depth, memory_order_relaxed) == 2;
}

/* Is it known, without a walk, that no rule holds for this stack? `frame` is that of the function that the
 * site calls. */
bool site_passes_on_stack(struct site *direct, const void *frame);

/* Around a dlclose(): what another thread loads in between may lie at the same addresses, so nothing is found
 * in the caches, all look-ups are slow ones. May be nested, and done by several threads at once. */
void site_before_unloading(void);
void site_after_unloading(void);

/* The same for modules that were unloaded unnoticed, by the C library itself. */
void site_forget_unloaded(void);

/* Around fork(): the child must not inherit the cache in the middle of a change; no other thread is unloading
 * anything there. */
void site_lock(void);
void site_unlock(void);
void site_unlock_in_child(void);

#endif

/* SPDX-License-Identifier: MIT
 *
 * Which rules of the policy a call site satisfies, and the site that is made of that.
 *
 * Sites and their strings lie in private memory and are never given back. It does not remember whom it has
 * judged: site.h does, and calls with its lock held.
 */
#ifndef SHM_SITE_JUDGE_H
#define SHM_SITE_JUDGE_H

#include "base.h"
#include "config/policy.h"

struct code;

/* In front of a rule's index: whether it holds depends on the stack. */
#define SITE_MAYBE UINT16_C(0x8000)

struct site {
    uint32_t id; /* dense, from 0 */
    uint32_t rule_count;
    bool is_program;
    const char *module;        /* base name of the object file */
    const char *function;      /* NULL: unknown */
    uint64_t module_offset;    /* of the return address, from the module's load address */
    uint64_t function_offset;  /* of the call in the function, or module_offset */
    uint64_t build;            /* hash of the module's build-id, or of its path */
    uintptr_t address;         /* that the call returns to */
    _Atomic uint32_t depth;    /* so many frames tell stacks apart here; grows when there are more wrappers */
    _Atomic uint32_t hop;      /* stack_hop() of the address; 0: unknown, or not the same each time */
    _Atomic uint32_t reported; /* rules noted for `shmpreload check`, as bits of their place in `rules` */
    uint16_t rules[];          /* indices of the rules that the site satisfies, in order; SITE_MAYBE */
};

/* Frames that a rule with "..." looks at. */
#define FRAMES_MOST 32u

/* At bring-up. */
void site_judge_begin(const struct policy *policy);

/* Does the function allocate for its callers? */
bool site_is_wrapper(const struct code *code);

/* By the direct caller alone: rules that depend on the stack are marked SITE_MAYBE. NULL: no rule can match,
 * or there is no memory to remember more. */
struct site *site_make_for_caller(const struct code *code, uintptr_t address, bool wrapper);

/* Of a stack of `count` frames, of which 0 to `site` - 1 are wrappers. Returns how many rules hold. */
uint32_t site_rules_of_stack(const struct code *code, unsigned count, unsigned site,
                             uint16_t out[POLICY_RULES_MAX]);

/* The site where these rules hold. NULL: as above. */
struct site *site_make(const struct code *code, uintptr_t address, const uint16_t *rules, uint32_t count);

/* Has a site that no rule can route satisfied this `pass` rule? Such sites are not looked at again, so their
 * requests are not compared with the rule's sizes and calls. */
bool site_was_passed(uint16_t rule);

#endif

/* SPDX-License-Identifier: MIT
 *
 * What the shim knows of the calling thread: is it inside the shim, where does it stand in the tree of
 * creation, and what has it allocated at which call site (the sources and their sequence numbers).
 *
 * Thread-local, initial-exec; memory comes from private mappings that are unmapped when the thread ends. Only
 * the thread itself touches its state, so nothing here is atomic or locked.
 */
#ifndef SHM_THREAD_H
#define SHM_THREAD_H

#include "config/policy.h"
#include "export.h"
#include "site.h"

#define THREAD_NUMBER_BYTES 48u

/* {seq} of one label. Several sites may have the same label when a template does not tell them apart. */
struct thread_counter {
    struct thread_counter *next_counter; /* in the same bucket */
    uint64_t next;
    uint64_t hash; /* of the label */
    uint32_t length;
    char label[];
};

/* One site under one rule. */
struct thread_source {
    struct thread_source *next_source;
    struct export_source source;
    shmcore_segment *segment; /* where source.label lies; NULL while there is none */
    struct arena *arena;      /* of a merge rule; NULL while there is none */
    struct thread_counter *counter;
    uint64_t salt;
    uint16_t rule;
    bool counts;   /* the label has a hole for {seq} */
    bool numbered; /* it has none, and the label in use has got one */
};

/* What signal handlers have freed while their thread was inside the shim. In mappings of their own, because
 * nothing may be written through a pointer that is perhaps no live block. */
#define THREAD_DEFERRED_EACH 255u
struct thread_deferred {
    struct thread_deferred *older;
    _Atomic uint32_t count; /* places taken; beyond the last one: found full */
    struct {
        void *pointer;
        const void *caller;
    } entry[THREAD_DEFERRED_EACH];
};

/* Requests that were decided before: see shortcut.h. */
#define THREAD_SHORTCUTS      256u
#define THREAD_SHORTCUT_KINDS 5u /* of calls: POLICY_CALL_ANY has so many bits */
struct thread_shortcut {
    const void *caller;  /* return address; NULL: none */
    uint64_t generation; /* site_generation then */
    size_t from, length; /* bytes that the rules see alike: from … from + length */
    size_t slots;        /* so many of these sizes are slots: the first ones */
    uint64_t *sequence;
    struct thread_source *source;
    uint64_t flags; /* export_flags of the rule */
};
static_assert(sizeof(struct thread_shortcut) == 64, "a cache line, and found by a shift");

#define THREAD_INSIDE_ONCE UINT64_C(1) /* `occupied`: inside is 1, pass_next 0 */

struct thread {
    union {
        struct {
            uint32_t inside;    /* > 0: in the shim: allocations go to the next allocator */
            uint32_t pass_next; /* the next malloc is the inside of a `new` that was looked at already */
        };
        /* One look says that both are 0. It waits for a store of a half of it to reach the cache, so who is
         * in a hurry stores both, too. */
        uint64_t occupied;
    };
    const void *handed_to; /* the operator new that is inside; NULL: what it asks for has to be looked at */
    uint32_t children;     /* threads it has created */
    _Atomic(struct thread_deferred *) deferred;
    char number[THREAD_NUMBER_BYTES]; /* "" for the first thread, else "2", "2.1", … */
    struct thread_source **by_site;   /* [site id] */
    uint32_t sites;
    struct export_kept *kept;         /* empty slabs of these; NULL: none yet */
    struct thread_counter **counters; /* buckets, by hash; NULL: none yet */
    uint32_t counter_buckets, counter_count;
    unsigned char *chunk;
    size_t chunk_left;
    void *mappings;                    /* list of what to unmap at the end */
    struct record_memory *record;      /* what the recorder keeps for this thread; NULL: nothing yet */
    struct thread_shortcut *shortcuts; /* [THREAD_SHORTCUT_KINDS][THREAD_SHORTCUTS]; NULL: none yet */
    struct site_stack *stacks;         /* for site_on_stack(); NULL: none yet */
};

extern _Thread_local struct thread thread_self __attribute__((tls_model("initial-exec")));

/* At bring-up: threads clean up after themselves from here on. */
void thread_begin(void);

/* Zero bytes for the calling thread, until it ends. NULL: no memory. */
void *thread_memory(size_t bytes);

/* The source for a site and rule, made at the first call: `make_label` writes the label. NULL: no memory. */
typedef size_t thread_labeller(const struct site *site, const struct policy_rule *rule, char *out,
                               size_t bytes, bool *counts, uint64_t *salt);
struct thread_source *thread_source_for(const struct site *site, uint16_t rule,
                                        const struct policy_rule *text, thread_labeller *make_label);

/* For site_on_stack(). NULL: no memory. */
struct site_stack *thread_stacks(void);

/* In a forked child: slabs and labels are the parent's. */
void thread_after_fork(void);

/* pthread_create() with a number for the new thread. */
int thread_create(pthread_t *thread, const pthread_attr_t *attributes, void *(*start)(void *),
                  void *argument);

#endif

/* SPDX-License-Identifier: MIT */
#include "site.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "code.h"
#include "loaded.h"
#include "os.h"
#include "passing.h"
#include "site_judge.h"
#include "stack.h"

#define FOR_EVER UINT64_MAX /* an origin: its key says which module it was made for */

static struct {
    uint32_t needed; /* frames beyond the site that the deepest rule looks at */
    pthread_mutex_t lock;
    _Atomic(struct site_table *) addresses; /* by return address; also while site_addresses is empty */
    _Atomic(struct site_table *) stacks;    /* by the hash of a stack */
    uint64_t generation;                    /* of the modules that are loaded: part of each such hash */
    _Atomic uint64_t unloaded;              /* modules, when that was last looked at */
    unsigned unloading;                     /* threads that do so */
    bool all_count;
} sites = {.lock = PTHREAD_MUTEX_INITIALIZER,
           .addresses = &site_table_empty,
           .stacks = &site_table_empty,
           .generation = 1};

/* Of the stack that is looked at, under the lock. */
static NEEDED_LATER struct code seen_code[FRAMES_MOST];

/* By return address. An entry's origin is the build of the module it was made for. */
_Atomic(struct site_table *) site_addresses = &site_table_empty;

_Atomic uint64_t site_generation = 1;

/* ---------------------------------------------------------------- by return address */

static bool never_stale(const struct site_table_entry *entry)
{
    (void)entry;
    return false;
}

static struct site *site_of_caller(uintptr_t address)
{
    code_at(address, &seen_code[0]);
    const bool wrapper = site_is_wrapper(&seen_code[0]);
    struct site *site = site_make_for_caller(&seen_code[0], address, wrapper);
    if (site != NULL)
        atomic_store(&site->depth, (uint32_t)least(sites.needed + (wrapper ? 2 : 1), FRAMES_MOST));
    return site;
}

static void lock_sites(void)
{
    code_be_ready();
    pthread_mutex_lock(&sites.lock);
}

/* False: nothing more can be remembered. */
static bool remember(uintptr_t address, struct site *site)
{
    if (!site_table_put(&sites.addresses, address, site, seen_code[0].build, never_stale))
        return false;
    if (sites.unloading == 0)
        atomic_store_explicit(&site_addresses, atomic_load(&sites.addresses), memory_order_release);
    return true;
}

static void note_passing(uintptr_t address)
{
    if (!sites.all_count && sites.unloading == 0)
        passing_note_caller(address);
}

/* What cannot be remembered matches nothing: it would be found out anew at each call. */
static COLD struct site *look_up_slowly(uintptr_t address)
{
    struct site *site = NULL;
    site_forget_unloaded();
    lock_sites();
    if (!site_table_find(&sites.addresses, address, &site)) {
        site = site_of_caller(address);
        if (!remember(address, site))
            site = NULL;
        else if (site == NULL)
            note_passing(address);
    }
    pthread_mutex_unlock(&sites.lock);
    return site;
}

static COLD bool let_pass_slowly(uintptr_t address)
{
    struct site *site = NULL;
    site_forget_unloaded();
    lock_sites();
    if (!site_table_find(&sites.addresses, address, &site)) {
        code_at(address, &seen_code[0]);
        if (remember(address, NULL))
            note_passing(address);
    }
    pthread_mutex_unlock(&sites.lock);
    return site == NULL;
}

bool site_let_pass(const void *return_address)
{
    struct site *site;
    return site_known(return_address, &site) ? site == NULL : let_pass_slowly((uintptr_t)return_address);
}

struct site *site_look_up(const void *return_address)
{
    struct site *site;
    return site_known(return_address, &site) ? site : look_up_slowly((uintptr_t)return_address);
}

/* ---------------------------------------------------------------- by stack */

/* It may mean something else since: only the hash is left, which nobody looks for. */
static bool is_stale_stack(const struct site_table_entry *entry)
{
    return entry->origin != FOR_EVER && entry->origin != sites.generation;
}

static uint64_t hash_of(const uintptr_t *frame, unsigned count, uint64_t generation)
{
    uint64_t hash = generation;
    for (unsigned i = 0; i < count; i++)
        hash = (hash ^ frame[i]) * UINT64_C(0x9e3779b97f4a7c15) ^ hash >> 29;
    hash = hash_mix(hash);
    return hash > SITE_TABLE_FORGOTTEN ? hash : SITE_TABLE_FORGOTTEN + 1;
}

/* What is needed of the stack, and no more: each name costs up to a millisecond. */
struct stack_seen {
    uintptr_t frame[FRAMES_MOST];
    unsigned count; /* looked at */
    unsigned at;    /* the first that is no wrapper */
};

/* The caller is known from before. */
static void recall(const struct site *direct, struct code *out)
{
    out->module = direct->module;
    out->is_program = direct->is_program;
    out->offset = direct->module_offset;
    out->build = direct->build;
    out->function = direct->function;
    out->function_offset = direct->function_offset;
    code_frames_at(direct->address, out);
}

static void see(const struct site *direct, const void *frame, struct stack_seen *seen)
{
    unsigned reach = atomic_load(&direct->depth), known = 1, count;
    recall(direct, &seen_code[0]);
    seen->at = 0;
    do {
        count = stack_walk((const void *)direct->address, frame, seen->frame, reach);
        for (; seen->at + 1 < count && site_is_wrapper(&seen_code[seen->at]); known++)
            code_at(seen->frame[known], &seen_code[++seen->at]);
        const bool goes_on = site_is_wrapper(&seen_code[seen->at]);
        const unsigned needed = (unsigned)least(seen->at + 1 + goes_on + sites.needed, FRAMES_MOST);
        if (count < reach || needed <= reach)
            break;
        reach = needed;
    } while (true);
    seen->count = (unsigned)least(count, seen->at + 1 + sites.needed);
    for (; known < seen->count; known++)
        code_at(seen->frame[known], &seen_code[known]);
}

/* One site for all stacks that lead to it by the same rules: so it has one name. */
static struct site *site_of_stack(const struct stack_seen *seen)
{
    uint16_t rules[POLICY_RULES_MAX];
    struct site *site = NULL;
    const uintptr_t address = seen->frame[seen->at];
    const struct code *code = &seen_code[seen->at];
    const uint32_t found = site_rules_of_stack(seen_code, seen->count, seen->at, rules);
    const uint64_t key = hash_mix(address ^ code->build) ^ hash_bytes(rules, found * sizeof rules[0]);
    if (site_table_find(&sites.stacks, key, &site))
        return site;
    site = site_make(code, address, rules, found);
    site_table_put(&sites.stacks, key, site, FOR_EVER, is_stale_stack);
    return site;
}

static COLD struct site *resolve(struct site *direct, const void *frame)
{
    struct stack_seen seen;
    struct site *known;
    lock_sites();
    see(direct, frame, &seen);
    struct site *site = site_of_stack(&seen);
    if (seen.at + 1 + sites.needed > atomic_load(&direct->depth))
        atomic_store(&direct->depth, (uint32_t)least(seen.at + 1 + sites.needed, FRAMES_MOST));
    const unsigned depth =
        stack_walk((const void *)direct->address, frame, seen.frame, atomic_load(&direct->depth));
    const uint32_t hop = depth == 2 ? stack_hop(direct->address) : 0;
    atomic_store_explicit(&direct->hop, hop, memory_order_relaxed);
    if (!sites.all_count && sites.unloading == 0 && hop != 0) {
        passing_note_hop(direct->address, hop);
        if (site == NULL)
            passing_note_stack(direct->address, seen.frame[1]);
    }
    const uint64_t key = hash_of(seen.frame, depth, sites.generation);
    if (sites.unloading == 0 && !site_table_find(&sites.stacks, key, &known))
        site_table_put(&sites.stacks, key, site, sites.generation, is_stale_stack);
    pthread_mutex_unlock(&sites.lock);
    return site;
}

/* Where to look and to note: a place for a call at a depth. */
static struct site_stack *place_of(struct site_stack *known, const struct site *direct,
                                   const struct os_frame *start)
{
    const uint64_t hash = (direct->address ^ start->stack << 7) * UINT64_C(0x9e3779b97f4a7c15);
    return &known[hash >> 58];
}
static_assert(SITE_STACKS == 1 << (64 - 58), "as many places as the hash tells apart");

static bool is_as_it_was(const struct site_stack *known, const struct site *direct,
                         const struct os_frame *start)
{
    if (known->direct != direct || known->stack != start->stack ||
        known->generation != atomic_load_explicit(&site_generation, memory_order_relaxed) ||
        known->depth != atomic_load_explicit(&direct->depth, memory_order_relaxed) ||
        (known->from_frame && known->frame != start->frame))
        return false;
    for (uint32_t i = 0; i < known->words; i++)
        if (*known->word[i].place != known->word[i].value)
            return false;
    return true;
}

/* While modules are unloaded, nothing is found by its hash: nor was anything put there. */
static struct site *find_on_stack(struct site *direct, const void *frame, const struct os_frame *start,
                                  uint64_t generation, struct stack_trail *trail)
{
    uintptr_t seen[FRAMES_MOST];
    struct site *site;
    const unsigned count = stack_walk_from(start, (const void *)direct->address, seen,
                                           atomic_load_explicit(&direct->depth, memory_order_relaxed), trail);
    if (LIKELY(generation != 0 && site_table_find(&sites.stacks, hash_of(seen, count, generation), &site)))
        return site;
    return resolve(direct, frame);
}

/* What was resolved just now may have changed the depth: then this is not found again, and noted anew. */
static void note_stack(struct site_stack *known, const struct site *direct, const struct os_frame *start,
                       uint64_t generation, uint32_t depth, const struct stack_trail *trail,
                       struct site *site)
{
    known->direct = NULL;
    if (trail->count > SITE_STACK_WORDS || generation == 0)
        return;
    *known = (struct site_stack){.direct = direct,
                                 .site = site,
                                 .stack = start->stack,
                                 .frame = start->frame,
                                 .generation = generation,
                                 .depth = depth,
                                 .words = trail->count,
                                 .from_frame = trail->from_frame};
    memcpy(known->word, trail->word, trail->count * sizeof trail->word[0]);
}

/* Where two frames tell stacks apart, the second one's address mostly lies at the same distance from the
 * first one's stack pointer: then no walk is needed. */
static bool key_by_hop(struct site *direct, const struct os_frame *start, uint64_t generation, uint64_t *key,
                       uintptr_t *second)
{
    const uint32_t hop = atomic_load_explicit(&direct->hop, memory_order_relaxed);
    if (hop == 0 || atomic_load_explicit(&direct->depth, memory_order_relaxed) != 2 ||
        UNLIKELY(start->place != direct->address || generation == 0))
        return false;
    const uintptr_t frame[] = {direct->address, *second = stack_beyond(start, hop)};
    *key = hash_of(frame, 2, generation);
    return true;
}

bool site_passes_on_stack(struct site *direct, const void *frame)
{
    const uint64_t generation = atomic_load_explicit(&site_generation, memory_order_relaxed);
    struct os_frame start;
    struct site *site;
    uint64_t key;
    uintptr_t second;
    if (UNLIKELY(!os_frame_of(frame, &start)) || !key_by_hop(direct, &start, generation, &key, &second) ||
        !site_table_find(&sites.stacks, key, &site) || site != NULL)
        return false;
    passing_note_stack(direct->address, second);
    return true;
}

struct site *site_on_stack(struct site *direct, const void *frame, struct site_stack *known)
{
    struct os_frame start;
    struct stack_trail trail;
    struct site *found;
    if (UNLIKELY(frame == NULL || !os_frame_of(frame, &start)))
        return resolve(direct, frame);
    const uint64_t generation = atomic_load_explicit(&site_generation, memory_order_relaxed);
    uint64_t key;
    uintptr_t second;
    if (key_by_hop(direct, &start, generation, &key, &second) && site_table_find(&sites.stacks, key, &found))
        return found;
    if (UNLIKELY(known == NULL))
        return find_on_stack(direct, frame, &start, generation, NULL);
    struct site_stack *place = place_of(known, direct, &start);
    if (LIKELY(is_as_it_was(place, direct, &start)))
        return place->site;
    const uint32_t depth = atomic_load_explicit(&direct->depth, memory_order_relaxed);
    trail.count = 0;
    trail.from_frame = false;
    struct site *site = find_on_stack(direct, frame, &start, generation, &trail);
    note_stack(place, direct, &start, generation, depth, &trail, site);
    return site;
}

/* ---------------------------------------------------------------- modules that go */

/* Calls f for each return address that is known. */
static void each_known(void (*f)(struct site_table_entry *entry, const void *argument), const void *argument)
{
    struct site_table *table = atomic_load(&sites.addresses);
    for (uint32_t i = 0; i <= table->mask; i++)
        if (atomic_load_explicit(&table->entry[i].key, memory_order_relaxed) > SITE_TABLE_FORGOTTEN)
            f(&table->entry[i], argument);
}

/* Another module may lie at the address already. */
static void forget_if_gone(struct site_table_entry *entry, const void *argument)
{
    const struct loaded *loaded = argument;
    const uintptr_t address = (uintptr_t)atomic_load_explicit(&entry->key, memory_order_relaxed);
    if (loaded->complete && loaded_build_at(loaded, address) == entry->origin)
        return;
    atomic_store_explicit(&entry->key, SITE_TABLE_FORGOTTEN, memory_order_release);
    passing_forget_caller(address);
}

static void begin_generation(void)
{
    atomic_store(&site_generation, sites.generation);
    passing_resume(sites.generation);
}

static void forget_others(const struct loaded *loaded)
{
    each_known(forget_if_gone, loaded);
    atomic_store(&sites.unloaded, loaded->unloaded);
    sites.generation++;
    passing_suspend();
    passing_forget_stacks();
    if (sites.unloading == 0)
        begin_generation();
    stack_forget();
    code_forget(loaded);
}

/* The loader's lock is asked for before ours: its holder may be a callback that calls malloc. */
void site_forget_unloaded(void)
{
    struct loaded loaded;
    if (os_modules_unloaded() == atomic_load(&sites.unloaded))
        return;
    loaded_look(&loaded);
    lock_sites();
    if (loaded.unloaded != atomic_load(&sites.unloaded))
        forget_others(&loaded);
    pthread_mutex_unlock(&sites.lock);
    loaded_drop(&loaded);
}

/* Readers find nothing any more, and whoever looks under the lock asks first what was unloaded. */
void site_before_unloading(void)
{
    pthread_mutex_lock(&sites.lock);
    if (sites.unloading++ == 0) {
        atomic_store(&site_addresses, &site_table_empty);
        atomic_store(&site_generation, 0);
        passing_suspend();
        passing_forget_callers();
    }
    pthread_mutex_unlock(&sites.lock);
}

static void pass_again(struct site_table_entry *entry, const void *argument)
{
    (void)argument;
    if (atomic_load_explicit(&entry->site, memory_order_relaxed) == NULL)
        note_passing((uintptr_t)atomic_load_explicit(&entry->key, memory_order_relaxed));
}

static void end_unloading(unsigned threads)
{
    sites.unloading -= threads;
    if (threads == 0 || sites.unloading > 0)
        return;
    atomic_store_explicit(&site_addresses, atomic_load(&sites.addresses), memory_order_release);
    begin_generation();
    each_known(pass_again, NULL);
}

void site_after_unloading(void)
{
    site_forget_unloaded();
    pthread_mutex_lock(&sites.lock);
    end_unloading(sites.unloading > 0 ? 1 : 0);
    pthread_mutex_unlock(&sites.lock);
}

/* ---------------------------------------------------------------- beginning, fork */

void site_begin(const struct policy *policy, bool all_count)
{
    site_judge_begin(policy);
    sites.all_count = all_count;
    for (size_t i = 0; i < policy->rule_count; i++) {
        const struct policy_rule *rule = &policy->rules[i];
        for (unsigned k = 0; k < rule->stack_count; k++)
            if (rule->stack[k] == NULL)
                sites.needed = FRAMES_MOST;
        if (rule->stack_count > 0)
            sites.needed = (uint32_t)most(sites.needed, rule->stack_count - 1);
    }
    atomic_store(&sites.unloaded, os_modules_unloaded());
    passing_resume(sites.generation);
}

void site_lock(void)
{
    pthread_mutex_lock(&sites.lock);
    stack_lock();
    code_lock();
}

void site_unlock(void)
{
    code_unlock();
    stack_unlock();
    pthread_mutex_unlock(&sites.lock);
}

void site_unlock_in_child(void)
{
    code_unlock();
    stack_unlock_in_child();
    end_unloading(sites.unloading);
    pthread_mutex_unlock(&sites.lock);
}

/* SPDX-License-Identifier: MIT */
#include "site.h"

#include <assert.h>
#include <pthread.h>
#include <string.h>

#include "code.h"
#include "os.h"
#include "stack.h"

#define CHUNK_BYTES ((size_t)64 << 10)
/* Frames that a rule with "..." looks at. */
#define FRAMES_MOST 32u

#define FOR_EVER UINT64_MAX /* an origin: its key says which module it was made for */

static struct {
    const struct policy *policy;
    uint32_t needed; /* frames beyond the site that the deepest rule looks at */
    pthread_mutex_t lock;
    _Atomic(struct site_table *) stacks; /* by the hash of a stack */
    _Atomic uint64_t unloaded;           /* modules, when that was last looked at: part of each such hash */
    _Atomic bool passed[POLICY_RULES_MAX];
    bool all_count;
    uint32_t next_id;
    unsigned char *chunk; /* private memory for sites and strings, never given back */
    size_t chunk_left;
} sites = {.lock = PTHREAD_MUTEX_INITIALIZER, .stacks = &site_table_empty};

/* Of the stack that is looked at, under the lock. */
static NEEDED_LATER struct code seen_code[FRAMES_MOST];

/* By return address. An entry's origin is the build of the module it was made for. */
_Atomic(struct site_table *) site_addresses = &site_table_empty;
NEEDED_LATER _Atomic uintptr_t site_passing[SITE_PASSING];

/* ---------------------------------------------------------------- private memory */

static void *carve(size_t bytes)
{
    bytes = align_up(bytes, 16);
    if (bytes > sites.chunk_left) {
        void *chunk;
        if (bytes > CHUNK_BYTES || os_map_private(CHUNK_BYTES, &chunk) != 0)
            return NULL;
        sites.chunk = chunk;
        sites.chunk_left = CHUNK_BYTES;
    }
    void *piece = sites.chunk;
    sites.chunk += bytes;
    sites.chunk_left -= bytes;
    return piece;
}

static const char *keep_text(const char *text)
{
    const size_t length = strlen(text);
    char *copy = carve(length + 1);
    if (copy != NULL)
        memcpy(copy, text, length + 1);
    return copy;
}

/* ---------------------------------------------------------------- which rules hold */

/* The frames of a stack, those known from DWARF as a debugger shows them. */
struct view {
    struct policy_step step[FRAMES_MOST * CODE_FRAMES];
    size_t count, starts; /* the innermost glob may stand for one of the first `starts` */
};

static void add_frame(struct view *view, const struct code *code, bool inlined)
{
    struct policy_step step = {code->function, code->module, code->is_program, code->offset};
    for (unsigned i = 0; inlined && i < code->frame_count; i++) {
        step.function = code->frame[i].function;
        view->step[view->count++] = step;
    }
    if (!inlined || code->frame_count == 0)
        view->step[view->count++] = step;
}

/* Frames 0 to `site` of seen_code are wrappers and the site, the others lead there. */
static void look_at(struct view *view, unsigned count, unsigned site, bool inlined)
{
    view->count = 0;
    for (unsigned i = 0; i < count; i++) {
        add_frame(view, &seen_code[i], inlined);
        if (i == site)
            view->starts = view->count;
    }
}

static bool holds_for_stack(const struct policy_rule *rule, unsigned count, unsigned site)
{
    static NEEDED_LATER struct view view; /* under the lock */
    for (unsigned inlined = 0; inlined < 2; inlined++) {
        look_at(&view, count, site, inlined != 0);
        if (policy_rule_matches_stack(rule, view.step, view.count, view.starts))
            return true;
    }
    return false;
}

static bool may_hold_for_stack(const struct policy_rule *rule)
{
    struct policy_rule innermost = *rule;
    innermost.stack_count = rule->stack_count < 1 || rule->stack[0] == NULL ? 0 : 1;
    return holds_for_stack(&innermost, 1, 0);
}

/* A wrapper may be named itself. */
static bool holds_for_site(const struct policy_rule *rule, unsigned site)
{
    for (unsigned i = 0; i <= site; i++) {
        const struct policy_site facts = code_facts(&seen_code[i]);
        if (policy_rule_matches_site(rule, &facts))
            return true;
    }
    return false;
}

static bool is_wrapper(const struct code *code)
{
    return policy_is_wrapper(sites.policy, code->function, code->module, code->is_program);
}

/* UINT16_MAX: it cannot hold. Of a wrapper's call nothing is known but the wrapper. */
static uint16_t judge_alone(const struct policy_rule *rule, uint16_t index, bool wrapper)
{
    if (wrapper)
        return index | SITE_MAYBE;
    if (!holds_for_site(rule, 0) || !may_hold_for_stack(rule))
        return UINT16_MAX;
    return rule->stack_count == 0 ? index : index | SITE_MAYBE;
}

/* By the direct caller alone, seen_code[0]. */
static uint32_t rules_of_caller(bool wrapper, uint16_t out[POLICY_RULES_MAX])
{
    uint32_t count = 0;
    for (size_t i = 0; i < sites.policy->rule_count; i++) {
        const uint16_t verdict = judge_alone(&sites.policy->rules[i], (uint16_t)i, wrapper);
        if (verdict != UINT16_MAX)
            out[count++] = verdict;
    }
    return count;
}

static uint32_t rules_of_stack(unsigned count, unsigned site, uint16_t out[POLICY_RULES_MAX])
{
    uint32_t found = 0;
    for (size_t i = 0; i < sites.policy->rule_count; i++) {
        const struct policy_rule *rule = &sites.policy->rules[i];
        if (holds_for_site(rule, site) && holds_for_stack(rule, count, site))
            out[found++] = (uint16_t)i;
    }
    return found;
}

/* Where all that may hold passes, nothing is looked at again. */
static uint32_t without_passing(const uint16_t *rules, uint32_t count)
{
    bool routes = false;
    for (uint32_t i = 0; i < count; i++)
        routes |= sites.policy->rules[rules[i] & ~SITE_MAYBE].verb != POLICY_PASS;
    if (routes)
        return count;
    for (uint32_t i = 0; i < count; i++)
        atomic_store_explicit(&sites.passed[rules[i] & ~SITE_MAYBE], true, memory_order_relaxed);
    return 0;
}

bool site_was_passed(uint16_t rule)
{
    return atomic_load_explicit(&sites.passed[rule], memory_order_relaxed);
}

/* NULL: no rule can match, or no memory to remember more. */
static struct site *make_site(const struct code *code, uintptr_t address, const uint16_t *rules,
                              uint32_t count)
{
    count = without_passing(rules, count);
    struct site *site = count > 0 ? carve(sizeof *site + count * sizeof rules[0]) : NULL;
    if (site == NULL)
        return NULL;
    *site = (struct site){.id = sites.next_id++,
                          .rule_count = count,
                          .is_program = code->is_program,
                          .module = keep_text(code->module),
                          .function = code->function != NULL ? keep_text(code->function) : NULL,
                          .module_offset = code->offset,
                          .function_offset = code->function_offset,
                          .build = code->build,
                          .address = address,
                          .depth = 1};
    memcpy(site->rules, rules, count * sizeof rules[0]);
    return site->module != NULL ? site : NULL;
}

/* ---------------------------------------------------------------- by return address */

static bool never_stale(const struct site_table_entry *entry)
{
    (void)entry;
    return false;
}

static struct site *site_of_caller(uintptr_t address)
{
    uint16_t rules[POLICY_RULES_MAX];
    code_at(address, &seen_code[0]);
    const bool wrapper = is_wrapper(&seen_code[0]);
    struct site *site = make_site(&seen_code[0], address, rules, rules_of_caller(wrapper, rules));
    if (site != NULL)
        atomic_store(&site->depth, (uint32_t)least(sites.needed + (wrapper ? 2 : 1), FRAMES_MOST));
    return site;
}

static void forget_unloaded(void);

/* What cannot be remembered matches nothing: it would be found out anew at each call. */
static COLD struct site *look_up_slowly(uintptr_t address)
{
    struct site *site = NULL;
    pthread_mutex_lock(&sites.lock);
    if (os_modules_unloaded() != atomic_load(&sites.unloaded))
        forget_unloaded();
    if (!site_table_find(&site_addresses, address, &site)) {
        site = site_of_caller(address);
        if (!site_table_put(&site_addresses, address, site, seen_code[0].build, never_stale))
            site = NULL;
        else if (site == NULL && !sites.all_count)
            atomic_store_explicit(&site_passing[address % SITE_PASSING], address, memory_order_relaxed);
    }
    pthread_mutex_unlock(&sites.lock);
    return site;
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
    return entry->origin != FOR_EVER && entry->origin != atomic_load(&sites.unloaded);
}

static uint64_t hash_of(const uintptr_t *frame, unsigned count)
{
    uint64_t hash = atomic_load_explicit(&sites.unloaded, memory_order_relaxed);
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
        for (; seen->at + 1 < count && is_wrapper(&seen_code[seen->at]); known++)
            code_at(seen->frame[known], &seen_code[++seen->at]);
        const unsigned needed = (unsigned)least(seen->at + 2 + sites.needed, FRAMES_MOST);
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
    const uint32_t found = rules_of_stack(seen->count, seen->at, rules);
    const uint64_t key = hash_mix(address ^ code->build) ^ hash_bytes(rules, found * sizeof rules[0]);
    if (site_table_find(&sites.stacks, key, &site))
        return site;
    site = make_site(code, address, rules, found);
    site_table_put(&sites.stacks, key, site, FOR_EVER, is_stale_stack);
    return site;
}

static COLD struct site *resolve(struct site *direct, const void *frame)
{
    struct stack_seen seen;
    struct site *known;
    pthread_mutex_lock(&sites.lock);
    see(direct, frame, &seen);
    struct site *site = site_of_stack(&seen);
    if (seen.at + 1 + sites.needed > atomic_load(&direct->depth))
        atomic_store(&direct->depth, (uint32_t)least(seen.at + 1 + sites.needed, FRAMES_MOST));
    const unsigned depth =
        stack_walk((const void *)direct->address, frame, seen.frame, atomic_load(&direct->depth));
    const uint64_t key = hash_of(seen.frame, depth);
    if (!site_table_find(&sites.stacks, key, &known))
        site_table_put(&sites.stacks, key, site, atomic_load(&sites.unloaded), is_stale_stack);
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
        known->unloaded != atomic_load_explicit(&sites.unloaded, memory_order_relaxed) ||
        known->depth != atomic_load_explicit(&direct->depth, memory_order_relaxed) ||
        (known->from_frame && known->frame != start->frame))
        return false;
    for (uint32_t i = 0; i < known->words; i++)
        if (*known->word[i].place != known->word[i].value)
            return false;
    return true;
}

static struct site *find_on_stack(struct site *direct, const void *frame, const struct os_frame *start,
                                  struct stack_trail *trail)
{
    uintptr_t seen[FRAMES_MOST];
    struct site *site;
    const unsigned count = stack_walk_from(start, (const void *)direct->address, seen,
                                           atomic_load_explicit(&direct->depth, memory_order_relaxed), trail);
    return LIKELY(site_table_find(&sites.stacks, hash_of(seen, count), &site)) ? site
                                                                               : resolve(direct, frame);
}

/* What was resolved just now may have changed the depth: then this is not found again, and noted anew. */
static void note_stack(struct site_stack *known, const struct site *direct, const struct os_frame *start,
                       uint32_t depth, const struct stack_trail *trail, struct site *site)
{
    known->direct = NULL;
    if (trail->count > SITE_STACK_WORDS)
        return;
    *known = (struct site_stack){.direct = direct,
                                 .site = site,
                                 .stack = start->stack,
                                 .frame = start->frame,
                                 .unloaded = atomic_load_explicit(&sites.unloaded, memory_order_relaxed),
                                 .depth = depth,
                                 .words = trail->count,
                                 .from_frame = trail->from_frame};
    memcpy(known->word, trail->word, trail->count * sizeof trail->word[0]);
}

struct site *site_on_stack(struct site *direct, const void *frame, struct site_stack *known)
{
    struct os_frame start;
    struct stack_trail trail;
    if (UNLIKELY(frame == NULL || !os_frame_of(frame, &start)))
        return resolve(direct, frame);
    if (UNLIKELY(known == NULL))
        return find_on_stack(direct, frame, &start, NULL);
    struct site_stack *place = place_of(known, direct, &start);
    if (LIKELY(is_as_it_was(place, direct, &start)))
        return place->site;
    const uint32_t depth = atomic_load_explicit(&direct->depth, memory_order_relaxed);
    trail.count = 0;
    trail.from_frame = false;
    struct site *site = find_on_stack(direct, frame, &start, &trail);
    note_stack(place, direct, &start, depth, &trail, site);
    return site;
}

/* ---------------------------------------------------------------- modules that go */

/* Another module may lie at the address already. One that another thread is just unloading is known to the
 * loader for a moment when its memory is not there any more. */
static bool is_gone(const struct site_table_entry *entry)
{
    struct code now;
    const uintptr_t address = (uintptr_t)atomic_load_explicit(&entry->key, memory_order_relaxed);
    if (!os_is_mapped((const void *)align_down(address, PAGE_BYTES)))
        return true;
    code_module_at(address, &now);
    return now.build != entry->origin;
}

static void forget(struct site_table_entry *entry)
{
    const uintptr_t address = (uintptr_t)atomic_load_explicit(&entry->key, memory_order_relaxed);
    atomic_store_explicit(&entry->key, SITE_TABLE_FORGOTTEN, memory_order_release);
    if (site_passes((const void *)address))
        atomic_store_explicit(&site_passing[address % SITE_PASSING], 0, memory_order_relaxed);
}

static void forget_unloaded(void)
{
    struct site_table *table = atomic_load(&site_addresses);
    atomic_store(&sites.unloaded, os_modules_unloaded());
    for (uint32_t i = 0; i <= table->mask; i++) {
        struct site_table_entry *entry = &table->entry[i];
        if (atomic_load_explicit(&entry->key, memory_order_relaxed) > SITE_TABLE_FORGOTTEN && is_gone(entry))
            forget(entry);
    }
    stack_forget();
    code_forget();
}

void site_forget_unloaded(void)
{
    if (os_modules_unloaded() == atomic_load(&sites.unloaded))
        return;
    pthread_mutex_lock(&sites.lock);
    forget_unloaded();
    pthread_mutex_unlock(&sites.lock);
}

/* ---------------------------------------------------------------- beginning, fork */

void site_begin(const struct policy *policy, bool all_count)
{
    sites.policy = policy;
    sites.all_count = all_count;
    for (size_t i = 0; i < policy->rule_count; i++) {
        const struct policy_rule *rule = &policy->rules[i];
        for (unsigned k = 0; k < rule->stack_count; k++)
            if (rule->stack[k] == NULL)
                sites.needed = FRAMES_MOST;
        sites.needed = (uint32_t)most(sites.needed, rule->stack_count);
    }
    atomic_store(&sites.unloaded, os_modules_unloaded());
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

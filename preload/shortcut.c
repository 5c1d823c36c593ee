/* SPDX-License-Identifier: MIT */
#include "shortcut.h"

#include <errno.h>

#include "export.h"
#include "private.h"

static struct thread_source *source_of(const struct site *site, uint16_t rule)
{
    struct thread_source *source = site->id < thread_self.sites ? thread_self.by_site[site->id] : NULL;
    while (source != NULL && source->rule != rule)
        source = source->next_source;
    return source;
}

/* Is it certain what the next block comes from? A label without {seq} changes after its first block. */
static bool is_settled(const struct thread_source *source, enum policy_verb verb)
{
    return verb == POLICY_EXPORT ? source->segment != NULL && (source->counts || source->numbered)
                                 : verb == POLICY_MERGE && source->arena != NULL;
}

static void *take_exported(const struct thread_shortcut *shortcut, size_t bytes)
{
    struct thread_source *source = shortcut->source;
    void *pointer = NULL;
    if (shortcut_is_slot(shortcut, bytes))
        pointer = export_take_further_on(&source->source, shortcut->sequence, bytes);
    if (pointer == NULL) {
        pointer = export_allocate(source->segment, &source->source, *shortcut->sequence, bytes, 0,
                                  (unsigned)shortcut->flags);
        *shortcut->sequence += pointer != NULL;
    }
    return pointer;
}

void *shortcut_take(struct thread_shortcut *shortcut, size_t bytes)
{
    const int kept_errno = errno;
    struct arena *arena = shortcut->source->arena;
    void *pointer = arena != NULL ? private_allocate(arena, bytes, 0, false) : take_exported(shortcut, bytes);
    if (UNLIKELY(pointer == NULL))
        shortcut->caller = NULL;
    errno = kept_errno;
    return pointer;
}

/* How many bytes may be asked for. Where memory is new it is zero, and to write zeros there costs pages, or
 * keeps them from being merged: so what is to be zeroed goes the long way, but for what exported slabs have.
 */
static size_t most_alike(const struct request *request, enum policy_verb verb)
{
    if (!request->zero)
        return SIZE_MAX;
    return verb == POLICY_EXPORT ? SLOT_BYTES_END - 1 : 0;
}

/* From *least to *most bytes all rules of the site up to `last` say the same as of this request; but for
 * those that the stack decides on, of which *maybe tells. */
static void narrow(const struct policy *policy, const struct site *site, uint16_t last,
                   const struct request *request, size_t *least, size_t *most, bool *maybe)
{
    for (uint32_t i = 0; i < site->rule_count && (site->rules[i] & ~SITE_MAYBE) <= last; i++) {
        if ((site->rules[i] & SITE_MAYBE) != 0)
            *maybe = true;
        else
            policy_rule_narrow(&policy->rules[site->rules[i]], request->bytes, request->call, least, most);
    }
}

/* NULL: it is not the two frames that have decided. */
static const void *key_for(const struct site *direct, const struct site *site, const struct request *request)
{
    if (site == direct)
        return request->caller;
    return site_is_decided_by_two(direct) ? shortcut_key_of_stack(request->caller, request->frame) : NULL;
}

void shortcut_keep(const struct policy *policy, const struct site *direct, const struct site *site,
                   uint32_t place, const struct request *request)
{
    const struct policy_rule *rule = &policy->rules[site->rules[place]];
    struct thread_source *source = source_of(site, site->rules[place]);
    struct thread_shortcut shortcut = {.generation = atomic_load(&site_generation), .source = source};
    shortcut.caller = key_for(direct, site, request);
    size_t most = most_alike(request, rule->verb);
    bool maybe = false, of_stack = false;
    if (shortcut.caller == NULL || shortcut.generation == 0 ||
        shortcut.generation != atomic_load(&site_generation) || request->alignment != 0 ||
        request->bytes > most || source == NULL || !is_settled(source, rule->verb))
        return;
    narrow(policy, site, site->rules[place], request, &shortcut.from, &most, &maybe);
    narrow(policy, direct, site->rules[place], request, &shortcut.from, &most, &of_stack);
    if (maybe)
        return;
    shortcut.length = most - shortcut.from;
    if (rule->verb == POLICY_EXPORT && shortcut.from < SLOT_BYTES_END)
        shortcut.slots = (size_t)least(most, SLOT_BYTES_END - 1) - shortcut.from + 1;
    shortcut.sequence = &source->counter->next;
    shortcut.flags = serve_export_flags(rule, false);
    if (thread_self.shortcuts == NULL)
        thread_self.shortcuts =
            thread_memory(THREAD_SHORTCUT_KINDS * THREAD_SHORTCUTS * sizeof *thread_self.shortcuts);
    if (thread_self.shortcuts != NULL)
        thread_self.shortcuts[shortcut_place(shortcut.caller, request->call)] = shortcut;
}

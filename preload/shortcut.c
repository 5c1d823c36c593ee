/* SPDX-License-Identifier: MIT */
#include "shortcut.h"

#include "export.h"

static struct thread_source *source_of(const struct site *site, uint16_t rule)
{
    struct thread_source *source = site->id < thread_self.sites ? thread_self.by_site[site->id] : NULL;
    while (source != NULL && source->rule != rule)
        source = source->next_source;
    return source;
}

/* A label without {seq} changes after its first block. */
static bool is_settled(const struct thread_source *source)
{
    return source->segment != NULL && (source->counts || source->numbered);
}

void shortcut_keep(const struct policy *policy, const struct site *site, uint32_t place,
                   const struct request *request)
{
    struct thread_source *source = source_of(site, site->rules[place]);
    struct thread_shortcut shortcut = {.caller = request->caller,
                                       .generation = atomic_load(&site_generation)};
    size_t most;
    if (request->alignment != 0 || policy->rules[site->rules[place]].verb != POLICY_EXPORT ||
        source == NULL || !is_settled(source) || shortcut.generation == 0)
        return;
    shortcut.in_use = export_in_use(&source->source, request->bytes, &shortcut.least, &most);
    if (shortcut.in_use == NULL)
        return;
    for (uint32_t i = 0; i <= place; i++) {
        if ((site->rules[i] & SITE_MAYBE) != 0)
            return;
        policy_rule_narrow(&policy->rules[site->rules[i]], request->bytes, request->call, &shortcut.least,
                           &most);
    }
    shortcut.span = most - shortcut.least;
    shortcut.sequence = &source->counter->next;
    if (thread_self.shortcuts == NULL)
        thread_self.shortcuts =
            thread_memory(THREAD_SHORTCUT_KINDS * THREAD_SHORTCUTS * sizeof *thread_self.shortcuts);
    if (thread_self.shortcuts != NULL)
        thread_self.shortcuts[shortcut_place(request->caller, request->call)] = shortcut;
}

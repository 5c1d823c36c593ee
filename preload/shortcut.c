/* SPDX-License-Identifier: MIT */
#include "shortcut.h"

#include <errno.h>

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

void *shortcut_take(struct thread_shortcut *shortcut, size_t bytes)
{
    const int kept_errno = errno;
    struct thread_source *source = shortcut->source;
    void *pointer = NULL;
    if (shortcut_is_slot(shortcut, bytes))
        pointer = export_take_further_on(&source->source, shortcut->sequence, bytes);
    if (pointer == NULL) {
        pointer =
            export_allocate(source->segment, &source->source, *shortcut->sequence, bytes, 0, source->flags);
        *shortcut->sequence += pointer != NULL;
    }
    if (UNLIKELY(pointer == NULL))
        shortcut->caller = NULL;
    errno = kept_errno;
    return pointer;
}

/* Where memory is new it is zero, and to write zeros there costs pages: so a large block that is to be zeroed
 * goes the long way. */
static size_t most_alike(const struct request *request)
{
    return request->zero ? SLOT_BYTES_END - 1 : SIZE_MAX;
}

void shortcut_keep(const struct policy *policy, const struct site *site, uint32_t place,
                   const struct request *request)
{
    const struct policy_rule *rule = &policy->rules[site->rules[place]];
    struct thread_source *source = source_of(site, site->rules[place]);
    struct thread_shortcut shortcut = {
        .caller = request->caller, .generation = atomic_load(&site_generation), .source = source};
    size_t most = most_alike(request);
    if (request->alignment != 0 || request->bytes > most || rule->verb != POLICY_EXPORT || source == NULL ||
        !is_settled(source) || shortcut.generation == 0)
        return;
    for (uint32_t i = 0; i <= place; i++) {
        if ((site->rules[i] & SITE_MAYBE) != 0)
            return;
        policy_rule_narrow(&policy->rules[site->rules[i]], request->bytes, request->call, &shortcut.from,
                           &most);
    }
    shortcut.length = most - shortcut.from;
    const bool some_are_slots = shortcut.from < SLOT_BYTES_END;
    shortcut.least = some_are_slots ? shortcut.from : SIZE_MAX; /* which nobody asks for */
    shortcut.span = some_are_slots ? (size_t)least(most, SLOT_BYTES_END - 1) - shortcut.from : 0;
    shortcut.sequence = &source->counter->next;
    source->flags = serve_export_flags(rule, false);
    if (thread_self.shortcuts == NULL)
        thread_self.shortcuts =
            thread_memory(THREAD_SHORTCUT_KINDS * THREAD_SHORTCUTS * sizeof *thread_self.shortcuts);
    if (thread_self.shortcuts != NULL)
        thread_self.shortcuts[shortcut_place(request->caller, request->call)] = shortcut;
}

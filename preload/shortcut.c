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

/* What none of them is taken from. */
static struct slab_book *const no_slab;

/* Which requests are like this one, as far as it is up to their size; false: those of no others. */
static bool find_alike(struct thread_source *source, const struct policy_rule *rule,
                       const struct request *request, struct thread_shortcut *out, size_t *most)
{
    out->in_use = export_in_use(&source->source, request->bytes, &out->least, most);
    if (out->in_use != NULL)
        return true;
    if (request->bytes < SLOT_BYTES_END || request->zero) /* zeroing is cheaper where memory is new */
        return false;
    out->in_use = &no_slab;
    out->extents = source;
    out->flags = serve_export_flags(rule, false);
    out->least = SLOT_BYTES_END;
    *most = SIZE_MAX;
    return true;
}

void *shortcut_take_extent(struct thread_shortcut *shortcut, size_t bytes)
{
    const int kept_errno = errno;
    struct thread_source *source = shortcut->extents;
    if (source == NULL)
        return NULL;
    void *pointer = export_allocate(source->segment, &source->source, *shortcut->sequence, bytes, 0,
                                    (unsigned)shortcut->flags);
    if (LIKELY(pointer != NULL))
        ++*shortcut->sequence;
    else
        shortcut->caller = NULL;
    errno = kept_errno;
    return pointer;
}

void shortcut_keep(const struct policy *policy, const struct site *site, uint32_t place,
                   const struct request *request)
{
    struct thread_source *source = source_of(site, site->rules[place]);
    struct thread_shortcut shortcut = {.caller = request->caller,
                                       .generation = atomic_load(&site_generation)};
    size_t most;
    const struct policy_rule *rule = &policy->rules[site->rules[place]];
    if (request->alignment != 0 || rule->verb != POLICY_EXPORT || source == NULL || !is_settled(source) ||
        shortcut.generation == 0 || !find_alike(source, rule, request, &shortcut, &most))
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

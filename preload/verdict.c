/* SPDX-License-Identifier: MIT */
#include "verdict.h"

#include <errno.h>
#include <string.h>

#include "error.h"
#include "export.h"
#include "log.h"
#include "os.h"
#include "registry.h"
#include "site.h"

#define SENTENCES_EACH 32u

static struct {
    const struct policy *policy;
    bool follows; /* an MPI rank but the first, which has the last word for all */
} verdict;
_Atomic bool verdict_matched[POLICY_RULES_MAX];

void verdict_begin(const struct policy *policy, const char *rank)
{
    verdict.policy = policy;
    verdict.follows = rank != NULL && strcmp(rank, "0") != 0;
}

/* What is said when a rule has matched, for those who end without having seen it match: mpirun, the shell. */
static void match_note(char out[96], const struct policy_rule *rule)
{
    error_format(out, 96, "matched %u %lx", rule->line,
                 (unsigned long)hash_bytes(rule->text, strlen(rule->text)));
}

COLD void verdict_note(uint16_t rule)
{
    char note[96];
    const int kept_errno = errno;
    atomic_store_explicit(&verdict_matched[rule], true, memory_order_relaxed);
    match_note(note, &verdict.policy->rules[rule]);
    if (log_wants(SETTINGS_LOG_WARN))
        export_first_to_say(note);
    errno = kept_errno;
}

/* A rule that has matched is said again: the parent may end long after this process first said so. One that
 * has not is complained of, unless somebody's has: that is asked under a key of its own. False: neither. */
static bool sentence_about(size_t index, bool complains, struct registry_sentence *out)
{
    char note[96], cause[112];
    const bool matched = atomic_load(&verdict_matched[index]);
    if (!matched && (!complains || site_was_passed((uint16_t)index)))
        return false;
    match_note(note, &verdict.policy->rules[index]);
    error_format(cause, sizeof cause, "never %s", note);
    *out = matched ? (struct registry_sentence){.key = export_key(note), .again = true}
                   : (struct registry_sentence){.key = export_key(cause), .unless = export_key(note)};
    return true;
}

/* The last word about so many rules. */
static enum verdict_left speak_of(size_t first, size_t end, bool complains, int32_t parent)
{
    struct registry_sentence sentence[SENTENCES_EACH];
    uint16_t about[SENTENCES_EACH];
    uint32_t count = 0;
    enum verdict_left left = VERDICT_NOTHING;
    for (size_t i = first; i < end; i++)
        if (sentence_about(i, complains, &sentence[count]))
            about[count++] = (uint16_t)i;
    if (count == 0)
        return left;
    registry_say_all(sentence, count);
    for (uint32_t i = 0; i < count; i++) {
        const struct policy_rule *rule = &verdict.policy->rules[about[i]];
        const int32_t heir = sentence[i].heir; /* the first process of a container has no parent: 0 */
        const enum verdict_left of_it = heir != 0 && heir == parent ? VERDICT_PARENTS : VERDICT_SOMETHING;
        if (!sentence[i].excused && of_it > left)
            left = of_it;
        if (sentence[i].first)
            log_say(SETTINGS_LOG_WARN, NULL, "the rule in line %u of the policy never matched: %s",
                    rule->line, rule->text);
    }
    return left;
}

enum verdict_left verdict_end(bool complains)
{
    const size_t count = verdict.policy->rule_count;
    const int32_t parent = os_parent();
    enum verdict_left left = VERDICT_NOTHING;
    for (size_t first = 0; log_wants(SETTINGS_LOG_WARN) && first < count; first += SENTENCES_EACH) {
        const enum verdict_left here =
            speak_of(first, least(first + SENTENCES_EACH, count), complains && !verdict.follows, parent);
        left = here > left ? here : left;
    }
    return left;
}

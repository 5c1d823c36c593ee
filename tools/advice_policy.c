/* SPDX-License-Identifier: MIT */
#include "advice_policy.h"

#include "display.h"
#include "tool.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* What is longer would not be read back. Rules that save little come last, and are left out first. */
#define TEXT_MOST (POLICY_TEXT_MAX - 4096)

static const char *plural(uint64_t count)
{
    return count == 1 ? "" : "es";
}

static const char *place_name(char **place, const struct place *from)
{
    char *text = advice_site_text(from);
    *place = display_escape(text, strlen(text));
    free(text);
    return *place;
}

static void say_place(FILE *to, const struct place *place)
{
    char peak[DISPLAY_SIZE_MAX], *name, *where = advice_where_text(place);
    char *shown = display_escape(where, strlen(where));
    const bool known = strchr(shown, ':') != NULL; /* else it is the offset, which the name has */
    fprintf(to, "#   %s%s%s: %s at the peaks of %zu process%s, %.0f%% of it identical\n",
            place_name(&name, place), known ? ", " : "", known ? shown : "",
            display_size(place->worth.peak_bytes, false, peak), place->worth.processes,
            plural(place->worth.processes), worth_share(&place->worth));
    free(shown);
    free(where);
    free(name);
}

static void say_rule(FILE *to, const struct advice *advice, size_t index)
{
    enum { PLACES_SHOWN = 8 };
    const struct wording_rule *rule = &advice->wording.rules[index];
    char saved[DISPLAY_SIZE_MAX];
    size_t said = 0;
    fprintf(to, "\n# One copy saves %s.\n", display_size(rule->saved_bytes, false, saved));
    for (size_t i = 0; i < advice->places.count; i++) {
        if (advice->wording.rule_of[i] != index || said++ >= PLACES_SHOWN)
            continue;
        say_place(to, &advice->places.items[i]);
    }
    if (said > PLACES_SHOWN)
        fprintf(to, "#   and %zu more\n", said - PLACES_SHOWN);
    fprintf(to, "%s\n", rule->text);
}

/* Those that have rules, so that mpirun and shells on the way are left alone. */
static void say_programs(FILE *to, const struct advice *advice)
{
    for (size_t program = 0; program < advice->stacks.program_count; program++) {
        bool has_rules = false;
        for (size_t i = 0; i < advice->places.count; i++)
            has_rules |= advice->wording.rule_of[i] != WORDING_NONE &&
                         advice->places.items[i].stacks->program == program;
        const char *path = advice->stacks.programs[program].path, *slash = strrchr(path, '/');
        char *glob = wording_glob(slash != NULL ? slash + 1 : path), *value = wording_value(glob);
        if (has_rules && *glob != '\0')
            fprintf(to, "program %s\n", value);
        free(glob);
        free(value);
    }
}

static void say_unresolved(FILE *to, const struct advice *advice)
{
    for (size_t i = 0; i < advice->places.count; i++) {
        const struct place *place = &advice->places.items[i];
        char *name, saved[DISPLAY_SIZE_MAX];
        if (!place->wanted || advice->wording.rule_of[i] != WORDING_NONE)
            continue;
        fprintf(to, "\n# %s would save %s, but no rule tells it from calls that are not worth it.\n",
                place_name(&name, place), display_size(place->worth.saved_bytes, false, saved));
        free(name);
    }
}

static void say_head(FILE *to, const struct advice *advice)
{
    char saved[DISPLAY_SIZE_MAX], peak[DISPLAY_SIZE_MAX];
    fprintf(to, "# Made by `shmpreload advise` from the records of %zu process%s.\n", advice->processes,
            plural(advice->processes));
    if (advice->wording.rule_count == 0) {
        fprintf(to, "# %s\n",
                advice->processes < 2 ? "What processes have in common is not known: record at least two."
                                      : "No rule is worth having.");
        return;
    }
    fprintf(
        to,
        "# It saves up to %s of %s (the peaks of all call sites together). Blocks that are written to all\n"
        "# the time save less; blocks with pointers to smaller ones need those under a rule, too, so that\n"
        "# they lie at the same addresses: lower size>= for them.\n",
        display_size(advice->saved_bytes, false, saved), display_size(advice->peak_bytes, false, peak));
    say_programs(to, advice);
    if (advice->wording.prefix[0] != '\0')
        fprintf(to, "\n# These allocate for their callers, who are the call sites:\n%s",
                advice->wording.prefix);
}

/* The first `rules` rules. */
static char *text_with(const struct advice *advice, size_t rules)
{
    char *text = NULL;
    size_t length;
    FILE *to = required(open_memstream(&text, &length));
    say_head(to, advice);
    for (size_t i = 0; i < rules; i++)
        say_rule(to, advice, i);
    if (rules < advice->wording.rule_count)
        fprintf(to, "\n# %zu more that save less are left out.\n", advice->wording.rule_count - rules);
    else
        say_unresolved(to, advice);
    required(fclose(to) == 0 ? text : NULL);
    return text;
}

void advice_write_policy(struct advice *advice)
{
    size_t rules = advice->wording.rule_count;
    char *text = text_with(advice, rules);
    while (strlen(text) > TEXT_MOST && rules > 0) {
        free(text);
        rules -= rules / 8 + 1;
        text = text_with(advice, rules);
    }
    advice->policy = text;
    advice->unproven = !wording_is_proven(&advice->wording, text);
}

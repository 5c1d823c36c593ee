/* SPDX-License-Identifier: MIT */
#include "wording.h"

#include "display.h"
#include "matching.h"
#include "tool.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define RULES_MOST 200u /* a policy has room for more, and comments take some */

/* ---------------------------------------------------------------- words */

static bool is_word(char byte)
{
    return isalnum((unsigned char)byte) || strchr("_.:~-", byte) != NULL;
}

/* What a glob, a quoted value or an arrow would mean otherwise becomes a '?'. */
char *wording_glob(const char *name)
{
    char *glob = formatted("%s", name);
    for (char *at = glob; *at != '\0'; at++) {
        const unsigned char byte = (unsigned char)*at;
        if (byte < ' ' || byte >= 0x7f || strchr("\"'*?[\\", byte) != NULL || (byte == '<' && at[1] == '-'))
            *at = '?';
    }
    return glob;
}

char *wording_value(const char *glob)
{
    for (const char *at = glob; *at != '\0'; at++)
        if (!is_word(*at) && strchr("?*!/<>", *at) == NULL)
            return formatted("\"%s\"", glob);
    return formatted("%s", glob);
}

/* Appends; `text` NULL is empty. */
static char *append(char *text, const char *separator, const char *more)
{
    char *longer = text != NULL ? formatted("%s%s%s", text, separator, more) : formatted("%s", more);
    free(text);
    return longer;
}

static char *append_value(char *text, const char *key, char *glob)
{
    char *value = wording_value(glob), *word = formatted("%s=%s", key, value);
    text = append(text, " ", word);
    free(word);
    free(value);
    free(glob);
    return text;
}

/* libx.so.1.2 is libx.so* to the next version. */
static char *module_glob(const char *base)
{
    char *glob = wording_glob(base), *version = strstr(glob, ".so.");
    if (version != NULL)
        strcpy(version + 3, "*");
    return glob;
}

static bool is_program(const struct places *places, const struct place *place, const struct spot *spot)
{
    return places->stacks->programs[place->stacks->program].image == spot->image;
}

static bool has_name(const struct spot *spot)
{
    return spot->function != NULL;
}

/* The exact call; NULL: it lies in no file. */
static char *exact_glob(const struct spot *spot)
{
    return spot->image->path[0] != '\0' ? formatted("%s!0x%" PRIx64, spot->image->base, spot->offset) : NULL;
}

/* What is said by exact calls rather than by the names of functions. */
enum words { WORDS_NAMES, WORDS_LAST_EXACT, WORDS_EXACT, WORDS };

/* Beginning at the site, as many frames as `length`. What has no name is said exactly. */
static char *stack_glob(const struct place *place, enum words words, size_t length)
{
    char *text = NULL;
    for (size_t i = place->site; i < place->site + length; i++) {
        const struct spot *spot = place->stacks->frame[i];
        const bool last = i + 1 == place->site + length;
        const bool named = has_name(spot) && (words == WORDS_NAMES || (words == WORDS_LAST_EXACT && !last));
        char *glob = named ? wording_glob(spot->function) : exact_glob(spot);
        text = append(text, "<-", glob != NULL ? glob : "*");
        free(glob);
    }
    return text;
}

/* ---------------------------------------------------------------- tries */

const struct policy *wording_parse(struct wording *wording, const char *text)
{
    struct policy_error error;
    return policy_parse(text, strlen(text), wording->memory, POLICY_MEMORY, &error);
}

static bool takes(const struct policy *policy, const struct stacks *stacks, const struct stack *stack)
{
    bool matched[POLICY_RULES_MAX];
    return !stacks->programs[stack->program].ignored && matching_rules(policy, stacks, stack, matched);
}

static size_t index_of(const struct wording *wording, const struct stack *stack)
{
    return (size_t)(stack - wording->places->stacks->items);
}

static bool takes_place(const struct wording *wording, const struct policy *policy, const struct place *place)
{
    for (size_t i = 0; i < place->stack_count; i++)
        if (wording->kinds[index_of(wording, &place->stacks[i])] == PLACE_GOOD &&
            !takes(policy, wording->places->stacks, &place->stacks[i]))
            return false;
    return true;
}

static bool takes_bad(const struct wording *wording, const struct policy *policy)
{
    const struct stacks *stacks = wording->places->stacks;
    for (size_t i = 0; i < stacks->count; i++)
        if (wording->kinds[i] == PLACE_BAD && takes(policy, stacks, &stacks->items[i]))
            return true;
    return false;
}

static bool is_right(struct wording *wording, const char *rule, const struct place *place)
{
    char *text = formatted("%s%s\n", wording->prefix, rule);
    const struct policy *policy = wording_parse(wording, text);
    free(text);
    return policy != NULL && takes_place(wording, policy, place) && !takes_bad(wording, policy);
}

/* One way to say it; NULL: there is none of this kind. */
static char *try_words(const struct places *places, const struct place *place, enum words words,
                       size_t length)
{
    const struct spot *spot = place_spot(place);
    char size[DISPLAY_SIZE_MAX], *text = formatted("merge");
    if (length == 1 && words == WORDS_NAMES)
        text = append_value(text, "func", wording_glob(spot->function));
    else if (length == 1)
        text = append_value(text, "site", exact_glob(spot));
    if (words == WORDS_NAMES && !is_program(places, place, spot))
        text = append_value(text, "module", module_glob(spot->image->base));
    if (length > 1)
        text = append_value(text, "stack", stack_glob(place, words, length));
    char *bound = formatted("size>=%s", display_policy_size(place->least_compared, size));
    text = append(text, " ", bound);
    free(bound);
    return text;
}

/* The first right one of these words and those with more callers. */
static char *find_words(struct wording *wording, const struct place *place, enum words words)
{
    for (size_t length = 1; length <= place->depth - place->site; length++) {
        char *text = try_words(wording->places, place, words, length);
        if (is_right(wording, text, place))
            return text;
        free(text);
    }
    return NULL;
}

static char *find_rule(struct wording *wording, const struct place *place)
{
    const struct spot *spot = place_spot(place);
    char *text = NULL;
    if (spot->image->path[0] == '\0')
        return NULL;
    for (enum words words = has_name(spot) ? WORDS_NAMES : WORDS_EXACT; words < WORDS && text == NULL;
         words++)
        text = find_words(wording, place, words);
    return text;
}

/* ---------------------------------------------------------------- rules */

/* A rule may do for several places. */
static void note_covered(struct wording *wording, const struct place *from, const struct policy *policy)
{
    const struct places *places = wording->places;
    for (size_t i = 0; i < places->count; i++) {
        const struct place *place = &places->items[i];
        if (!place->wanted || wording->rule_of[i] != WORDING_NONE ||
            place->least_compared < from->least_compared || !takes_place(wording, policy, place))
            continue;
        struct wording_rule *rule = &wording->rules[wording->rule_count - 1];
        wording->rule_of[i] = wording->rule_count - 1;
        rule->saved_bytes = worth_add(rule->saved_bytes, place->worth.saved_bytes);
        rule->peak_bytes = worth_add(rule->peak_bytes, place->worth.peak_bytes);
        rule->places++;
    }
}

static void add_rule(struct wording *wording, const struct place *place, char *rule)
{
    wording->rules = room_for_one(wording->rules, wording->rule_count, sizeof *wording->rules);
    wording->rules[wording->rule_count++] = (struct wording_rule){.text = rule};
    char *text = formatted("%s%s\n", wording->prefix, rule);
    note_covered(wording, place, wording_parse(wording, text));
    free(text);
}

void wording_find(struct wording *wording, const struct places *places, const char *prefix)
{
    const struct stacks *stacks = places->stacks;
    *wording = (struct wording){.places = places, .prefix = formatted("%s", prefix)};
    wording->memory = required(malloc(POLICY_MEMORY));
    wording->kinds = required(calloc(stacks->count + 1, sizeof *wording->kinds));
    wording->rule_of = required(calloc(places->count + 1, sizeof *wording->rule_of));
    for (size_t i = 0; i < stacks->count; i++)
        wording->kinds[i] = places_kind(stacks, &stacks->items[i]);
    for (size_t i = 0; i < places->count; i++)
        wording->rule_of[i] = WORDING_NONE;
    for (size_t i = 0; i < places->count && wording->rule_count < RULES_MOST; i++) {
        char *rule = places->items[i].wanted && wording->rule_of[i] == WORDING_NONE
                         ? find_rule(wording, &places->items[i])
                         : NULL;
        if (rule != NULL)
            add_rule(wording, &places->items[i], rule);
    }
}

void wording_release(struct wording *wording)
{
    for (size_t i = 0; i < wording->rule_count; i++)
        free(wording->rules[i].text);
    free(wording->rules);
    free(wording->prefix);
    free(wording->rule_of);
    free(wording->kinds);
    free(wording->memory);
    *wording = (struct wording){0};
}

bool wording_is_proven(struct wording *wording, const char *text)
{
    const struct places *places = wording->places;
    const struct policy *policy = wording_parse(wording, text);
    if (policy == NULL || takes_bad(wording, policy))
        return false;
    for (size_t i = 0; i < places->count; i++)
        if (wording->rule_of[i] != WORDING_NONE && !takes_place(wording, policy, &places->items[i]))
            return false;
    return true;
}

/* ---------------------------------------------------------------- wrappers */

static bool names_an_allocator(const char *function)
{
    return strcasestr(function, "alloc") != NULL || strcasestr(function, "getmem") != NULL ||
           strcasestr(function, "get_mem") != NULL;
}

/* The directive, unless `lines` has it already. */
static char *add_wrapper(char *lines, const struct places *places, const struct place *place)
{
    const struct spot *spot = place_spot(place);
    char *line = append_value(formatted("wrapper"), "func", wording_glob(spot->function));
    line = append_value(line, "module",
                        is_program(places, place, spot) ? formatted("exe") : module_glob(spot->image->base));
    line = append(line, "", "\n");
    if (lines == NULL || strstr(lines, line) == NULL)
        lines = append(lines, "", line);
    free(line);
    return lines;
}

static bool has_caller(const struct place *place)
{
    return place->stacks->frame_count > place->site + 1;
}

/* Is it called from more places than one, in any of its stacks? */
static bool has_callers(const struct places *places, const struct spot *spot)
{
    const struct spot *caller = NULL;
    for (size_t i = 0; i < places->count; i++) {
        const struct place *place = &places->items[i];
        const char *function = place_spot(place)->function;
        if (place_spot(place)->image != spot->image || function == NULL ||
            strcmp(function, spot->function) != 0)
            continue;
        for (size_t k = 0; k < place->stack_count; k++) {
            const struct stack *stack = &place->stacks[k];
            if (stack->frame_count <= place->site + 1)
                continue;
            if (caller != NULL && caller != stack->frame[place->site + 1])
                return true;
            caller = stack->frame[place->site + 1];
        }
    }
    return false;
}

char *wording_wrappers(const struct places *places)
{
    char *lines = NULL;
    for (size_t i = 0; i < places->count; i++) {
        const struct spot *spot = place_spot(&places->items[i]);
        if (has_name(spot) && has_caller(&places->items[i]) && names_an_allocator(spot->function) &&
            has_callers(places, spot))
            lines = add_wrapper(lines, places, &places->items[i]);
    }
    return lines;
}

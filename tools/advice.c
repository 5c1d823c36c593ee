/* SPDX-License-Identifier: MIT */
#include "advice.h"

#include "tool.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define ROUNDS 4 /* of wrappers behind wrappers */

int advice_read_records(struct advice *advice, char *const *paths, size_t count)
{
    *advice = (struct advice){.records = required(calloc(count + 1, sizeof(struct record)))};
    for (size_t i = 0; i < count; i++)
        advice->record_count += record_open(&advice->records[advice->record_count], paths[i]);
    return advice->record_count > 0 ? 0 : -1;
}

/* ---------------------------------------------------------------- finding */

/* The places, with these functions as wrappers. */
static void look_with(struct advice *advice, const char *prefix, uint64_t least_saving)
{
    struct policy_error error;
    places_release(&advice->places);
    advice->wrappers = policy_parse(prefix, strlen(prefix), advice->memory, POLICY_MEMORY, &error);
    if (advice->wrappers == NULL) /* too many: do without */
        advice->wrappers = policy_parse("", 0, advice->memory, POLICY_MEMORY, &error);
    places_find(&advice->places, &advice->stacks, advice->wrappers, least_saving);
}

static char *join(char *text, char *more)
{
    char *both = formatted("%s%s", text, more);
    free(text);
    free(more);
    return both;
}

/* With all functions as wrappers that are called as if they were. */
static char *find_places(struct advice *advice, char *prefix, uint64_t least_saving)
{
    look_with(advice, prefix, least_saving);
    for (int round = 0; round < ROUNDS; round++) {
        char *more = wording_wrappers(&advice->places);
        if (more == NULL)
            break;
        prefix = join(prefix, more);
        look_with(advice, prefix, least_saving);
    }
    return prefix;
}

static void find_rules(struct advice *advice, uint64_t least_saving)
{
    char *prefix = find_places(advice, formatted("%s", ""), least_saving);
    wording_find(&advice->wording, &advice->places, prefix);
    free(prefix);
}

static void add_up(struct advice *advice)
{
    for (size_t i = 0; i < advice->stacks.program_count; i++)
        if (!advice->stacks.programs[i].ignored)
            advice->processes += advice->stacks.programs[i].processes;
    for (size_t i = 0; i < advice->places.count; i++)
        advice->peak_bytes = worth_add(advice->peak_bytes, advice->places.items[i].worth.peak_bytes);
    for (size_t i = 0; i < advice->wording.rule_count; i++)
        advice->saved_bytes = worth_add(advice->saved_bytes, advice->wording.rules[i].saved_bytes);
}

void advice_name_stacks(struct advice *advice)
{
    stacks_join(&advice->stacks, advice->records, advice->record_count);
    advice->symbols = symbols_open();
    symbols_name_all(advice->symbols, &advice->stacks);
    for (size_t i = 0; i < advice->stacks.spot_count; i++)
        symbols_locate(advice->symbols, advice->stacks.spots[i]);
}

void advice_find(struct advice *advice, uint64_t least_saving)
{
    advice->memory = required(malloc(POLICY_MEMORY));
    advice_name_stacks(advice);
    find_rules(advice, least_saving);
    add_up(advice);
}

void advice_release(struct advice *advice)
{
    free(advice->policy);
    wording_release(&advice->wording);
    places_release(&advice->places);
    if (advice->symbols != NULL)
        symbols_close(advice->symbols);
    stacks_release(&advice->stacks);
    for (size_t i = 0; i < advice->record_count; i++)
        record_release(&advice->records[i]);
    free(advice->records);
    free(advice->memory);
    *advice = (struct advice){0};
}

/* ---------------------------------------------------------------- words */

static char *offset_text(const struct spot *spot)
{
    return spot->image->path[0] == '\0' ? formatted("?")
                                        : formatted("%s!0x%" PRIx64, spot->image->base, spot->offset);
}

static char *spot_text(const struct spot *spot)
{
    if (spot->function != NULL)
        return formatted("%s", spot->function);
    return spot->debug != NULL ? formatted("%s", spot->debug) : offset_text(spot);
}

/* The module's name stands once for several in a row. */
static char *caller_text(const struct spot *spot, const struct spot *inner)
{
    char *text = spot_text(spot), *mark = strstr(text, "!0x");
    if (mark == NULL || spot->image != inner->image || inner->function != NULL || inner->debug != NULL)
        return text;
    memmove(text, mark + 1, strlen(mark + 1) + 1);
    return text;
}

char *advice_site_text(const struct place *place)
{
    char *text = spot_text(place_spot(place));
    for (size_t i = place->site + 1; i < place->depth && i < place->stacks->frame_count; i++) {
        char *caller = caller_text(place->stacks->frame[i], place->stacks->frame[i - 1]);
        char *longer = formatted("%s<-%s", text, caller);
        free(text);
        free(caller);
        text = longer;
    }
    return text;
}

char *advice_where_text(const struct place *place)
{
    const struct spot *spot = place->stacks->frame[place->depth - 1];
    if (spot->file == NULL)
        return offset_text(spot);
    const char *slash = strrchr(spot->file, '/');
    return formatted("%s:%u", slash != NULL ? slash + 1 : spot->file, spot->line);
}

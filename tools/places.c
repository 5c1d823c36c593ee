/* SPDX-License-Identifier: MIT */
#include "places.h"

#include "matching.h"
#include "tool.h"

#include <stdlib.h>
#include <string.h>

#define SHARE_LEAST 25.0 /* the shim leaves a piece alone of which less is equal */

/* A merge rule waits for two seconds without a write, and what it then does should last: four times that. In
 * a shorter run, what lived for half of it counts as long. */
#define SHORT_POWER       33u
#define SHORT_PART_OF_RUN 2u

const struct spot *place_spot(const struct place *place)
{
    return place->stacks->frame[place->site];
}

/* ---------------------------------------------------------------- what stacks have done */

static unsigned short_power(const struct record_header *header)
{
    const uint64_t run = header->ended > header->began ? header->ended - header->began : UINT64_MAX;
    unsigned power = SHORT_POWER;
    while (power > 0 && (UINT64_C(1) << power) > run / SHORT_PART_OF_RUN)
        power--;
    return power;
}

/* Are most blocks freed too soon for any use? */
static bool dies_young(const struct stacks *stacks, const struct stack *found, size_t count)
{
    uint64_t calls = 0, young = 0;
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < found[i].row_count; k++) {
            const struct stack_row *row = &found[i].rows[k];
            const unsigned power = short_power(&stacks->processes[row->process].record->header);
            calls = worth_add(calls, row->site->calls);
            for (unsigned p = 0; p < power && p < RECORD_LIFETIMES; p++)
                young = worth_add(young, row->site->lifetimes[p]);
        }
    }
    return young > calls / 2;
}

static int compare_parts(const void *left, const void *right)
{
    const struct worth_part *a = left, *b = right;
    return (a->process > b->process) - (a->process < b->process);
}

static struct worth worth_of_stacks(const struct stacks *stacks, const struct stack *found, size_t count)
{
    size_t rows = 0, next = 0;
    for (size_t i = 0; i < count; i++)
        rows += found[i].row_count;
    struct worth_part *parts = required(calloc(rows + 1, sizeof *parts));
    for (size_t i = 0; i < count; i++) {
        for (size_t k = 0; k < found[i].row_count; k++) {
            const struct stack_row *row = &found[i].rows[k];
            parts[next++] = (struct worth_part){.process = row->process,
                                                .host = stacks->processes[row->process].host,
                                                .marks = row->marks,
                                                .peak_bytes = row->site->peak_bytes,
                                                .read_bytes = row->site->read_bytes};
        }
    }
    qsort(parts, rows, sizeof *parts, compare_parts);
    const struct worth worth = worth_of(parts, rows);
    free(parts);
    return worth;
}

static bool is_good(const struct worth *worth, bool short_lived)
{
    return worth->saved_bytes > 0 && worth_share(worth) >= SHARE_LEAST && !short_lived;
}

static uint64_t largest(const struct stack *stack)
{
    uint64_t most = 0;
    for (size_t i = 0; i < stack->row_count; i++)
        if (stack->rows[i].site->most_size > most)
            most = stack->rows[i].site->most_size;
    return most;
}

enum place_kind places_kind(const struct stacks *stacks, const struct stack *stack)
{
    if (largest(stack) < PLACES_LEAST_SIZE)
        return PLACE_UNKNOWN;
    const struct worth worth = worth_of_stacks(stacks, stack, 1);
    return is_good(&worth, dies_young(stacks, stack, 1)) ? PLACE_GOOD : PLACE_BAD;
}

/* ---------------------------------------------------------------- places */

static uint64_t least_compared(const struct place *place)
{
    for (unsigned power = 0; power < RECORD_SIZES; power++) {
        for (size_t i = 0; i < place->stack_count; i++) {
            uint64_t least, most;
            const uint64_t bound = UINT64_C(1) << power;
            if (matching_sizes(&place->stacks[i], power, &least, &most) && most >= PLACES_LEAST_SIZE)
                return bound > PLACES_LEAST_SIZE ? bound : PLACES_LEAST_SIZE;
        }
    }
    return 0;
}

static void add_place(struct places *places, size_t first, size_t count, size_t site, size_t depth)
{
    const struct stacks *stacks = places->stacks;
    struct place place = {
        .stacks = &stacks->items[first], .stack_count = count, .site = site, .depth = depth};
    place.worth = worth_of_stacks(stacks, place.stacks, count);
    place.short_lived = dies_young(stacks, place.stacks, count);
    place.least_compared = least_compared(&place);
    if (place.short_lived)
        place.worth.saved_bytes = 0; /* they are gone before it could be */
    place.wanted =
        place.worth.saved_bytes >= places->least_saving && is_good(&place.worth, place.short_lived);
    for (size_t i = 0; i < count; i++)
        for (size_t k = 0; k < place.stacks[i].row_count; k++)
            place.calls = worth_add(place.calls, place.stacks[i].rows[k].site->calls);
    places->items = room_for_one(places->items, places->count, sizeof place);
    places->items[places->count++] = place;
}

static bool is_mixed(const enum place_kind *kinds, size_t first, size_t count)
{
    bool good = false, bad = false;
    for (size_t i = first; i < first + count; i++) {
        good |= kinds[i] == PLACE_GOOD;
        bad |= kinds[i] == PLACE_BAD;
    }
    return good && bad;
}

/* Is the frame the same? Stacks that end before it are alike as well. */
static bool goes_on_as(const struct stack *left, const struct stack *right, size_t depth)
{
    if (left->frame_count <= depth || right->frame_count <= depth)
        return left->frame_count <= depth && right->frame_count <= depth;
    return left->frame[depth] == right->frame[depth];
}

/* Stacks that are alike in `depth` frames. As deep as stacks are at most. */
static void split(struct places *places, const enum place_kind *kinds, size_t first, size_t count,
                  size_t site, size_t depth)
{
    const struct stack *items = places->stacks->items;
    if (!is_mixed(kinds, first, count) || count == 1) {
        add_place(places, first, count, site, depth);
        return;
    }
    for (size_t from = first, to; from < first + count; from = to) {
        for (to = from + 1; to < first + count && goes_on_as(&items[from], &items[to], depth);)
            to++;
        const bool ends = items[from].frame_count <= depth;
        split(places, kinds, from, to - from, site, depth + !ends);
    }
}

static bool has_site_of(const struct places *places, const struct stack *stack, const struct stack *other,
                        size_t site)
{
    if (other->program != stack->program || other->frame_count <= site ||
        matching_site(places->policy, places->stacks, other) != site)
        return false;
    for (size_t i = 0; i <= site; i++)
        if (stack->frame[i] != other->frame[i])
            return false;
    return true;
}

static int compare_places(const void *left, const void *right)
{
    const struct place *a = left, *b = right;
    if (a->worth.saved_bytes != b->worth.saved_bytes)
        return a->worth.saved_bytes > b->worth.saved_bytes ? -1 : 1;
    if (a->worth.peak_bytes != b->worth.peak_bytes)
        return a->worth.peak_bytes > b->worth.peak_bytes ? -1 : 1;
    return (a->stacks > b->stacks) - (a->stacks < b->stacks);
}

void places_find(struct places *places, const struct stacks *stacks, const struct policy *policy,
                 uint64_t least_saving)
{
    *places = (struct places){.stacks = stacks, .policy = policy, .least_saving = least_saving};
    enum place_kind *kinds = required(calloc(stacks->count + 1, sizeof *kinds));
    for (size_t i = 0; i < stacks->count; i++)
        kinds[i] = places_kind(stacks, &stacks->items[i]);
    for (size_t from = 0, to; from < stacks->count; from = to) {
        const struct stack *stack = &stacks->items[from];
        const size_t site = matching_site(policy, stacks, stack);
        for (to = from + 1; to < stacks->count && has_site_of(places, stack, &stacks->items[to], site);)
            to++;
        if (!stacks->programs[stack->program].ignored)
            split(places, kinds, from, to - from, site, site + 1);
    }
    free(kinds);
    if (places->count > 1)
        qsort(places->items, places->count, sizeof *places->items, compare_places);
}

void places_release(struct places *places)
{
    free(places->items);
    *places = (struct places){0};
}

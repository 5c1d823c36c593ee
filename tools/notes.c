/* SPDX-License-Identifier: MIT */
#include "notes.h"

#include "display.h"
#include "tool.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void note(struct notes *notes, const char *format, ...) __attribute__((format(printf, 2, 3)));

static void note(struct notes *notes, const char *format, ...)
{
    char *text = NULL;
    va_list arguments;
    va_start(arguments, format);
    if (vasprintf(&text, format, arguments) < 0)
        required(NULL);
    va_end(arguments);
    notes->items = room_for_one(notes->items, notes->count, sizeof *notes->items);
    notes->items[notes->count++] = display_escape(text, strlen(text));
    free(text);
}

static const char *name_of(const struct program *program)
{
    const char *slash = strrchr(program->path, '/');
    return slash != NULL ? slash + 1 : program->path;
}

/* ---------------------------------------------------------------- programs */

/* The most processes of the program on one host. */
static size_t together(const struct stacks *stacks, size_t program)
{
    size_t most = 0;
    for (size_t i = 0; i < stacks->process_count; i++) {
        size_t here = 0;
        for (size_t k = 0; k < stacks->process_count; k++)
            here += stacks->processes[k].program == program &&
                    stacks->processes[k].host == stacks->processes[i].host;
        most = here > most ? here : most;
    }
    return most;
}

static size_t children(const struct stacks *stacks, size_t program)
{
    size_t found = 0;
    for (size_t i = 0; i < stacks->process_count; i++) {
        for (size_t k = 0; k < stacks->process_count; k++) {
            const struct process *child = &stacks->processes[i], *parent = &stacks->processes[k];
            if (i == k || child->program != program || parent->program != program ||
                child->host != parent->host || child->record->header.parent != parent->record->header.process)
                continue;
            found++;
            break;
        }
    }
    return found;
}

static void note_program(struct notes *notes, const struct stacks *stacks, size_t index)
{
    const struct program *program = &stacks->programs[index];
    const char *name = name_of(program);
    if (program->ignored) {
        note(notes, "%zu process%s of %s left out: it only starts others", program->processes,
             program->processes == 1 ? "" : "es", name);
        return;
    }
    if (program->processes == 1)
        note(notes,
             "there is one process of %s: record at least two to see what they have in common; its blocks "
             "can be shown to others by `export` and shared with them by `share`",
             name);
    else if (together(stacks, index) < 2)
        note(notes, "the %zu processes of %s ran on a host each: nothing can be kept once there",
             program->processes, name);
    const size_t forked = children(stacks, index);
    if (forked > 0)
        note(notes, "%zu process%s of %s forked from another: what they inherited is shared already", forked,
             forked == 1 ? "" : "es", name);
}

/* ---------------------------------------------------------------- what is not in the records */

struct sums {
    uint64_t dropped_calls, dropped_blocks, unread_bytes, small_peak, least_bytes;
    size_t running;
};

static void add_record(struct sums *sums, struct notes *notes, const struct record *record)
{
    const struct record_header *header = &record->header;
    sums->dropped_calls = worth_add(sums->dropped_calls, header->dropped_calls);
    sums->dropped_blocks = worth_add(sums->dropped_blocks, header->dropped_blocks);
    sums->unread_bytes = worth_add(sums->unread_bytes, header->unread_bytes);
    sums->running += header->ended == 0;
    if (header->least_bytes > sums->least_bytes)
        sums->least_bytes = header->least_bytes;
    if (record->damaged_sites > 0)
        note(notes, "%zu row%s of '%s' are damaged and left out", record->damaged_sites,
             record->damaged_sites == 1 ? "" : "s", record->path);
}

static void add_small(struct sums *sums, const struct stacks *stacks)
{
    for (size_t i = 0; i < stacks->row_count; i++)
        if (stacks->rows[i].site->most_size < PLACES_LEAST_SIZE &&
            !stacks->programs[stacks->processes[stacks->rows[i].process].program].ignored)
            sums->small_peak = worth_add(sums->small_peak, stacks->rows[i].site->peak_bytes);
}

static void note_sums(struct notes *notes, const struct sums *sums)
{
    char text[DISPLAY_SIZE_MAX];
    if (sums->running > 0)
        note(notes, "%zu process%s did not come to an end (running, killed, or it called exec)",
             sums->running, sums->running == 1 ? "" : "es");
    if (sums->dropped_calls > 0)
        note(notes, "%" PRIu64 " calls are missing: there was no room for more stacks", sums->dropped_calls);
    if (sums->dropped_blocks > 0)
        note(notes, "the end of %" PRIu64 " blocks was not seen for want of memory: peaks can be too high",
             sums->dropped_blocks);
    if (sums->unread_bytes > 0)
        note(notes, "%s were not looked at, to save time: more can be identical than is said",
             display_size(sums->unread_bytes, false, text));
    if (sums->least_bytes > 1)
        note(notes, "requests of less than %s bytes were not recorded",
             display_policy_size(sums->least_bytes, text));
    if (sums->small_peak > 0)
        note(notes, "%s of the peaks are blocks of less than 64K, which are not compared",
             display_size(sums->small_peak, false, text));
}

/* ---------------------------------------------------------------- places */

static void note_short_lived(struct notes *notes, const struct places *places)
{
    char *numbers = NULL;
    for (size_t i = 0; i < places->count && i < 100; i++) {
        if (!places->items[i].short_lived || places->items[i].worth.identical == 0)
            continue;
        char *longer =
            formatted("%s%s%zu", numbers != NULL ? numbers : "", numbers != NULL ? ", " : "", i + 1);
        free(numbers);
        numbers = longer;
    }
    if (numbers != NULL)
        note(notes, "blocks of #%s are freed before they could be merged: no rule for them", numbers);
    free(numbers);
}

/* Where much differs, pointers may be all that does. */
static void note_pointers(struct notes *notes, const struct places *places)
{
    for (size_t i = 0; i < places->count; i++) {
        const struct worth *worth = &places->items[i].worth;
        if (worth_share(worth) < 0 || worth_share(worth) > 90 || worth->peak_bytes < places->least_saving * 4)
            continue;
        note(notes, "blocks with pointers differ where addresses do, and need not under a merge rule: to see "
                    "through that, record under `setarch -R`");
        return;
    }
}

void notes_find(struct notes *notes, const struct advice *advice)
{
    struct sums sums = {0};
    *notes = (struct notes){0};
    for (size_t i = 0; i < advice->stacks.program_count; i++)
        note_program(notes, &advice->stacks, i);
    for (size_t i = 0; i < advice->record_count; i++)
        add_record(&sums, notes, &advice->records[i]);
    add_small(&sums, &advice->stacks);
    note_sums(notes, &sums);
    note_short_lived(notes, &advice->places);
    note_pointers(notes, &advice->places);
    if (advice->unproven)
        note(notes,
             "the rules do not hold together as each does alone: look at them with `shmpreload check`");
}

void notes_release(struct notes *notes)
{
    for (size_t i = 0; i < notes->count; i++)
        free(notes->items[i]);
    free(notes->items);
    *notes = (struct notes){0};
}

/* SPDX-License-Identifier: MIT
 *
 * Is each write to the undo log needed, and would the tests of death notice that it is missing? Every place
 * in the core that notes a word is made to forget it, one at a time, in the victim alone; the scenes that
 * pass that place are played until a state is not sound. Then the log itself is made faulty in other ways.
 *
 * A place that never has anything to note, because the word is in the log already, is not a mutant. What need
 * not be noted for another reason is listed below with the reason.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mutants/mutation.h"
#include "play.h"

#define PLAYS_MOST 128u
#define SITES_MOST 160u

struct mutation mutation;

/* ---------------------------------------------------------------- what need not be noted */

static const char free_slot[] =
    "the slot is free again when the log is rolled back, so its record means nothing";
static const char free_row[] = "the row is free again, or a promise, and then these words mean nothing";
static const char free_extent[] = "the extent is not a slab any more, so its words mean nothing";

static const struct {
    const char *function, *field, *reason;
} needless[] = {
    {"publish_here", "&extent->quantum", free_slot},
    {"publish_here", "&extent->bytes", free_slot},
    {"add_slot", "&added->next", free_slot},
    {"add_slot", "&added->count", free_slot},
    {"slab_begin", "&slab->slab_class", free_extent},
    {"slab_begin", "&slab->live[word]", free_extent},
    {"list_push", "&slab->next", "a slab that is in no list has no neighbours"},
    {"process_take_row", "&row->start_time", free_row},
    {"process_take_row", "&row->nonce", free_row},
    {"process_take_row", "&row->reaper", free_row},
    {"process_take_row", "&row->read_by_children", free_row},
    {"process_take_row", "&row->fork_over", free_row},
    {"process_take_row", "&row->entered", free_row},
    {"process_take_row", "&view->pool->rows_used", "rows beyond those in use may be looked at"},
    {"process_set_state", "&view->rows[row].since", "of a row whose process is dead the time means nothing"},
    {"sign_promise", "&row->reaper_start", free_row},
    {"note_readers", "read", "as long as there are no children it means nothing"},
    {"adopt_row", "&entry->pid", "whether it is the promise or the child, nobody lives there"},
    {"adopt_row", "&entry->start_time", free_row},
    {"adopt_row", "&entry->nonce", free_row},
    {"claim", "&row->reaper", "only a row that is being reaped has a reaper"},
    {"claim", "&row->reaper_start", "only a row that is being reaped has a reaper"},
    {"claim", "&row->reaper_nonce", "only a row that is being reaped has a reaper"},
    {"hand_on_children", "&view->rows[row].parent", "it is the only word of its transaction"},
    {"take_this", "&also->first",
     "of a loose run only what is the shard's is given back, and that is free again"},
    {"heap_lengthen", "&at(heap, first)->count",
     "only processes lengthen extents, and their heaps have no log"},
    {"finish", "&view->rows[index].parent",
     "a parent that waits for it is found by those who look for the dead"},
};

static const char *why_needless(const struct mutation_site *site)
{
    for (unsigned i = 0; i < COUNT_OF(needless); i++)
        if (strcmp(site->function, needless[i].function) == 0 && strcmp(site->field, needless[i].field) == 0)
            return needless[i].reason;
    return NULL;
}

/* ---------------------------------------------------------------- which play passes which site */

/* What is played: each scene, and recoveries after deaths in those that have something to recover. */
static struct {
    struct play play[PLAYS_MOST];
    unsigned long boundaries[PLAYS_MOST];
    unsigned char (*met)[SITES_MOST]; /* [play][site] */
    unsigned count, sites;
} plays;

static void note_sites(void *argument)
{
    mutation = (struct mutation){.met = argument};
}

static const struct scene *recovery(void)
{
    const struct scene *scene = scene_at(0);
    for (unsigned i = 0; (scene->flags & SCENE_RECOVERS) == 0; i++)
        scene = scene_at(i);
    return scene;
}

static void add_play(struct play one, struct report *report)
{
    if (plays.count == PLAYS_MOST)
        abort();
    one.every = UINT32_MAX; /* it is the way that counts, not what it leads to */
    one.begin = note_sites;
    one.argument = plays.met[plays.count];
    play(&one, report);
    if (!report->ended) {
        if (!report->skipped)
            printf("\"%s\" did not end: %s\n", one.scene->name, report->sentence);
        return;
    }
    one.every = 0;
    plays.play[plays.count] = one;
    plays.boundaries[plays.count++] = report->boundaries;
}

static void find_plays(void)
{
    static struct report report, nested;
    const struct scene *scene;
    plays.sites = (unsigned)(__stop_mutation_sites - __start_mutation_sites);
    void *met =
        mmap(NULL, PLAYS_MOST * SITES_MOST, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (met == MAP_FAILED || plays.sites > SITES_MOST)
        abort();
    plays.met = met;
    for (unsigned i = 0; (scene = scene_at(i)) != NULL; i++) {
        if ((scene->flags & SCENE_RECOVERS) != 0)
            continue;
        add_play((struct play){.scene = scene}, &report);
        if (strstr(scene->name, "regions go") == NULL)
            continue;
        for (unsigned k = 1; k < 8; k++)
            add_play((struct play){.scene = recovery(),
                                   .before = scene,
                                   .before_state = report.locked[report.locked_count * k / 8]},
                     &nested);
    }
}

/* The play that is not yet tried and is over soonest among those that pass the site; -1: none. */
static int next_play(unsigned site, const bool tried[PLAYS_MOST])
{
    int best = -1;
    for (unsigned i = 0; i < plays.count; i++)
        if (!tried[i] && plays.met[i][site] == MUTATION_MET &&
            (best < 0 || plays.boundaries[i] < plays.boundaries[best]))
            best = (int)i;
    return best;
}

/* ---------------------------------------------------------------- mutants */

static struct {
    unsigned caught, needless, idle, missed;
} total;

static void mutate(void *argument)
{
    mutation = *(const struct mutation *)argument;
}

/* `everywhere`: in the recoveries as well, not in the victim alone. */
static bool is_caught_in(const struct mutation *mutant, struct play one, bool everywhere, const char *what)
{
    static struct report report;
    one.stop_early = true;
    one.begin = everywhere ? NULL : mutate;
    one.argument = (void *)(uintptr_t)mutant;
    if (everywhere)
        mutation = *mutant;
    play(&one, &report);
    mutation = (struct mutation){.kind = MUTATION_NONE};
    if (!report.ended)
        printf("\"%s\" did not end: %s\n", one.scene->name, report.sentence);
    if (report.unsound == 0 || !report.ended)
        return false;
    printf("  caught: %s, in state %lu of \"%s\": %s\n", what, report.first_unsound, one.scene->name,
           report.sentence);
    total.caught++;
    return true;
}

/* Most are caught in few states already. */
static bool is_caught(const struct mutation *mutant, struct play one, bool everywhere, const char *what)
{
    struct play quick = one;
    quick.every = PLAY_QUICK_EACH;
    quick.orders_in_turn = true;
    return is_caught_in(mutant, quick, everywhere, what) || is_caught_in(mutant, one, everywhere, what);
}

static void try_site(unsigned number, enum mutation_kind kind, const char *fault)
{
    const struct mutation_site *site = &__start_mutation_sites[number];
    const struct mutation mutant = {.kind = kind, .site = site};
    bool tried[PLAYS_MOST] = {false};
    char what[256];
    snprintf(what, sizeof what, "%s:%lu %s() %s %s", strrchr(site->file, '/') + 1, (unsigned long)site->line,
             site->function, fault, site->field);
    for (int next; (next = next_play(number, tried)) >= 0; tried[next] = true)
        if (is_caught(&mutant, plays.play[next], false, what))
            return;
    printf("  NOT CAUGHT: %s\n", what);
    total.missed++;
}

static bool is_met(unsigned site, enum mutation_meeting how)
{
    for (unsigned i = 0; i < plays.count; i++)
        if (plays.met[i][site] == how)
            return true;
    return false;
}

static void forget_each_note(void)
{
    for (unsigned s = 0; s < plays.sites; s++) {
        const struct mutation_site *site = &__start_mutation_sites[s];
        const char *reason = why_needless(site);
        const char *file = strrchr(site->file, '/') + 1;
        if (reason != NULL || (is_met(s, MUTATION_MET_IDLE) && !is_met(s, MUTATION_MET))) {
            printf("  needless: %s:%lu %s() %s: %s\n", file, (unsigned long)site->line, site->function,
                   site->field, reason != NULL ? reason : "the word has always been noted before");
            *(reason != NULL ? &total.needless : &total.idle) += 1;
        } else {
            try_site(s, MUTATION_UNNOTED, "forgets to note");
        }
    }
}

/* Stores at the end of what belongs together. */
static void commit_before_the_end(void)
{
    static const char *const ends[][2] = {
        {"make_record", "&work->shard->used_bytes"},
        {"free_block", "&work->shard->used_bytes"},
        {"reference_begin", "held"},
        {"reference_add", "held"},
        {"reference_drop", "held"},
        {"directory_insert", "&directory->entries"},
        {"slab_take", "&slab->used"},
        {"pool_take", "&pool->free_regions"},
        {"pool_give", "&pool->free_regions"},
    };
    for (unsigned s = 0; s < plays.sites; s++)
        for (unsigned i = 0; i < COUNT_OF(ends); i++)
            if (strcmp(__start_mutation_sites[s].function, ends[i][0]) == 0 &&
                strcmp(__start_mutation_sites[s].field, ends[i][1]) == 0)
                try_site(s, MUTATION_COMMITS, "commits before storing");
}

static void break_the_log(void)
{
    static const struct {
        enum mutation_kind kind;
        bool everywhere;
        const char *what;
    } faults[] = {
        {MUTATION_STORE_FIRST, false, "each word is stored, then noted"},
        {MUTATION_COUNT_FIRST, false, "the count goes up before the entry is written"},
        {MUTATION_UNCOUNTED, false, "the count does not go up"},
        {MUTATION_WRONG_WORD, false, "the word after it is noted"},
        {MUTATION_TEN_AT_A_TIME, false, "ten words at a time are committed"},
        {MUTATION_NO_COMMIT, false, "the log is not emptied at the end"},
        {MUTATION_OLDEST_FIRST, true, "the oldest word is restored first"},
        {MUTATION_ONE_SHORT, true, "the oldest word is not restored"},
        {MUTATION_FORGET_FIRST, true, "the log is emptied before its words are restored"},
        {MUTATION_FORGET_NOT, true, "the log is not emptied when its words are restored"},
    };
    for (unsigned i = 0; i < COUNT_OF(faults); i++) {
        const struct mutation mutant = {.kind = faults[i].kind};
        bool caught = false;
        for (unsigned p = 0; p < plays.count && !caught; p++)
            if (faults[i].everywhere == (plays.play[p].before != NULL) &&
                (faults[i].everywhere || strstr(plays.play[p].scene->name, "deallocate last") != NULL))
                caught = is_caught(&mutant, plays.play[p], faults[i].everywhere, faults[i].what);
        if (!caught)
            printf("  NOT CAUGHT: %s\n", faults[i].what);
        total.missed += !caught;
    }
}

int main(int count, char **arguments)
{
    const char *refused = stepper_set_up(arguments);
    (void)count;
    if (refused != NULL) {
        printf("skipped: %s\n", refused);
        return 77;
    }
    setvbuf(stdout, NULL, _IOLBF, 0);
    find_plays();
    break_the_log();
    commit_before_the_end();
    forget_each_note();
    printf("%u plays, %u places that note a word: %u mutants caught, %u NOT CAUGHT; %u places need not, %u "
           "never "
           "have to\n",
           plays.count, plays.sites, total.caught, total.missed, total.needless, total.idle);
    return total.missed != 0;
}

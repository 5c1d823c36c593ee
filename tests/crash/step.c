/* SPDX-License-Identifier: MIT
 *
 * Every operation survives SIGKILL at every instruction.
 *
 *     crash-step [--each NUMBER] [PART OF THE NAME OF A SCENE]
 *
 * For each scene: the operation is stepped through and each state that it goes through is tried; then its
 * victim is really killed at some of them; then, after real deaths with a lock held, another process
 * recovers, which is stepped and tried in the same way. Prints the instruction boundaries stepped and the
 * states tried. With --each only each so many states is tried, in one order of recovery, one victim of each
 * scene is really killed and after each third scene another process is stepped that recovers. Which ones that
 * are is another matter in each scene. SHM_TESTS=long in the environment takes that back.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "play.h"

#define REAL_DEATHS  3u
#define EARLIER_MOST 1u
#define EARLIER_EACH 3u

static struct {
    unsigned long boundaries, passed_over, states, tries, real_deaths, scenes, bad;
} total;

static unsigned each; /* 0: all there is */

static void add_up(const struct report *report)
{
    total.boundaries += report->boundaries;
    total.passed_over += report->passed_over;
    total.states += report->states;
    total.tries += report->tries;
    total.bad += report->unsound != 0 || !report->ended;
}

static void complain_about(const struct report *report)
{
    if (!report->ended)
        printf("\n    NOT ENDED: %s", report->sentence);
    else if (report->unsound != 0)
        printf("\n    %lu UNSOUND; the first is state %lu, before instruction %lx: %s", report->unsound,
               report->first_unsound, (unsigned long)report->where, report->sentence);
}

/* The number-th of `count` samples: in turn of all states, and of those with a lock. */
static unsigned long sample(const struct report *report, unsigned number, unsigned count)
{
    const unsigned long states = report->states, locked = report->locked_count;
    if (number % 2 == 0 || locked == 0)
        return 1 + states * (number + 1) / (count + 1);
    return report->locked[locked * (number + 1) / (count + 1)];
}

static void die_for_real(const struct scene *scene, const struct report *stepped)
{
    unsigned done = 0;
    for (unsigned i = 0; i < REAL_DEATHS; i++) {
        if (each != 0 && i != total.scenes % REAL_DEATHS)
            continue;
        const struct play real = {
            .scene = scene, .kill_at = sample(stepped, i, REAL_DEATHS), .by_newcomer = i % 2 != 0};
        struct report report;
        if (real.kill_at > stepped->states)
            continue;
        play(&real, &report);
        total.bad += report.unsound != 0 || !report.ended;
        done++;
        complain_about(&report);
    }
    total.real_deaths += done;
    printf("; %u real deaths", done);
}

static const struct scene *recovery(void)
{
    const struct scene *scene = NULL;
    for (unsigned i = 0; (scene = scene_at(i)) != NULL; i++)
        if ((scene->flags & SCENE_RECOVERS) != 0)
            break;
    return scene;
}

static void die_while_recovering(const struct scene *scene, const struct report *stepped)
{
    unsigned long boundaries = 0, states = 0;
    if ((scene->flags & (SCENE_OPENS | SCENE_ALONE | SCENE_FEW)) != 0 || scene->other != NULL ||
        stepped->locked_count == 0 || (each != 0 && total.scenes % EARLIER_EACH != 0))
        return;
    for (unsigned i = 0; i < EARLIER_MOST; i++) {
        const struct play nested = {
            .scene = recovery(),
            .every = each,
            .turn = total.scenes,
            .before = scene,
            .before_state = stepped->locked[stepped->locked_count * (2 * i + 1) / (2 * EARLIER_MOST)]};
        struct report report;
        play(&nested, &report);
        add_up(&report);
        boundaries += report.boundaries;
        states += report.states;
        complain_about(&report);
    }
    total.real_deaths += EARLIER_MOST;
    printf("; recoverers: %lu boundaries, %lu states", boundaries, states);
}

static void play_scene(const struct scene *scene)
{
    static struct report report;
    const struct play whole = {
        .scene = scene, .every = each, .turn = total.scenes, .orders_in_turn = each != 0};
    play(&whole, &report);
    if (report.skipped) {
        printf("%s: skipped: %s\n", scene->name, report.sentence);
        return;
    }
    add_up(&report);
    total.scenes++;
    printf("%s: %lu boundaries, %lu states", scene->name, report.boundaries, report.states);
    complain_about(&report);
    if (report.ended) {
        die_for_real(scene, &report);
        die_while_recovering(scene, &report);
    }
    printf("\n");
}

int main(int count, char **arguments)
{
    const struct scene *scene;
    const char *part = "", *form = getenv("SHM_TESTS");
    const bool long_form = form != NULL && strcmp(form, "long") == 0;
    const char *refused = stepper_set_up(arguments);
    if (refused != NULL) {
        printf("skipped: %s\n", refused);
        return 77;
    }
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--each") == 0 && i + 1 < count)
            each = (unsigned)strtoul(arguments[++i], NULL, 10);
        else
            part = arguments[i];
    }
    if (long_form)
        each = 0;
    for (unsigned i = 0; (scene = scene_at(i)) != NULL; i++)
        if ((scene->flags & SCENE_RECOVERS) == 0 && strstr(scene->name, part) != NULL)
            play_scene(scene);
    printf("%lu scenes: %lu instruction boundaries stepped, %lu stretches without a change passed over, %lu "
           "states, "
           "%lu recoveries tried, %lu real deaths, %lu bad\n",
           total.scenes, total.boundaries, total.passed_over, total.states, total.tries, total.real_deaths,
           total.bad);
    return total.bad != 0;
}

/* SPDX-License-Identifier: MIT
 *
 * Merging survives SIGKILL at every moment, and whatever others do at every moment.
 *
 *     merge-step [--all | --each NUMBER] [PART OF THE NAME OF A SCENE]
 *     merge-step --caught FAULT PART OF THE NAME OF A SCENE
 *
 * For each scene: its operation comes to an end; then, for each of its marks (merge-marks.h), all is played
 * again and the victim is killed there, or stands still there while another does something. Short of --all
 * each system call is not a mark, but only those whose effect others can see, and nobody stands still with a
 * file locked: others wait a second for that each time. With --each only each so many marks is played, others
 * in each scene, but all of them when the environment has SHM_TESTS=long.
 *
 * --caught: the core has this fault, and must be found to be wrong.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "island.h"
#include "merge-play.h"
#include "stepper.h"

#define MARKS_MOST 4000u

static struct {
    unsigned long scenes, plays, deaths, bad;
} total;

struct sum {
    unsigned long plays, bad;
};

static bool all, until_wrong;
static unsigned long each = 1;

static void print_wrong(const struct merge_report *report)
{
    printf("\n    mark %lu, instruction %lx: %s%s", report->marks, (unsigned long)report->where,
           report->ended ? "" : "NOT ENDED: ", report->sentence);
}

/* Whoever comes first meets what the dead left, and the newcomer reaps when he opens the segment: both orders
 * for --all, else this one. */
static bool newcomer_is_first(unsigned long mark)
{
    return mark % 3 == 2;
}

/* Every wrong one is counted, some are told. */
static void play_mark(struct merge_play play, struct merge_report *report, struct sum *sum)
{
    merge_play(&play, report);
    const bool wrong = report->unsound || !report->ended;
    sum->plays += !report->nothing;
    total.deaths += !report->nothing && !report->over;
    if (wrong && sum->bad++ < 3)
        print_wrong(report);
}

static void play_marks(const struct merge_scene *scene, struct sum *sum)
{
    for (unsigned long mark = total.scenes % each; mark < MARKS_MOST && !(until_wrong && sum->bad > 0);
         mark += each) {
        struct merge_play play = {.scene = scene,
                                  .mark = mark,
                                  .every_call = all,
                                  .with_locks = all,
                                  .newcomer_first = newcomer_is_first(mark)};
        struct merge_report report;
        play_mark(play, &report, sum);
        if (report.over && report.marks < mark)
            break;
        play.newcomer_first = !play.newcomer_first;
        if (all)
            play_mark(play, &report, sum);
    }
}

static bool play_scene(const struct merge_scene *scene)
{
    const struct merge_play whole = {.scene = scene, .mark = MARKS_MOST, .every_call = all};
    struct merge_report report;
    struct sum sum = {1, 0};
    merge_play(&whole, &report);
    printf("%s: ", scene->name);
    if (report.skipped) {
        printf("skipped: %s\n", report.sentence);
        return true;
    }
    sum.bad = report.unsound || !report.ended || !report.over;
    if (sum.bad != 0)
        print_wrong(&report);
    const unsigned long marks = report.marks;
    play_marks(scene, &sum);
    printf("%s%lu marks, %lu plays\n", sum.bad != 0 ? "\n    WRONG: " : "", marks, sum.plays);
    total.scenes++;
    total.plays += sum.plays;
    total.bad += sum.bad;
    return sum.bad == 0;
}

static void play_all(const char *part)
{
    const struct merge_scene *scene;
    for (unsigned i = 0; (scene = merge_scene_at(i)) != NULL; i++)
        if (strstr(scene->name, part) != NULL && !play_scene(scene) && until_wrong)
            return;
}

int main(int count, char **arguments)
{
    const char *part = "", *fault = NULL, *why, *form = getenv("SHM_TESTS");
    const bool long_form = form != NULL && strcmp(form, "long") == 0;
    const char *refused = stepper_set_up(arguments);
    if (refused != NULL) {
        printf("skipped: %s\n", refused);
        return 77;
    }
    for (int i = 1; i < count; i++) {
        if (strcmp(arguments[i], "--all") == 0)
            all = true;
        else if (strcmp(arguments[i], "--each") == 0 && i + 1 < count)
            each = strtoul(arguments[++i], NULL, 10);
        else if (strcmp(arguments[i], "--caught") == 0 && i + 1 < count)
            fault = arguments[++i];
        else
            part = arguments[i];
    }
    each = long_form || each == 0 ? 1 : each;
    until_wrong = fault != NULL;
    setvbuf(stdout, NULL, _IOLBF, 0);
    if (!island_make(256ull << 20, &why))
        printf("in the common /dev/shm: %s\n", why);
    play_all(part);
    printf("%lu scenes, %lu plays, %lu deaths, %lu wrong\n", total.scenes, total.plays, total.deaths,
           total.bad);
    if (fault == NULL)
        return total.bad != 0 || total.scenes == 0;
    printf("%s: %s\n", fault, total.bad != 0 ? "caught" : "NOT caught");
    return total.bad == 0;
}

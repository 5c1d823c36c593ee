/* SPDX-License-Identifier: MIT
 *
 * The core with a fault in it must be caught: plays the scenes whose names have the given part, and
 * recoveries after deaths in them, until a state is not sound.
 *
 *     fault NAME PART OF THE NAME OF A SCENE
 */
#include <stdio.h>
#include <string.h>

#include "play.h"

static const char *skipped; /* why a scene could not be played */

static bool is_caught_in(const struct play *one, const char *fault)
{
    static struct report report;
    memset(&report, 0, sizeof report);
    play(one, &report);
    if (report.skipped)
        skipped = report.sentence;
    else if (!report.ended)
        printf("\"%s\" did not end: %s\n", one->scene->name, report.sentence);
    if (report.unsound == 0 || !report.ended)
        return false;
    printf("%s: caught in state %lu of \"%s\": %s\n", fault, report.first_unsound, one->scene->name,
           report.sentence);
    return true;
}

/* Most are caught in few states already. */
static bool is_caught(const struct play *one, const char *fault)
{
    struct play quick = *one;
    quick.every = PLAY_QUICK_EACH;
    quick.orders_in_turn = true;
    return is_caught_in(&quick, fault) || is_caught_in(one, fault);
}

int main(int count, char **arguments)
{
    const struct scene *scene;
    const char *refused = stepper_set_up(arguments);
    if (refused != NULL) {
        printf("skipped: %s\n", refused);
        return 77;
    }
    if (count != 3)
        return 2;
    for (unsigned i = 0; (scene = scene_at(i)) != NULL; i++) {
        const struct play one = {.scene = scene, .stop_early = true};
        if (strstr(scene->name, arguments[2]) != NULL && is_caught(&one, arguments[1]))
            return 0;
    }
    if (skipped != NULL)
        printf("skipped: %s\n", skipped);
    else
        printf("%s: NOT caught\n", arguments[1]);
    return skipped != NULL ? 77 : 1;
}

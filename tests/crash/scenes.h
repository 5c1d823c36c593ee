/* SPDX-License-Identifier: MIT
 *
 * The operations that are killed, each with what happened before. Three processes play:
 *
 *   the survivor   lives throughout, recovers and looks; it opens the segment first
 *   the other      one more, if the scene has one; it may die before the operation begins
 *   the victim     does the operation
 *
 * in this order: survivor(), other(), prepare() by the victim, after() by the survivor, then operate(), which
 * is stepped.
 */
#ifndef SHM_TEST_SCENES_H
#define SHM_TEST_SCENES_H

#include "trial.h"

enum scene_flags {
    SCENE_OPENS = 1,      /* the victim opens the segment in operate() */
    SCENE_ALONE = 2,      /* it is alone with the segment: files are what is recovered */
    SCENE_OTHER_DIES = 4, /* the other is killed before operate() */
    SCENE_RECOVERS = 8,   /* to be played after the death of the victim of another scene */
    SCENE_FEW = 16,       /* much to look at: not all states are tried */
};

struct scene {
    const char *name;
    uint64_t size;
    unsigned flags;
    void (*survivor)(void), (*other)(void), (*prepare)(void), (*after)(void), (*operate)(void);
    const char *fresh; /* see struct expectation */
    size_t fresh_bytes;
};

/* NULL behind the last one. */
const struct scene *scene_at(unsigned index);

#define SCENE_SEGMENT "SHARED::crash"

/* What the actors in this process work on, and where the survivor notes what it holds. */
extern shmcore_segment *stage_segment;
extern struct expectation *stage_expectation;

/* Opens the segment in the directory; in SCENE_OPENS operate() does. */
void scene_place(const char *directory, uint64_t size);
void scene_open(void);

#endif

/* SPDX-License-Identifier: MIT
 *
 * Plays a scene of merging in processes of its own: the victim is killed at one of its marks, or stands still
 * there while the survivor does something, and goes on afterwards. Then the survivor and a newcomer merge the
 * same block, and everything must be as if nothing had happened: contents, states, holders, rows, files.
 */
#ifndef SHM_TEST_MERGE_PLAY_H
#define SHM_TEST_MERGE_PLAY_H

#include "shmcore.h"

#include "base.h"

/* The block of a scene: two chunks, of which a few pages are written. What they hold has a letter, see
 * merge-actors.c. */
#define STAGE_CHUNKS 2u

enum merge_scene_flags {
    MERGE_ALONE = 1,       /* the survivor opens the segment only when the victim is dead or done */
    MERGE_OTHER_DIES = 2,  /* the other is killed before operate() */
    MERGE_ENDS = 4,        /* the victim has left the segment after operate() */
    MERGE_FRESH = 8,       /* it opens the segment in operate() */
    MERGE_LOCKED = 64,     /* it always stands still with a file locked, too */
    MERGE_NEEDS_LOCK = 32, /* the survivor cannot do what it does while a file is locked */
    MERGE_DIES_NEXT = 16,  /* it stands still, and goes on to the next mark, and is killed there */
};

struct merge_scene {
    const char *name;
    unsigned flags;
    char survivors; /* what the survivor and the newcomer have in the block at last */
    void (*survivor)(void), (*other)(void), (*prepare)(void), (*operate)(void);
    void (*meanwhile)(void); /* by the survivor while the victim stands still; NULL: it dies */
};

/* NULL behind the last one. */
const struct merge_scene *merge_scene_at(unsigned index);

struct merge_play {
    const struct merge_scene *scene;
    unsigned long mark; /* 0: before the first; if there are fewer the victim comes to its end */
    bool every_call;
    bool newcomer_first; /* before the survivor */
    bool with_locks;     /* it also stands still while it holds the lock of a file */
};

struct merge_report {
    unsigned long marks; /* that were passed */
    bool skipped, ended; /* ended: the play came to its end, whatever it found; else the play is at fault */
    bool over;           /* the victim's operation came to its end */
    bool nothing;        /* what is to be done at this mark is done at another */
    bool unsound;
    uint64_t where; /* the instruction, from the start of the program */
    char sentence[512];
};

void merge_play(const struct merge_play *play, struct merge_report *report);

#endif

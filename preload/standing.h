/* SPDX-License-Identifier: MIT
 *
 * How this process stands: one word, which the short ways of malloc() and free() look at.
 *
 * It lies on a page that is zero after a fork of any kind. So a child made by _Fork or a raw clone, which ran
 * none of our handlers and has no part in its parent's segments, knows it of itself.
 */
#ifndef SHM_STANDING_H
#define SHM_STANDING_H

#include "base.h"

enum standing {
    STANDING_NONE = 0, /* not brought up, or a child that nobody has adopted: blocks are the parent's */
    STANDING_WARY = 1, /* each block that is freed has to be looked at: a record is made, or some block was
                        * protected */
    STANDING_USUAL = 0x616c6976
};

extern INTERNAL const volatile uint32_t *standing_word;

static inline bool standing_is_adopted(void)
{
    return *standing_word != STANDING_NONE;
}

static inline bool standing_is_usual(void)
{
    return *standing_word == STANDING_USUAL;
}

/* At bring-up. */
void standing_begin(void);

/* From now on, in the children that are adopted as well. */
void standing_be_wary(void);

/* In a forked child: it has a part in its parent's segments. */
void standing_adopt(void);

#endif

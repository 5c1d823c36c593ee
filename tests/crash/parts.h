/* SPDX-License-Identifier: MIT
 *
 * What the actors of a scene do before the operation, and on what.
 */
#ifndef SHM_TEST_PARTS_H
#define SHM_TEST_PARTS_H

#include <stdlib.h>
#include <unistd.h>

#include "export.h"
#include "scenes.h"

#define MUST(condition)                                                                                      \
    do {                                                                                                     \
        if (!(condition)) {                                                                                  \
            part_failed(__FILE__, __LINE__, #condition);                                                     \
            _exit(99);                                                                                       \
        }                                                                                                    \
    } while (0)
void part_failed(const char *file, int line, const char *condition);

/* What the actor of this process keeps from prepare() to operate(). */
extern void *kept[64];
extern struct export_source source;

/* Blocks are made or joined; whoever makes one writes its pattern. */
void *make(const char *name, size_t bytes);
void *join(const char *name, size_t bytes);
void drop(void *pointer);
/* By the survivor: one more reference that must never be lost. */
void hold(const char *name, size_t bytes);

/* Exported blocks: the label first. */
void label_them(void);
void *export_one(uint64_t sequence, size_t bytes);

/* Parts for more than one list of scenes. */
void hold_nothing(void);
void hold_small(void);
void hold_several(void);
void hold_exports(void);
void have_own(void);        /* kept[0] */
void have_joined(void);     /* kept[0] */
void have_one_export(void); /* kept[0] */
void label_only(void);

#define LONG_NAME                                                                                            \
    "f/a name of more than sixteen bytes lies in a slot of its own, in a slab of another class than that "   \
    "of its block or of its record"

/* Entries of the lists. */
#define SCENE(what, bytes, how, ...)                                                                         \
    {                                                                                                        \
        .name = (what), .size = (bytes), .flags = (how), __VA_ARGS__                                         \
    }
#define FRESH(bytes) .fresh = "zfresh", .fresh_bytes = (bytes)

#define SMALL  MEBI
#define MIDDLE (32 * MEBI)  /* four shards */
#define LARGE  (160 * MEBI) /* larger regions; exports beyond what a process keeps for reuse */

extern const struct scene scenes_of_blocks[], scenes_of_names[], scenes_of_processes[];
extern const unsigned scenes_of_blocks_count, scenes_of_names_count, scenes_of_processes_count;

#endif
